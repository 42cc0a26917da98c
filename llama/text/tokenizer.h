// Text to tokens and back, with the vocabulary of the model file. Knows `tokenizer.ggml.model` =
// llama (SentencePiece's BPE, sentencepiece.h) and gpt2 (byte-level BPE with merges,
// bpe.h).
//
// Tokens with a meaning of their own: user-defined ones are taken out of any text, control tokens
// only where the caller asks for it (SpecialTokens::kParsed: templates of chats). "<s>" in a prompt
// is three characters otherwise.
//
// The vocabulary's texts and scores stay in the file; memory is hash tables and an index of them.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernel_lib/base/result.h"
#include "kernel_lib/base/text_writer.h"
#include "kernel_lib/memory/buffer.h"
#include "llama/file/gguf.h"
#include "llama/text/bpe.h"
#include "llama/text/sentencepiece.h"
#include "llama/text/token.h"
#include "llama/text/vocabulary.h"

namespace bareflow::llama {

enum class SpecialTokens : uint8_t {
    kAsText,  // the names of control tokens are ordinary text
    kParsed,  // they are those tokens
};

class Tokenizer {
  public:
    static constexpr size_t kMaxTextBytes = 1u << 20;  // of one text to encode
    static constexpr uint32_t kMaxPieceBytes = Vocabulary::kMaxPieceBytes;

    // The file's bytes must outlive the tokenizer; the GgufFile object need not. `detail` as there.
    [[nodiscard]] static Result<Tokenizer *> create(const GgufFile &file, TextWriter &detail);
    void destroy();

    [[nodiscard]] uint32_t vocab_size() const { return vocabulary_.size(); }
    // kNoToken where the vocabulary has none.
    [[nodiscard]] Token bos() const { return vocabulary_.bos(); }
    [[nodiscard]] Token eos() const { return vocabulary_.eos(); }
    [[nodiscard]] Token unknown() const { return vocabulary_.unknown(); }
    [[nodiscard]] bool adds_bos() const { return add_bos_; }
    [[nodiscard]] bool adds_eos() const { return add_eos_; }
    [[nodiscard]] bool adds_space_prefix() const { return add_space_prefix_; }
    // The vocabulary is of bytes (gpt2), not of characters (llama).
    [[nodiscard]] bool byte_level() const { return byte_level_; }
    // The model ends its text with this token (end of sequence, or end of turn).
    [[nodiscard]] bool ends_text(Token token) const;

    // token: 0..vocab_size()-1. text() is the token's text as it stands in the file.
    [[nodiscard]] std::string_view text(Token token) const { return vocabulary_.text(token); }
    [[nodiscard]] TokenKind kind(Token token) const { return vocabulary_.kind(token); }
    // 0 where the vocabulary has merges instead.
    [[nodiscard]] float score(Token token) const { return byte_level_ ? 0 : spm_.score(token); }
    // The token that stands for this piece of text, as it is written in the file; kNoToken: none.
    // Control, unknown and byte tokens stand for no text.
    [[nodiscard]] Token find(std::string_view piece) const { return vocabulary_.find(piece); }
    // kNoToken: none.
    [[nodiscard]] Token byte_token(uint8_t byte) const { return vocabulary_.byte_tokens[byte]; }
    // The control or user-defined token of this name; kNoToken: none.
    [[nodiscard]] Token find_special(std::string_view name) const;

    // The bytes the token adds to a text, spaces as spaces; at most kMaxPieceBytes. Control tokens
    // add nothing, the unknown token adds " \u2047 " as SentencePiece has it. Returns the count.
    size_t piece(Token token, std::span<char> out) const;

    // Encodes a whole text at once; returns the number of tokens written. See Encoder for errors,
    // and for doing it in slices.
    [[nodiscard]] Result<uint32_t> encode(std::string_view text, std::span<Token> out,
                                          SpecialTokens special = SpecialTokens::kAsText) const;

  private:
    friend class Encoder;
    Tokenizer() = default;
    ~Tokenizer() = default;
    [[nodiscard]] Status read(const GgufFile &file, TextWriter &detail);

    Vocabulary vocabulary_;
    SpmVocabulary spm_;  // of the two, the one that byte_level_ says
    BpeVocabulary bpe_;
    bool byte_level_ = false;
    bool add_bos_ = true;
    bool add_eos_ = false;
    bool add_space_prefix_ = true;
};

// One text on its way to tokens, in slices: O(n log n) whatever the text. The text falls apart into
// fragments between special tokens, and these into stretches that no merge crosses: words where the
// vocabulary is byte-level, otherwise whatever lies between two neighbouring characters that stand
// side by side in no token. One stretch is worked on at a time, and only for it is memory taken (44
// bytes a character or byte; a word or so of ordinary text) and given back at the end. Text and
// `out` must live until it is done.
class Encoder {
  public:
    // BOS first and EOS last where the file says so.
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
        kCount,     // bytes with a token (byte-level)
        kFill,      // characters or bytes to symbols
        kPair,      // look at each pair of symbols
        kMerge,
        kEmit,
        kSpecial,  // the special token behind the fragment
        kEnd,
        kDone,
    };
    // A character or byte, or several that were joined; a chain in text order.
    struct Symbol {
        uint32_t begin = 0;  // in escaped_; byte-level: not used
        uint32_t end = 0;
        uint32_t previous = 0;
        uint32_t next = 0;
        Token token = kNoToken;   // kNoToken: not looked up yet
        Token joined = kNoToken;  // what it and its successor make together; kNoToken: nothing
        float score = 0;          // of `joined`: the highest first
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
    void add_symbol(const Symbol &symbol);
    void merge();
    [[nodiscard]] Status emit();
    [[nodiscard]] Status emit_characters(const Symbol &symbol);
    [[nodiscard]] Status put_special();
    [[nodiscard]] Status put(Token token);
    void end_stretch();
    void look_at_pair(uint32_t left);
    void update_best(uint32_t symbol);
    [[nodiscard]] uint32_t better(uint32_t left, uint32_t right) const;
    [[nodiscard]] std::string_view escaped(const Symbol &symbol) const;

    const Tokenizer &tokenizer_;
    std::string_view text_;
    std::span<Token> out_;
    SpecialTokens special_tokens_;
    uint32_t count_ = 0;
    Stage stage_ = Stage::kBegin;
    size_t position_ = 0;          // in text_: the first character of no stretch yet
    size_t fragment_end_ = 0;      // in text_
    Token special_ = kNoToken;     // what stands there; kNoToken: the text ends
    bool prefix_pending_ = false;  // the space before the fragment is still to come
    bool last_unknown_ = false;    // a run of unknown characters is one token
    WordScanner words_;            // of the fragment (byte-level)
    size_t fragment_begin_ = 0;
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
