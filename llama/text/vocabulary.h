// The tokens of a model file: their texts (which stay in the file), kinds, an index by text, and
// the ones with a special meaning. Both kinds of tokenizer have one; other rooms see it through
// Tokenizer.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "kernel_lib/base/result.h"
#include "kernel_lib/base/text_writer.h"
#include "kernel_lib/memory/buffer.h"
#include "llama/file/gguf.h"
#include "llama/text/token.h"

namespace bareflow::llama {

// Numbered as in `tokenizer.ggml.token_type`.
enum class TokenKind : uint8_t {
    kNormal = 1,
    kUnknown = 2,
    kControl = 3,
    kUserDefined = 4,
    kUnused = 5,
    kByte = 6,
};

// Tokens of the other kinds are never made out of pieces of text.
[[nodiscard]] constexpr bool stands_for_text(TokenKind kind) {
    return kind == TokenKind::kNormal || kind == TokenKind::kUserDefined;
}

class Vocabulary {
  public:
    static constexpr uint32_t kMaxTokens = 1u << 20;
    static constexpr uint32_t kMaxPieceBytes = 1024;  // of one token's text
    // At most half of a hash table is used, so a longer run of occupied entries means that the file
    // was made to be slow.
    static constexpr uint32_t kMaxProbes = 256;

    // `usual_ids`: if the file names no BOS, EOS or unknown token, they are 1, 2 and 0, provided
    // that these tokens are of that kind. Reads everything except what the kinds of tokenizer read
    // themselves.
    [[nodiscard]] Status read(const GgufFile &file, bool usual_ids, TextWriter &detail);

    [[nodiscard]] uint32_t size() const { return size_; }
    [[nodiscard]] std::string_view text(Token token) const;
    [[nodiscard]] TokenKind kind(Token token) const;
    // The token that stands for this text, as it is written in the file; kNoToken: none.
    [[nodiscard]] Token find(std::string_view piece) const;
    // The longest user-defined token that `rest` begins with; with `control`, also control tokens.
    [[nodiscard]] Token special_at(std::string_view rest, bool control) const;
    [[nodiscard]] bool has_specials(bool control) const {
        return has_user_defined_ || (control && specials_.size() != 0);
    }

    // kNoToken where the vocabulary has none.
    [[nodiscard]] Token bos() const { return bos_; }
    [[nodiscard]] Token eos() const { return eos_; }
    [[nodiscard]] Token end_of_turn() const { return end_of_turn_; }
    [[nodiscard]] Token unknown() const { return unknown_; }
    [[nodiscard]] uint32_t longest_bytes() const { return longest_bytes_; }
    // The token of each byte; kNoToken: none. BpeVocabulary overwrites it with its own.
    std::array<Token, 256> byte_tokens{};

  private:
    [[nodiscard]] Status read_texts(const GgufFile &file, TextWriter &detail);
    [[nodiscard]] Status read_ids(const GgufFile &file, bool usual_ids, TextWriter &detail);
    [[nodiscard]] Status read_id(const GgufFile &file, std::string_view key, uint32_t fallback,
                                 TokenKind wanted, Token &out, TextWriter &detail);
    [[nodiscard]] Status read_tokens(TextWriter &detail);
    [[nodiscard]] Status insert(Token token, std::string_view piece, TextWriter &detail);
    [[nodiscard]] Status index_specials(TextWriter &detail);

    GgufArray texts_;
    GgufArray kinds_;  // count 0: the file has none
    uint32_t size_ = 0;
    uint32_t longest_bytes_ = 0;               // of the tokens that stand for text
    Buffer<uint32_t> text_offsets_;            // per token, into texts_.bytes
    Buffer<Token> table_;                      // hash table, open addressing; kNoToken: free
    Buffer<uint32_t> specials_;                // user-defined and control tokens, sorted by text
    std::array<uint64_t, 4> special_first_{};  // bit set over their first bytes
    bool has_user_defined_ = false;
    Token bos_ = kNoToken;
    Token eos_ = kNoToken;
    Token end_of_turn_ = kNoToken;
    Token unknown_ = kNoToken;
};

// Refuses a list that has not one value for each token. `what`: its name, "scores".
[[nodiscard]] Status check_vocabulary_list(std::string_view what, const GgufArray &list,
                                           uint32_t vocab_size, TextWriter &detail);

// "<0x0A>" -> 10; -1: it is not written so.
[[nodiscard]] int parse_byte_text(std::string_view text);

// Both are fixed functions, so a file can be made to collide: callers bound their probes
// (kMaxProbes).
[[nodiscard]] uint64_t hash_text(std::string_view text);
[[nodiscard]] uint64_t hash_pair(uint32_t left, uint32_t right);

}  // namespace bareflow::llama
