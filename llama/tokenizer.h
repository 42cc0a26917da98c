// Text to tokens and back, with the vocabulary of the model file. Knows `tokenizer.ggml.model =
// llama`: SentencePiece's BPE. The text is cut into characters, then the adjacent pair whose joined
// text is the token with the highest score is joined (leftmost first among equals), until no pair
// is a token. What is no token then is written as byte tokens <0xNN>, or as the unknown token where
// the vocabulary has no bytes. A space is U+2581 in the vocabulary, and one is put before the text
// where the file says so. Control tokens are never made out of text: "<s>" in a prompt is three
// characters.
//
// The vocabulary's texts and scores stay in the file; memory is a hash table and an index of them.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernel_lib/base/result.h"
#include "kernel_lib/base/text_writer.h"
#include "kernel_lib/memory/buffer.h"
#include "llama/gguf.h"
#include "llama/token.h"

namespace bareflow::llama {

// As numbered in `tokenizer.ggml.token_type`.
enum class TokenKind : uint8_t {
    kNormal = 1,
    kUnknown = 2,
    kControl = 3,
    kUserDefined = 4,
    kUnused = 5,
    kByte = 6,
};

class Tokenizer {
  public:
    static constexpr size_t kMaxTextBytes = 1u << 20;  // of one text to encode
    static constexpr uint32_t kMaxTokens = 1u << 20;   // of a vocabulary
    static constexpr uint32_t kMaxPieceBytes = 1024;   // of one token's text

    // The file's bytes must outlive the tokenizer; the GgufFile object need not. `detail` as there.
    [[nodiscard]] static Result<Tokenizer *> create(const GgufFile &file, TextWriter &detail);
    void destroy();

    [[nodiscard]] uint32_t vocab_size() const { return vocab_size_; }
    // kNoToken where the vocabulary has none.
    [[nodiscard]] Token bos() const { return bos_; }
    [[nodiscard]] Token eos() const { return eos_; }
    [[nodiscard]] Token unknown() const { return unknown_; }
    [[nodiscard]] bool adds_bos() const { return add_bos_; }
    [[nodiscard]] bool adds_eos() const { return add_eos_; }
    [[nodiscard]] bool adds_space_prefix() const { return add_space_prefix_; }
    // The model ends its text with this token (end of sequence, or end of turn).
    [[nodiscard]] bool ends_text(Token token) const;

    // token: 0..vocab_size()-1. text() is the token's text as it stands in the file.
    [[nodiscard]] std::string_view text(Token token) const;
    [[nodiscard]] TokenKind kind(Token token) const;
    [[nodiscard]] float score(Token token) const;
    // The token that stands for this piece of text (U+2581 for spaces); kNoToken: none.
    // Control, unknown and byte tokens stand for no text.
    [[nodiscard]] Token find(std::string_view piece) const;
    [[nodiscard]] Token byte_token(uint8_t byte) const { return byte_tokens_[byte]; }

    // The bytes the token adds to a text, spaces as spaces; at most kMaxPieceBytes. Control tokens
    // add nothing, the unknown token adds " \u2047 " as SentencePiece has it. Returns the count.
    size_t piece(Token token, std::span<char> out) const;

    // Encodes a whole text at once; returns the number of tokens written. See Encoder for errors,
    // and for doing it in slices.
    [[nodiscard]] Result<uint32_t> encode(std::string_view text, std::span<Token> out) const;

  private:
    friend class TokenizerBuilder;
    friend class Encoder;
    Tokenizer() = default;
    ~Tokenizer() = default;

    // False: no token holds these two characters side by side, so no merge crosses them.
    [[nodiscard]] bool may_join(uint32_t left_character, uint32_t right_character) const;

