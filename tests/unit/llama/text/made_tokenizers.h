// Tokenizers with vocabularies that a test makes up, of characters (llama) or of bytes (gpt2).
#pragma once

#include <algorithm>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/unit/llama/file/gguf_builder.h"
#include "tests/unit/llama/text/loaded_tokenizer.h"
#include "tests/unit/llama/text/slow_byte_tokenizer.h"

namespace bareflow::llama::testing {

inline constexpr const char *kSpaceText = "\xE2\x96\x81";  // U+2581

class CharacterTokenizer : public LoadedTokenizer {
  public:
    using LoadedTokenizer::LoadedTokenizer;

    [[nodiscard]] std::vector<Token> encode(std::string_view text) const {
        return LoadedTokenizer::encode(text, text.size() * 4 + 8);
    }
};

inline GgufBuilder vocabulary_builder(const std::vector<std::string> &pieces, bool bytes = true) {
    GgufBuilder builder;
    add_vocabulary(builder, pieces, bytes);
    return builder;
}

// Letters, and random joins of two earlier pieces.
inline std::vector<std::string> random_pieces(std::mt19937 &random,
                                              const std::vector<std::string> &letters,
                                              size_t joins) {
    std::vector<std::string> pieces = letters;
    while (pieces.size() < letters.size() + joins) {
        std::string piece = pieces[random() % pieces.size()] + pieces[random() % pieces.size()];
        if (piece.size() <= 16 && std::ranges::find(pieces, piece) == pieces.end()) {
            pieces.push_back(piece);
        }
    }
    return pieces;
}

class ByteTokenizer : public LoadedTokenizer {
  public:
    explicit ByteTokenizer(const ByteVocabulary &vocabulary)
        : ByteTokenizer(builder_of(vocabulary)) {
        vocabulary_ = vocabulary;
    }
    explicit ByteTokenizer(const GgufBuilder &builder) : LoadedTokenizer(builder) {}

    static GgufBuilder builder_of(const ByteVocabulary &vocabulary) {
        GgufBuilder builder;
        vocabulary.write(builder);
        return builder;
    }
    [[nodiscard]] Token id(std::string_view bytes) const { return (*this)->find(written(bytes)); }
    [[nodiscard]] std::vector<Token> encode(std::string_view text,
                                            SpecialTokens special = SpecialTokens::kAsText) const {
        return LoadedTokenizer::encode(text, text.size() + 2, special);
    }
    [[nodiscard]] const ByteVocabulary &vocabulary() const { return vocabulary_; }

  private:
    ByteVocabulary vocabulary_;
};

// Random merges of a few letters, digits and halves of characters.
inline ByteVocabulary random_vocabulary(std::mt19937 &random, const std::string &pre,
                                        size_t count) {
    ByteVocabulary out;
    out.pre = pre;
    std::vector<std::string> symbols = {" ", "a", "b", "c", "1", "'", "s", "\n", "\xC3", "\xA9"};
    while (out.merges.size() < count) {
        const std::pair<std::string, std::string> merge = {symbols[random() % symbols.size()],
                                                           symbols[random() % symbols.size()]};
        if (merge.first.size() + merge.second.size() <= 12 &&
            std::ranges::find(out.merges, merge) == out.merges.end()) {
            out.merges.push_back(merge);
            symbols.push_back(merge.first + merge.second);
        }
    }
    return out;
}

}  // namespace bareflow::llama::testing
