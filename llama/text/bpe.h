// Vocabularies with `tokenizer.ggml.model = gpt2`: byte-level BPE with a list of merges. The text
// is cut into words (pre_tokenizer.h), and a word into its bytes, each of which is a token. Then
// the adjacent pair that comes first in the list of merges is joined (the leftmost first among
// equals), until no pair is in the list. A byte that the vocabulary has no token for is left out,
// as the PyPI package `tokenizers` does.
//
// In the texts of such a vocabulary every byte is written as a character. The printable ones of
// Latin-1 are written as themselves, the other 68 as U+0100 and up, in order ("Ġ" is a space).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "llama/text/pre_tokenizer.h"
#include "llama/text/vocabulary.h"

namespace bareflow::llama {

class BpeVocabulary {
  public:
    // Files have up to a few merges for each token.
    static constexpr uint32_t kMaxMerges = 2 * Vocabulary::kMaxTokens;

    struct Merge {
        Token left = kNoToken;
        Token right = kNoToken;
        Token joined = kNoToken;
    };

    // Fills in the vocabulary's byte tokens. A merge is refused if it is not two tokens that make a
    // third, or if it stands in the list twice. (There can be no circle: the third token is longer
    // than either.)
    [[nodiscard]] Status read(const GgufFile &file, Vocabulary &vocabulary, TextWriter &detail);

    [[nodiscard]] PreTokenizer pre_tokenizer() const { return pre_tokenizer_; }
    // A word that is a token as a whole becomes that token, without merges.
    [[nodiscard]] bool takes_whole_words() const {
        return pre_tokenizer_ == PreTokenizer::kLlamaBpe;
    }
    // The place of this merge in the list, 0 for the first; kNoMerge: these two are not joined.
    static constexpr uint32_t kNoMerge = 0xFFFFFFFF;
    [[nodiscard]] uint32_t rank(Token left, Token right) const;
    [[nodiscard]] Token joined(uint32_t rank) const { return merges_[rank].joined; }
    // The most characters of a token that stands for text.
    [[nodiscard]] uint32_t longest_characters() const { return longest_characters_; }

    // The token whose text this word is as a whole; kNoToken: none.
    [[nodiscard]] Token find_word(const Vocabulary &vocabulary, std::string_view word) const;

    // The bytes that the token adds to a text.
    static void piece(const Vocabulary &vocabulary, Token token, TextWriter &out);

  private:
    [[nodiscard]] Status read_bytes(Vocabulary &vocabulary, TextWriter &detail);
    [[nodiscard]] Status read_merges(const GgufFile &file, const Vocabulary &vocabulary,
                                     TextWriter &detail);
    [[nodiscard]] Status insert(uint32_t rank, TextWriter &detail);

    PreTokenizer pre_tokenizer_ = PreTokenizer::kDefault;
    Buffer<Merge> merges_;    // by rank
    Buffer<uint32_t> table_;  // hash table of ranks, open addressing; kNoMerge: free
    uint32_t longest_characters_ = 1;
};

}  // namespace bareflow::llama
