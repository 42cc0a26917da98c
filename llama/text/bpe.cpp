// What must hold: a file may hold any merges, so each is checked when it is read, and the hash
// table refuses runs of more than kMaxProbes entries. A lookup is then bounded, and ends at a free
// entry or at the limit.
#include "llama/text/bpe.h"

#include <algorithm>
#include <array>
#include <bit>
#include <optional>

#include "kernel_lib/base/utf8.h"
#include "llama/file/refusal.h"

namespace bareflow::llama {

namespace {

// Three ranges of bytes stand for themselves; these constants are the ends of the others.
constexpr uint32_t kFirstMoved = 0x100;
constexpr uint32_t kLowControls = 0x21;   // 00-20: U+0100-U+0120
constexpr uint32_t kHighControls = 0x7F;  // 7F-A0: U+0121-U+0142
constexpr uint32_t kNoBreakSpace = 0xA0;
constexpr uint32_t kSoftHyphen = 0xAD;  // U+0143
constexpr uint32_t kLastMoved = 0x143;

uint32_t character_of_byte(uint8_t byte) {
    if (byte < kLowControls) {
        return kFirstMoved + byte;
    }
    if (byte >= kHighControls && byte <= kNoBreakSpace) {
        return kFirstMoved + kLowControls + (byte - kHighControls);
    }
    return byte == kSoftHyphen ? kLastMoved : byte;
}

// -1: the character stands for no byte.
int byte_of_character(uint32_t c) {
    if (c == kLastMoved) {
        return kSoftHyphen;
    }
    if (c >= kFirstMoved) {
        const uint32_t place = c - kFirstMoved;
        if (place < kLowControls) {
            return static_cast<int>(place);
        }
        return c < kLastMoved ? static_cast<int>(place - kLowControls + kHighControls) : -1;
    }
    return character_of_byte(static_cast<uint8_t>(c)) == c ? static_cast<int>(c) : -1;
}

// Writes the characters that stand for the bytes; false: they do not fit.
bool write_as_characters(std::string_view bytes, TextWriter &out) {
    for (const char byte : bytes) {
        char encoded[4];
        const size_t len = utf8_encode(character_of_byte(static_cast<uint8_t>(byte)), encoded);
        if (out.size() + len > Vocabulary::kMaxPieceBytes) {
            return false;
        }
        out.append(std::string_view(encoded, len));
    }
    return true;
}

}  // namespace

Status BpeVocabulary::read(const GgufFile &file, Vocabulary &vocabulary, TextWriter &detail) {
    BF_ASSIGN(const std::string_view name, file.text_or("tokenizer.ggml.pre", "default", detail));
    const std::optional<PreTokenizer> kind = find_pre_tokenizer(name);
    if (!kind) {
        return refuse(detail, ErrorCode::kUnsupported, "the model's pre-tokenizer is not supported",
                      "a pre-tokenizer of kind @ is not supported; supported: %",
                      {name, kPreTokenizerNames});
    }
    pre_tokenizer_ = *kind;
    BF_TRY(read_bytes(vocabulary, detail));
    return read_merges(file, vocabulary, detail);
}

Status BpeVocabulary::read_bytes(Vocabulary &vocabulary, TextWriter &detail) {
    bool any = false;
    for (uint32_t byte = 0; byte < 256; ++byte) {
        char encoded[4];
        const size_t len = utf8_encode(character_of_byte(static_cast<uint8_t>(byte)), encoded);
        const Token token = vocabulary.find({encoded, len});
        vocabulary.byte_tokens[byte] = token;
        any |= token != kNoToken;
    }
    if (!any) {
        return refuse(detail, ErrorCode::kInvalid, "the vocabulary has no token for any byte");
    }
    return {};
}

Status BpeVocabulary::read_merges(const GgufFile &file, const Vocabulary &vocabulary,
                                  TextWriter &detail) {
    BF_ASSIGN(const GgufArray list, file.array("tokenizer.ggml.merges", GgufType::kString, detail));
    if (list.count > kMaxMerges) {
        return refuse(detail, ErrorCode::kInvalid, "the vocabulary has too many merges",
                      "% merges are over %", {list.count, kMaxMerges});
    }
    auto merges = Buffer<Merge>::create(list.count);
    auto table = Buffer<uint32_t>::create(std::bit_ceil(list.count * 2 + 2));
    if (!merges || !table) {
        return refuse(detail, ErrorCode::kTooLarge, "no memory for the vocabulary");
    }
    merges_ = std::move(merges).value();
    table_ = std::move(table).value();
    std::ranges::fill(table_.span(), kNoMerge);
    uint64_t offset = 0;
    for (uint32_t rank = 0; rank < list.count; ++rank) {
        const std::string_view text = list.next_text(offset);
        const size_t space = text.find(' ');
        if (space == std::string_view::npos || space == 0 || space + 1 == text.size()) {
            return refuse(detail, ErrorCode::kInvalid, "a merge is not two texts with a space",
                          "merge % is @ instead of two texts with a space between", {rank, text});
        }
        const std::string_view left(text.data(), space);
        const std::string_view right(text.data() + space + 1, text.size() - space - 1);
        std::array<char, Vocabulary::kMaxPieceBytes> buffer;
        TextWriter both(buffer);
        both.append(left);
        both.append(right);
        Merge &merge = merges_[rank];
        merge = {
            vocabulary.find(left), vocabulary.find(right),
            left.size() + right.size() > buffer.size() ? kNoToken : vocabulary.find(both.view())};
        if (merge.left == kNoToken || merge.right == kNoToken || merge.joined == kNoToken) {
            return refuse(detail, ErrorCode::kInvalid, "a merge is of texts that are no tokens",
                          "merge % is @, and @ is no token",
                          {rank, text,
                           merge.left == kNoToken    ? left
                           : merge.right == kNoToken ? right
                                                     : both.view()});
        }
        uint32_t characters = 0;
        for (const char c : both.view()) {
            characters += (static_cast<uint8_t>(c) & 0xC0) != 0x80 ? 1 : 0;
        }
        longest_characters_ = std::max(longest_characters_, characters);
        BF_TRY(insert(rank, detail));
    }
    return {};
}

Status BpeVocabulary::insert(uint32_t new_rank, TextWriter &detail) {
    const Merge &merge = merges_[new_rank];
    const size_t mask = table_.size() - 1;
    size_t place =
        hash_pair(static_cast<uint32_t>(merge.left), static_cast<uint32_t>(merge.right)) & mask;
    for (uint32_t probe = 0; probe < Vocabulary::kMaxProbes; ++probe) {
        uint32_t &held = table_[place];
        if (held == kNoMerge) {
            held = new_rank;
            return {};
        }
        if (merges_[held].left == merge.left && merges_[held].right == merge.right) {
            return refuse(detail, ErrorCode::kInvalid, "a merge is there twice",
                          "merge % is the same as merge %", {new_rank, held});
        }
        place = (place + 1) & mask;
    }
    return refuse(detail, ErrorCode::kInvalid, "the vocabulary's merges collide in the hash table");
}

uint32_t BpeVocabulary::rank(Token left, Token right) const {
    const size_t mask = table_.size() - 1;
    size_t place = hash_pair(static_cast<uint32_t>(left), static_cast<uint32_t>(right)) & mask;
    for (uint32_t probe = 0; probe < Vocabulary::kMaxProbes; ++probe) {
        const uint32_t held = table_[place];
        if (held == kNoMerge || (merges_[held].left == left && merges_[held].right == right)) {
            return held;
        }
        place = (place + 1) & mask;
    }
    return kNoMerge;
}

Token BpeVocabulary::find_word(const Vocabulary &vocabulary, std::string_view word) const {
    std::array<char, Vocabulary::kMaxPieceBytes> buffer;
    TextWriter characters(buffer);
    return write_as_characters(word, characters) ? vocabulary.find(characters.view()) : kNoToken;
}

void BpeVocabulary::piece(const Vocabulary &vocabulary, Token token, TextWriter &out) {
    const std::string_view text = vocabulary.text(token);
    switch (vocabulary.kind(token)) {
        case TokenKind::kControl:
        case TokenKind::kUnknown:
            return;
        case TokenKind::kByte:
            out.append(static_cast<char>(parse_byte_text(text)));
            return;
        case TokenKind::kUserDefined:
            out.append(text);
            return;
        case TokenKind::kNormal:
        case TokenKind::kUnused:
            break;
    }
    // A text with a character that stands for no byte is not written in bytes: it stands for
    // itself.
    std::array<char, Vocabulary::kMaxPieceBytes> bytes;
    size_t len = 0;
    for (std::string_view rest = text; !rest.empty();) {
        const Utf8Char c = utf8_decode(rest);
        const int byte = byte_of_character(c.code_point);
        if (byte < 0) {
            out.append(text);
            return;
        }
        bytes[len++] = static_cast<char>(byte);
        rest.remove_prefix(c.len_bytes);
    }
    out.append(std::string_view(bytes.data(), len));
}

}  // namespace bareflow::llama
