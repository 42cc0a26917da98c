// Turns text into tokens and back, with the vocabulary of the model file. Knows
// `tokenizer.ggml.model` = llama (SentencePiece's BPE, sentencepiece.h) and gpt2 (byte-level BPE
// with merges, bpe.h).
//
// Special tokens: user-defined ones are recognised in any text, control tokens only if the caller
// asks for it (SpecialTokens::kParsed, for chat templates). Otherwise "<s>" in a prompt is three
// characters.
//
// The vocabulary's texts and scores stay in the file. Memory is taken for hash tables and an index.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "kernel_lib/base/result.h"
#include "kernel_lib/base/text_writer.h"
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

    // The file's bytes must outlive the tokenizer; the GgufFile object need not. `detail` as in
    // GgufFile.
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
    // 0 if the vocabulary has merges instead.
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

    // Encodes a whole text at once; returns the number of tokens written. Errors are those of
    // Encoder, which works in slices.
    [[nodiscard]] Result<uint32_t> encode(std::string_view text, std::span<Token> out,
                                          SpecialTokens special = SpecialTokens::kAsText) const;

  private:
    friend class Encoder;
    Tokenizer() = default;
    ~Tokenizer() = default;
    [[nodiscard]] Status read(const GgufFile &file, TextWriter &detail);

    Vocabulary vocabulary_;
    SpmVocabulary spm_;  // empty if byte_level_
    BpeVocabulary bpe_;  // empty unless byte_level_
    bool byte_level_ = false;
    bool add_bos_ = true;
    bool add_eos_ = false;
    bool add_space_prefix_ = true;
};

}  // namespace bareflow::llama