    GgufArray texts_;
    GgufArray scores_;
    GgufArray kinds_;  // count 0: the file has none
    uint32_t vocab_size_ = 0;
    uint32_t longest_bytes_ = 0;  // of the tokens that stand for text
    uint32_t longest_characters_ = 1;
    Buffer<uint32_t> text_offsets_;  // per token, into texts_.bytes
    Buffer<Token> slots_;            // hash table, open addressing; kNoToken: free
    Buffer<uint64_t> joins_;         // bit set over hashes of character pairs inside tokens
    std::array<Token, 256> byte_tokens_{};
    bool has_bytes_ = false;
    Token bos_ = kNoToken;
    Token eos_ = kNoToken;
    Token end_of_turn_ = kNoToken;
    Token unknown_ = kNoToken;
    bool add_bos_ = true;
    bool add_eos_ = false;
    bool add_space_prefix_ = true;
};

// One text on its way to tokens, in slices: O(n log n) whatever the text. The text falls apart into
// stretches wherever two neighbouring characters stand side by side in no token; one stretch is
// worked on at a time, and only for it is memory taken (40 bytes a character; a word or so of
// ordinary text) and given back at the end. Text and `out` must live until it is done.
class Encoder {
  public:
    // BOS first and EOS last where the file says so.
    Encoder(const Tokenizer &tokenizer, std::string_view text, std::span<Token> out);
    Encoder(const Encoder &) = delete;
    Encoder &operator=(const Encoder &) = delete;

    // Works on about `budget` characters or merges. kTooLarge: the text is over kMaxTextBytes, or
    // needs more tokens than fit into `out`, or there is no memory. After an error: done for good.
    [[nodiscard]] Status advance(uint32_t budget);
    [[nodiscard]] bool done() const { return stage_ == Stage::kDone; }
    // Tokens written so far; the result once done(), 0 after an error.
    [[nodiscard]] uint32_t count() const { return count_; }

  private:
    enum class Stage : uint8_t { kBegin, kScan, kFill, kPair, kMerge, kEmit, kEnd, kDone };
    // A character, or several that were joined; a chain in text order.
    struct Symbol {
        uint32_t begin;  // in escaped_
        uint32_t end;
        uint32_t previous;
        uint32_t next;
        Token joined;  // what it and its successor make together; kNoToken: nothing
        float score;   // of `joined`
    };

    [[nodiscard]] Status step();
    [[nodiscard]] Status begin();
    [[nodiscard]] Status scan();
    void fill();
    void merge();
    [[nodiscard]] Status emit();
    [[nodiscard]] Status put(Token token);
    void look_at_pair(uint32_t left);
    void update_best(uint32_t symbol);
    [[nodiscard]] uint32_t better(uint32_t left, uint32_t right) const;
    [[nodiscard]] std::string_view escaped(const Symbol &symbol) const;

    const Tokenizer &tokenizer_;
    std::string_view text_;
    std::span<Token> out_;
    uint32_t count_ = 0;
    Stage stage_ = Stage::kBegin;
    bool prefix_pending_ = false;  // the space before the text is still to come
    bool last_unknown_ = false;    // a run of unknown characters is one token
    size_t position_ = 0;          // in text_: the first character of no stretch yet
    // The stretch being worked on.
    size_t stretch_begin_ = 0;
    bool stretch_prefix_ = false;
    uint32_t last_character_ = 0;
    uint32_t symbol_count_ = 0;
    uint32_t escaped_len_ = 0;
    uint32_t cursor_ = 0;
    uint32_t leaves_ = 0;   // of the tree: a power of two, at least symbol_count_
    Buffer<char> escaped_;  // the stretch's text, spaces as U+2581
    Buffer<Symbol> symbols_;
    Buffer<uint32_t> best_;  // tournament tree: whose join has the highest score, leftmost first
};

// Tokens to text as they come, in whole UTF-8 characters only.
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
    // What is left: U+FFFD for a character that never became whole, or nothing.
    [[nodiscard]] std::string_view finish();

  private:
    void take(uint8_t byte);
    void write(std::string_view text);

    const Tokenizer &tokenizer_;
    bool strip_space_;
    uint8_t pending_[4] = {};  // the start of a character
    uint8_t pending_len_ = 0;
    size_t len_ = 0;
    std::array<char, Tokenizer::kMaxPieceBytes + 16> buffer_;
};

}  // namespace bareflow::llama
