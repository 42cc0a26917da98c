// What the completion API needs of a model: text to tokens, and tokens to text in several slots,
// one text each. Implemented over llama/ by LlamaGenerator, and by a script in tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "api/chat_template.h"
#include "kernel_lib/base/result.h"
#include "llama/engine/engine.h"

namespace bareflow::api {

// Answers show at most this many bytes of model_id().
inline constexpr size_t kMaxShownModelId = 96;

class TextGenerator {
  public:
    [[nodiscard]] virtual std::string_view model_id() const = 0;
    [[nodiscard]] virtual uint32_t context_length() const = 0;
    // No token's text is longer, so a text of context_length() times this cannot fit.
    [[nodiscard]] virtual uint32_t max_piece_bytes() const = 0;

    // How messages become a prompt.
    [[nodiscard]] virtual const ChatTemplate &chat_template() const = 0;
    // A token that ends an answer to messages, beside those that end any text; kNoToken: none.
    [[nodiscard]] virtual llama::Token turn_end() const = 0;

    // One prompt at a time: encode_begin(), then encode_step() until it says how many tokens there
    // are. The prompt's text and controls and `out` must stay until then; encode_begin() forgets
    // the prompt before. A control becomes the token of its text, if the vocabulary has one. All
    // else is text, even if it looks like a control token. Text between two control tokens is
    // encoded as one piece.
    virtual void encode_begin(const PromptText &prompt, std::span<llama::Token> out) = 0;
    struct Encoding {
        bool done = false;
        uint32_t count = 0;
    };
    // About a millisecond of work. kTooLarge: more tokens than fit into `out`.
    [[nodiscard]] virtual Result<Encoding> encode_step() = 0;
    virtual void encode_cancel() = 0;

    // As Engine's. At most EngineConfig::kMaxSlots.
    [[nodiscard]] virtual uint32_t slot_count() const = 0;
    [[nodiscard]] virtual Result<llama::SlotId> start(const llama::Request &request,
                                                      llama::TokenSink &sink) = 0;
    virtual void cancel(llama::SlotId slot) = 0;
    virtual void pause(llama::SlotId slot, bool paused) = 0;
    [[nodiscard]] virtual llama::EngineCounters counters() const = 0;
    [[nodiscard]] virtual std::span<const llama::TokenLogprob> logprobs() const = 0;
    // The beginning of the token's own bytes; returns how many were written.
    virtual size_t token_text(llama::Token token, std::span<char> out) const = 0;

    // Text of the tokens made in a slot since decode_begin(), in whole UTF-8 characters; valid
    // until the next call.
    virtual void decode_begin(llama::SlotId slot) = 0;
    [[nodiscard]] virtual std::string_view decode(llama::SlotId slot, llama::Token token) = 0;
    [[nodiscard]] virtual std::string_view decode_finish(llama::SlotId slot) = 0;

  protected:
    ~TextGenerator() = default;
};

}  // namespace bareflow::api
