// Cuts a text into the words that byte-level BPE works on, one character at a time. Each cutter is
// written by hand and equals one published regular expression (below), with Unicode's categories.
// The words in order make up the whole text. Bytes that are not UTF-8 are a character of class
// "other".
//
//   gpt-2      's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//   smollm     every \p{N} by itself, and what lies between them as gpt-2
//   llama-bpe  (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|
//              ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+   (a space before the "?")
//   qwen2      the same with \p{N} instead of \p{N}{1,3}
//   default    one after another, each inside the pieces of the one before:
//              [\p{P}\$\+<=>\^~\|]+, gpt-2, \p{N}+, [0-9][0-9][0-9]
//
// Sources: the `pre_tokenizer` sections of the models' tokenizer.json; `default` is what llama.cpp
// does for files that name none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "llama/text/unicode_class.h"

namespace bareflow::llama {

enum class PreTokenizer : uint8_t { kDefault, kGpt2, kLlamaBpe, kSmolLm, kQwen2 };

// `name` is a value of `tokenizer.ggml.pre`: "gpt-2".
[[nodiscard]] std::optional<PreTokenizer> find_pre_tokenizer(std::string_view name);
inline constexpr std::string_view kPreTokenizerNames = "default, gpt-2, llama-bpe, smollm, qwen2";

class WordScanner {
  public:
    WordScanner() = default;
    // `text` must outlive the scanner.
    WordScanner(PreTokenizer kind, std::string_view text) : kind_(kind), text_(text) {}

    // Looks at one more character. True: the next word is begin()..end(), and the next call starts
    // on the word after it. Must not be called once done().
    [[nodiscard]] bool step();
    [[nodiscard]] size_t begin() const { return begin_; }
    [[nodiscard]] size_t end() const { return end_; }
    // The last word has been given.
    [[nodiscard]] bool done() const { return end_ == text_.size(); }

  private:
    enum class Rule : uint8_t { kStart, kLetters, kNumbers, kOthers, kNewlines, kSpaces };
    struct Character {
        CharacterClass character_class = CharacterClass::kOther;
        uint32_t code_point = 0;
        uint32_t len_bytes = 0;  // 0: the text is over
        [[nodiscard]] bool is(CharacterClass wanted) const {
            return len_bytes != 0 && character_class == wanted;
        }
        [[nodiscard]] bool newline() const { return code_point == '\r' || code_point == '\n'; }
    };

    [[nodiscard]] Character look(size_t position) const;
    [[nodiscard]] bool like_llama() const {
        return kind_ == PreTokenizer::kLlamaBpe || kind_ == PreTokenizer::kQwen2;
    }
    [[nodiscard]] bool is_other(const Character &c) const;
    [[nodiscard]] bool is_space_before(const Character &c) const;
    [[nodiscard]] size_t contraction_len(size_t position) const;
    [[nodiscard]] bool start();
    [[nodiscard]] bool more_numbers(const Character &c);
    [[nodiscard]] bool more_spaces(const Character &c);
    [[nodiscard]] bool cut(size_t end);
    void take(const Character &c);

    PreTokenizer kind_ = PreTokenizer::kDefault;
    std::string_view text_;
    size_t begin_ = 0;  // of the word
    size_t end_ = 0;    // of the last word found
    size_t at_ = 0;     // the next character to look at
    Rule rule_ = Rule::kStart;
    CharacterClass run_class_ = CharacterClass::kOther;  // of kOthers: symbols or punctuation
    uint32_t count_ = 0;                                 // characters taken by the rule
    uint32_t ascii_digits_ = 0;                          // at the end of what was taken
    size_t last_ = 0;                                    // where the character before at_ begins
    size_t newline_end_ = 0;  // behind the last newline of the white space; 0: none
};

}  // namespace bareflow::llama
