// What must hold: may_join() is true for every pair of characters that stand side by side in a
// token that stands for text. The encoder cuts a text where it is false.
#include "llama/text/sentencepiece.h"

#include <algorithm>
#include <bit>

#include "kernel_lib/base/utf8.h"
#include "llama/file/refusal.h"

namespace bareflow::llama {

namespace {

constexpr uint32_t kInvalidCharacter =
    0x110000;  // stands for bytes that are not UTF-8; no token has it
constexpr std::string_view kUnknownText = " \xE2\x81\x87 ";  // U+2047, as SentencePiece has it

}  // namespace

SpmCharacter SpmCharacter::next(std::string_view text) {
    if (text[0] == ' ') {
        return {kSpaceCodePoint, 1, static_cast<uint32_t>(kSpace.size())};
    }
    const Utf8Char c = utf8_decode(text);
    return {c.valid ? c.code_point : kInvalidCharacter, c.len_bytes, c.len_bytes};
}

Status SpmVocabulary::read(const GgufFile &file, const Vocabulary &vocabulary, TextWriter &detail) {
    BF_ASSIGN(scores_, file.array("tokenizer.ggml.scores", GgufType::kFloat32, detail));
    BF_TRY(check_vocabulary_list("scores", scores_, vocabulary.size(), detail));
    // 16 to 32 bits for each token. A token has about 6 pairs, but shares most of them with others:
    // may_join() is seldom true without need.
    auto joins = Buffer<uint64_t>::create(std::bit_ceil(size_t{vocabulary.size()} + 3) / 4);
    if (!joins) {
        return refuse(detail, ErrorCode::kTooLarge, "no memory for the vocabulary");
    }
    joins_ = std::move(joins).value();
    for (uint32_t i = 0; i < vocabulary.size(); ++i) {
        const auto token = static_cast<Token>(i);
        const float value = score(token);
        if (value != value) {
            return refuse(detail, ErrorCode::kInvalid, "a token's score is not a number",
                          "the score of token % is not a number", {i});
        }
        if (stands_for_text(vocabulary.kind(token))) {
            remember_joins(vocabulary.text(token));
        }
    }
    has_bytes_ =
        std::ranges::find(vocabulary.byte_tokens, kNoToken) == vocabulary.byte_tokens.end();
    if (!has_bytes_ && vocabulary.unknown() == kNoToken) {
        return refuse(detail, ErrorCode::kInvalid,
                      "the vocabulary has neither 256 byte tokens nor an unknown token");
    }
    return {};
}

void SpmVocabulary::remember_joins(std::string_view text) {
    uint32_t characters = 0;
    uint32_t before = 0;
    while (!text.empty()) {
        const SpmCharacter c = SpmCharacter::next(text);
        if (characters != 0) {
            const uint64_t bit = hash_pair(before, c.code_point);
            joins_[(bit >> 6) & (joins_.size() - 1)] |= uint64_t{1} << (bit & 63);
        }
        before = c.code_point;
        text.remove_prefix(c.len_bytes);
        ++characters;
    }
    longest_characters_ = std::max(longest_characters_, characters);
}

bool SpmVocabulary::may_join(uint32_t left_character, uint32_t right_character) const {
    const uint64_t bit = hash_pair(left_character, right_character);
    return (joins_[(bit >> 6) & (joins_.size() - 1)] >> (bit & 63) & 1) != 0;
}

void SpmVocabulary::piece(const Vocabulary &vocabulary, Token token, TextWriter &out) {
    std::string_view text = vocabulary.text(token);
    switch (vocabulary.kind(token)) {
        case TokenKind::kControl:
            break;
        case TokenKind::kUnknown:
            out.append(kUnknownText);
            break;
        case TokenKind::kByte:
            out.append(static_cast<char>(parse_byte_text(text)));
            break;
        case TokenKind::kNormal:
        case TokenKind::kUserDefined:
        case TokenKind::kUnused:
            while (!text.empty()) {
                const bool space = text.starts_with(SpmCharacter::kSpace);
                out.append(space ? ' ' : text[0]);
                text.remove_prefix(space ? SpmCharacter::kSpace.size() : 1);
            }
            break;
    }
}

}  // namespace bareflow::llama
