// Turns tokens into text as they come, in whole UTF-8 characters only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "llama/text/token.h"
#include "llama/text/tokenizer.h"

namespace bareflow::llama {

class StreamDecoder {
  public:
    enum class Start : uint8_t {
        kText,          // the first token begins a text: the space put before it is taken off
        kContinuation,  // the tokens go on after a prompt
    };
    StreamDecoder(const Tokenizer &tokenizer, Start start)
        : tokenizer_(tokenizer),
          strip_space_(start == Start::kText && tokenizer.adds_space_prefix()) {}

    // The text that is complete now; valid until the next call. Bytes that form no character come
    // out as U+FFFD (one for each maximal ill-formed part, as Unicode recommends).
    [[nodiscard]] std::string_view put(Token token);
    // U+FFFD if the last character never became whole, otherwise nothing.
    [[nodiscard]] std::string_view finish();

  private:
    void take(uint8_t byte);
    void write(std::string_view text);

    const Tokenizer &tokenizer_;
    bool strip_space_;
    uint8_t pending_[4] = {};  // the start of a character
    uint8_t pending_len_ = 0;
    size_t len_ = 0;  // bytes in buffer_
    std::array<char, Tokenizer::kMaxPieceBytes + 16> buffer_;
};

}  // namespace bareflow::llama
