// Vocabularies with `tokenizer.ggml.model = llama`: SentencePiece's BPE. The text is cut into
// characters. Then the adjacent pair whose joined text is the token with the highest score is
// joined (the leftmost first among equals), until no pair is a token. A character that is no token
// then is written as byte tokens <0xNN>, or as the unknown token if the vocabulary has no bytes.
// The vocabulary writes a space as U+2581. If the file says so, a space is put before the text.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "llama/text/vocabulary.h"

namespace bareflow::llama {

// The first character of a text; a space is U+2581.
struct SpmCharacter {
    static constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581
    static constexpr uint32_t kSpaceCodePoint = 0x2581;

    uint32_t code_point = 0;
    uint32_t len_bytes = 0;  // in the text
    uint32_t escaped_len_bytes = 0;

    // `text` must not be empty.
    [[nodiscard]] static SpmCharacter next(std::string_view text);
    [[nodiscard]] static SpmCharacter space_before_text() {
        return {kSpaceCodePoint, 0, static_cast<uint32_t>(kSpace.size())};
    }
};

class SpmVocabulary {
  public:
    [[nodiscard]] Status read(const GgufFile &file, const Vocabulary &vocabulary,
                              TextWriter &detail);

    [[nodiscard]] float score(Token token) const {
        return scores_.f32(static_cast<uint64_t>(token));
    }
    // False: no token holds these two characters side by side, so no merge joins them. May be true
    // for other pairs, too: they are remembered by a hash.
    [[nodiscard]] bool may_join(uint32_t left_character, uint32_t right_character) const;
    [[nodiscard]] uint32_t longest_characters() const { return longest_characters_; }
    // The vocabulary has all 256 byte tokens.
    [[nodiscard]] bool has_bytes() const { return has_bytes_; }

    // The bytes that the token adds to a text.
    static void piece(const Vocabulary &vocabulary, Token token, TextWriter &out);

  private:
    void remember_joins(std::string_view text);

    GgufArray scores_;
    Buffer<uint64_t> joins_;  // bit set over hashes of character pairs inside tokens
    uint32_t longest_characters_ = 1;
    bool has_bytes_ = false;
};

}  // namespace bareflow::llama
