// Turns one text into tokens, in slices: O(n log n) for any text. Special tokens divide the text
// into fragments. A fragment is divided into stretches that no merge crosses. Where the vocabulary
// is byte-level, a stretch is a word; otherwise it ends between two characters that no token holds
// side by side. The encoder works on one stretch at a time and keeps memory for one
// (symbol_chain.h) until it is destroyed. Text and `out` must live until it is done.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernel_lib/base/result.h"
#include "llama/text/pre_tokenizer.h"
#include "llama/text/symbol_chain.h"
#include "llama/text/token.h"
#include "llama/text/tokenizer.h"

namespace bareflow::llama {

class Encoder {
  public:
    // Writes BOS first and EOS last where the file says so.
    Encoder(const Tokenizer &tokenizer, std::string_view text, std::span<Token> out,
            SpecialTokens special = SpecialTokens::kAsText);
    Encoder(const Encoder &) = delete;
    Encoder &operator=(const Encoder &) = delete;

    // Works on about `budget` characters or merges. kTooLarge: the text is over kMaxTextBytes, or
    // needs more tokens than fit into `out`, or there is no memory. After an error: done for good.
    [[nodiscard]] Status advance(uint32_t budget);
    [[nodiscard]] bool done() const { return stage_ == Stage::kDone; }
    // Tokens written so far; the result once done(), 0 after an error.
    [[nodiscard]] uint32_t count() const { return count_; }

  private:
    enum class Stage : uint8_t {
        kBegin,
        kFragment,  // look for the special token that ends the fragment
        kScan,      // look for the end of the stretch
        kCount,     // count the word's bytes that have a token (byte-level)
        kFill,      // characters or bytes become symbols
        kPair,      // look at each pair of symbols
        kMerge,
        kEmit,
        kSpecial,  // the special token behind the fragment
        kEnd,
        kDone,
    };
    // The text between two special tokens.
    struct Fragment {
        size_t begin = 0;             // in text_
        size_t end = 0;               // in text_
        Token special = kNoToken;     // what stands there; kNoToken: the text ends
        bool prefix_pending = false;  // the space before the fragment is still to come
    };
    // What scanning found out about the stretch.
    struct Stretch {
        size_t begin = 0;             // in text_
        bool prefix = false;          // starts with the space before the fragment
        uint32_t last_character = 0;  // code point
        uint32_t symbols = 0;
        uint32_t escaped_bytes = 0;  // of its text, spaces as U+2581
    };

    [[nodiscard]] Status step();
    [[nodiscard]] Status begin();
    void find_fragment();
    [[nodiscard]] Status scan_characters();
    [[nodiscard]] Status scan_words();
    [[nodiscard]] Status count_bytes();
    [[nodiscard]] Status begin_fill();
    void fill_characters();
    void fill_bytes();
    void look_at_next_pair();
    // Tells the chain what this symbol and its successor make together.
    void look_at_pair(uint32_t left);
    [[nodiscard]] SymbolChain::Join join_of(uint32_t left) const;
    void merge();
    [[nodiscard]] Status emit();
    [[nodiscard]] Status emit_characters(const SymbolChain::Symbol &symbol);
    void end_stretch();
    [[nodiscard]] Status put_special();
    [[nodiscard]] Status put(Token token);

    const Tokenizer &tokenizer_;
    std::string_view text_;
    std::span<Token> out_;
    SpecialTokens special_tokens_;
    uint32_t count_ = 0;
    Stage stage_ = Stage::kBegin;
    size_t position_ = 0;  // in text_: the first character that the present stage has not seen
    Fragment fragment_;
    WordScanner words_;  // of the fragment (byte-level)
    Stretch stretch_;
    SymbolChain chain_;          // of the stretch
    uint32_t cursor_ = 0;        // symbol that kPair or kEmit looks at next
    bool last_unknown_ = false;  // a run of unknown characters is one token
};

}  // namespace bareflow::llama
