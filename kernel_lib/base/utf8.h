// UTF-8, strictly (Unicode 15, table 3-7): no overlong forms, no surrogates, nothing over U+10FFFF.
// Pure functions; used by JSON text, the tokenizer and the console.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace bareflow {

inline constexpr uint32_t kReplacementCharacter = 0xFFFD;

// One character off the front of a text.
struct Utf8Char {
    // kReplacementCharacter when not valid.
    uint32_t code_point = kReplacementCharacter;
    // Bytes taken: 1-4. Of an invalid sequence, its longest part that could have begun a character
    // (at least 1), so that a decoder never skips a byte that starts a good one.
    uint32_t len_bytes = 1;
    bool valid = false;
    // The text ended inside a sequence that was good so far.
    bool incomplete = false;
};

// `text` must not be empty.
[[nodiscard]] Utf8Char utf8_decode(std::string_view text);
[[nodiscard]] bool utf8_valid(std::string_view text);
// Writes 1-4 bytes and returns how many; 0 for a surrogate or a value over U+10FFFF.
[[nodiscard]] size_t utf8_encode(uint32_t code_point, std::span<char, 4> out);
// How many bytes at the end of `text` (0-3) begin a character that is not complete: hold them back
// until the rest comes.
[[nodiscard]] size_t utf8_incomplete_tail(std::string_view text);

}  // namespace bareflow
