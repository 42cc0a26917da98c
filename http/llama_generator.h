// TextGenerator over the engine and tokenizer of llama/. Does none of the work itself: the event
// loop calls Engine::advance().
#pragma once

#include <optional>

#include "http/text_generator.h"
#include "llama/engine.h"
#include "llama/tokenizer.h"

namespace bareflow::http {

class LlamaGenerator final : public TextGenerator {
  public:
    // All three must outlive it. `model_id`: what /v1/models shows.
    LlamaGenerator(llama::Engine &engine, const llama::Tokenizer &tokenizer,
                   std::string_view model_id)
        : engine_(engine), tokenizer_(tokenizer), model_id_(model_id) {}

    [[nodiscard]] std::string_view model_id() const override { return model_id_; }
    [[nodiscard]] uint32_t context_length() const override { return engine_.context_length(); }
    [[nodiscard]] uint32_t max_piece_bytes() const override {
        return llama::Tokenizer::kMaxPieceBytes;
    }
    void encode_begin(std::string_view text, std::span<llama::Token> out) override;
    [[nodiscard]] Result<Encoding> encode_step() override;
    void encode_cancel() override { encoder_.reset(); }
    [[nodiscard]] Status start(const llama::Request &request, llama::TokenSink &sink) override {
        return engine_.start(request, sink);
    }
    void cancel() override { engine_.cancel(); }
    [[nodiscard]] bool busy() const override { return engine_.busy(); }
    void decode_begin() override;
    [[nodiscard]] std::string_view decode(llama::Token token) override;
    [[nodiscard]] std::string_view decode_finish() override;

  private:
    llama::Engine &engine_;
    const llama::Tokenizer &tokenizer_;
    std::string_view model_id_;
    std::optional<llama::Encoder> encoder_;
    std::optional<llama::StreamDecoder> decoder_;
};

}  // namespace bareflow::http
