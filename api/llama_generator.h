// TextGenerator over the engine and the tokenizer of llama/. Texts are computed by the event loop,
// which calls Engine::advance().
#pragma once

#include <array>
#include <optional>

#include "api/text_generator.h"
#include "llama/engine/engine.h"
#include "llama/text/encoder.h"
#include "llama/text/stream_decoder.h"
#include "llama/text/tokenizer.h"

namespace bareflow::api {

class LlamaGenerator final : public TextGenerator {
  public:
    // All four must outlive it. `model_id`: what /v1/models shows. `chat_template`: the file's,
    // empty when it has none.
    LlamaGenerator(llama::Engine &engine, const llama::Tokenizer &tokenizer,
                   std::string_view model_id, std::string_view chat_template);

    [[nodiscard]] std::string_view model_id() const override { return model_id_; }
    [[nodiscard]] uint32_t context_length() const override { return engine_.context_length(); }
    [[nodiscard]] uint32_t max_piece_bytes() const override {
        return llama::Tokenizer::kMaxPieceBytes;
    }
    [[nodiscard]] const ChatTemplate &chat_template() const override { return chat_template_; }
    [[nodiscard]] llama::Token turn_end() const override {
        return control_token(chat_turn_end(chat_template_.family));
    }
    void encode_begin(const PromptText &prompt, std::span<llama::Token> out) override;
    [[nodiscard]] Result<Encoding> encode_step() override;
    void encode_cancel() override;
    [[nodiscard]] uint32_t slot_count() const override { return engine_.slot_count(); }
    [[nodiscard]] Result<llama::SlotId> start(const llama::Request &request,
                                              llama::TokenSink &sink) override {
        return engine_.start(request, sink);
    }
    void cancel(llama::SlotId slot) override { engine_.cancel(slot); }
    void pause(llama::SlotId slot, bool paused) override { engine_.pause(slot, paused); }
    [[nodiscard]] llama::EngineCounters counters() const override { return engine_.counters(); }
    [[nodiscard]] std::span<const llama::TokenLogprob> logprobs() const override {
        return engine_.logprobs();
    }
    size_t token_text(llama::Token token, std::span<char> out) const override;
    void decode_begin(llama::SlotId slot) override;
    [[nodiscard]] std::string_view decode(llama::SlotId slot, llama::Token token) override;
    [[nodiscard]] std::string_view decode_finish(llama::SlotId slot) override;

  private:
    // kNoToken: the vocabulary has no token of that text.
    [[nodiscard]] llama::Token control_token(std::string_view text) const;
    [[nodiscard]] Status next_part();

    llama::Engine &engine_;
    const llama::Tokenizer &tokenizer_;
    std::string_view model_id_;
    ChatTemplate chat_template_;
    static constexpr size_t kMaxControls = 16;
    std::array<llama::Token, kMaxControls> controls_{};  // as chat_control_texts() has them

    // The prompt being encoded: tokens and the texts between them, one after another.
    PromptText prompt_;
    std::span<llama::Token> out_;
    bool encoding_ = false;
    uint32_t count_ = 0;
    size_t position_ = 0;      // bytes of the text that are done
    size_t next_control_ = 0;  // index of the prompt's next control token
    std::optional<llama::Encoder> encoder_;
    std::array<std::optional<llama::StreamDecoder>, llama::EngineConfig::kMaxSlots> decoders_;
};

}  // namespace bareflow::api
