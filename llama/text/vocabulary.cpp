// What must hold: after read(), every token has a text of at most kMaxPieceBytes that is UTF-8, a
// known kind, and at most one entry in the hash table. Lookups are bounded for any file: a run of
// kMaxProbes occupied entries is refused while the table is filled.
#include "llama/text/vocabulary.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "kernel_lib/base/utf8.h"
#include "llama/file/refusal.h"
#include "llama/file/sort_numbers.h"

namespace bareflow::llama {

namespace {

constexpr uint32_t kNoId = 0xFFFFFFFF;  // how files say "none"

uint64_t mix(uint64_t value) {  // the finaliser of splitmix64
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
    return value ^ (value >> 31);
}

int hex_digit(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

size_t common_prefix(std::string_view a, std::string_view b) {
    size_t len = 0;
    while (len < a.size() && len < b.size() && a[len] == b[len]) {
        ++len;
    }
    return len;
}

}  // namespace

uint64_t hash_text(std::string_view text) {
    uint64_t hash = text.size();
    while (text.size() >= 8) {
        uint64_t word;
        __builtin_memcpy(&word, text.data(), 8);
        hash = mix(hash ^ word) + 0x9E3779B97F4A7C15;
        text.remove_prefix(8);
    }
    uint64_t tail = 0;
    for (const char c : text) {
        tail = tail << 8 | static_cast<uint8_t>(c);
    }
    return mix(hash ^ tail);
}

uint64_t hash_pair(uint32_t left, uint32_t right) {
    return mix(uint64_t{left} << 32 | right);
}

int parse_byte_text(std::string_view text) {
    if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') {
        return -1;
    }
    const int high = hex_digit(text[3]);
    const int low = hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

Status check_vocabulary_list(std::string_view what, const GgufArray &list, uint32_t vocab_size,
                             TextWriter &detail) {
    if (list.count != vocab_size) {
        return refuse(detail, ErrorCode::kInvalid, "the vocabulary's lists differ in length",
                      "the vocabulary has % tokens but % %", {vocab_size, list.count, what});
    }
    return {};
}

Status Vocabulary::read(const GgufFile &file, bool usual_ids, TextWriter &detail) {
    byte_tokens.fill(kNoToken);
    BF_TRY(read_texts(file, detail));
    BF_TRY(read_ids(file, usual_ids, detail));
    BF_TRY(read_tokens(detail));
    return index_specials(detail);
}

Status Vocabulary::read_texts(const GgufFile &file, TextWriter &detail) {
    BF_ASSIGN(texts_, file.array("tokenizer.ggml.tokens", GgufType::kString, detail));
    if (texts_.count == 0 || texts_.count > kMaxTokens ||
        texts_.bytes.size() > std::numeric_limits<uint32_t>::max()) {
        return refuse(detail, ErrorCode::kInvalid, "the vocabulary is empty or too large",
                      "a vocabulary of % tokens is outside 1 to %", {texts_.count, kMaxTokens});
    }
    size_ = static_cast<uint32_t>(texts_.count);
    if (file.find("tokenizer.ggml.token_type") != nullptr) {
        BF_ASSIGN(kinds_, file.array("tokenizer.ggml.token_type", GgufType::kInt32, detail));
        BF_TRY(check_vocabulary_list("types", kinds_, size_, detail));
    }
    auto offsets = Buffer<uint32_t>::create(size_);
    auto table = Buffer<Token>::create(std::bit_ceil(size_t{size_} * 2));
    if (!offsets || !table) {
        return refuse(detail, ErrorCode::kTooLarge, "no memory for the vocabulary");
    }
    text_offsets_ = std::move(offsets).value();
    table_ = std::move(table).value();
    std::ranges::fill(table_.span(), kNoToken);
    uint64_t offset = 0;
    for (uint32_t i = 0; i < size_; ++i) {
        text_offsets_[i] = static_cast<uint32_t>(offset);
        const std::string_view text = texts_.next_text(offset);
        if (text.size() > kMaxPieceBytes) {
            return refuse(detail, ErrorCode::kInvalid, "a token's text is too long",
                          "token % has a text of % bytes, over %",
                          {i, text.size(), kMaxPieceBytes});
        }
        if (!utf8_valid(text)) {
            return refuse(detail, ErrorCode::kInvalid, "a token's text is not UTF-8",
                          "the text of token % is not UTF-8", {i});
        }
    }
    return {};
}

Status Vocabulary::read_ids(const GgufFile &file, bool usual_ids, TextWriter &detail) {
    const auto usual = [usual_ids](uint32_t id) { return usual_ids ? id : kNoId; };
    BF_TRY(
        read_id(file, "tokenizer.ggml.bos_token_id", usual(1), TokenKind::kControl, bos_, detail));
    BF_TRY(
        read_id(file, "tokenizer.ggml.eos_token_id", usual(2), TokenKind::kControl, eos_, detail));
    BF_TRY(read_id(file, "tokenizer.ggml.unknown_token_id", usual(0), TokenKind::kUnknown, unknown_,
                   detail));
    return read_id(file, "tokenizer.ggml.eot_token_id", kNoId, TokenKind::kControl, end_of_turn_,
                   detail);
}

// The fallback is used only if the token has the wanted kind.
Status Vocabulary::read_id(const GgufFile &file, std::string_view key, uint32_t fallback,
                           TokenKind wanted, Token &out, TextWriter &detail) {
    uint32_t id = fallback;
    if (file.find(key) == nullptr) {
        if (id >= size_ || kinds_.count == 0 || kind(static_cast<Token>(id)) != wanted) {
            id = kNoId;
        }
    } else if (auto negative = file.i32(key, detail); negative && *negative == -1) {
        id = kNoId;
    } else {
        BF_ASSIGN(id, file.u32(key, detail));
    }
    if (id != kNoId && id >= size_) {
        return refuse(detail, ErrorCode::kInvalid, "a special token is outside the vocabulary",
                      "% is %, outside the vocabulary of % tokens", {key, id, size_});
    }
    out = id == kNoId ? kNoToken : static_cast<Token>(id);
    return {};
}

Status Vocabulary::read_tokens(TextWriter &detail) {
    for (uint32_t i = 0; i < size_; ++i) {
        const auto token = static_cast<Token>(i);
        if (kinds_.count != 0) {
            const int32_t number = kinds_.i32(i);
            if (number < 0 || number > static_cast<int32_t>(TokenKind::kByte)) {
                return refuse(detail, ErrorCode::kInvalid, "a token is of unknown type",
                              "token % is of unknown type #", {i, number});
            }
        }
        const std::string_view piece = text(token);
        const TokenKind token_kind = kind(token);
        if (token_kind == TokenKind::kByte) {
            const int byte = parse_byte_text(piece);
            if (byte < 0) {
                return refuse(detail, ErrorCode::kInvalid, "a byte token is not written <0xNN>",
                              "the byte token % is @ instead of <0xNN>", {token, piece});
            }
            byte_tokens[static_cast<uint8_t>(byte)] = token;
        } else if (stands_for_text(token_kind) && !piece.empty()) {
            longest_bytes_ = std::max(longest_bytes_, static_cast<uint32_t>(piece.size()));
            BF_TRY(insert(token, piece, detail));
        }
    }
    return {};
}

// If two tokens have one text, the later one is found.
Status Vocabulary::insert(Token token, std::string_view piece, TextWriter &detail) {
    const size_t mask = table_.size() - 1;
    size_t place = hash_text(piece) & mask;
    for (uint32_t probe = 0; probe < kMaxProbes; ++probe) {
        Token &held = table_[place];
        if (held == kNoToken || text(held) == piece) {
            held = token;
            return {};
        }
        place = (place + 1) & mask;
    }
    return refuse(detail, ErrorCode::kInvalid, "the vocabulary's texts collide in the hash table");
}

Status Vocabulary::index_specials(TextWriter &detail) {
    const auto is_special = [this](Token token) {
        const TokenKind token_kind = kind(token);
        return (token_kind == TokenKind::kControl || token_kind == TokenKind::kUserDefined) &&
               !text(token).empty();
    };
    size_t count = 0;
    for (uint32_t i = 0; i < size_; ++i) {
        count += is_special(static_cast<Token>(i)) ? 1 : 0;
    }
    auto specials = Buffer<uint32_t>::create(count);
    if (!specials) {
        return refuse(detail, ErrorCode::kTooLarge, "no memory for the vocabulary");
    }
    specials_ = std::move(specials).value();
    count = 0;
    for (uint32_t i = 0; i < size_; ++i) {
        const auto token = static_cast<Token>(i);
        if (is_special(token)) {
            specials_[count++] = i;
            const auto byte = static_cast<uint8_t>(text(token)[0]);
            special_first_[byte >> 6] |= uint64_t{1} << (byte & 63);
            has_user_defined_ |= kind(token) == TokenKind::kUserDefined;
        }
    }
    // If two have one text, the last in this order is found: a user-defined token rather than a
    // control token, and the later of two of one kind.
    sort_numbers(specials_.span(), this, [](const void *context, uint32_t a, uint32_t b) {
        const auto &vocabulary = *static_cast<const Vocabulary *>(context);
        const auto left = static_cast<Token>(a);
        const auto right = static_cast<Token>(b);
        const int order = vocabulary.text(left).compare(vocabulary.text(right));
        if (order != 0) {
            return order < 0;
        }
        const bool left_user = vocabulary.kind(left) == TokenKind::kUserDefined;
        const bool right_user = vocabulary.kind(right) == TokenKind::kUserDefined;
        return left_user != right_user ? right_user : a < b;
    });
    return {};
}

std::string_view Vocabulary::text(Token token) const {
    uint64_t offset = text_offsets_[static_cast<size_t>(token)];
    return texts_.next_text(offset);
}

TokenKind Vocabulary::kind(Token token) const {
    if (kinds_.count != 0) {
        const int32_t kind = kinds_.i32(static_cast<uint64_t>(token));
        return kind == 0 ? TokenKind::kNormal : static_cast<TokenKind>(kind);
    }
    if (token == unknown_) {
        return TokenKind::kUnknown;
    }
    if (token == bos_ || token == eos_ || token == end_of_turn_) {
        return TokenKind::kControl;
    }
    return parse_byte_text(text(token)) >= 0 ? TokenKind::kByte : TokenKind::kNormal;
}

Token Vocabulary::find(std::string_view piece) const {
    const size_t mask = table_.size() - 1;
    size_t place = hash_text(piece) & mask;
    for (uint32_t probe = 0; probe < kMaxProbes; ++probe) {  // no text lies further from its place
        const Token held = table_[place];
        if (held == kNoToken || text(held) == piece) {
            return held;
        }
        place = (place + 1) & mask;
    }
    return kNoToken;
}

Token Vocabulary::special_at(std::string_view rest, bool control) const {
    if (rest.empty()) {
        return kNoToken;
    }
    const auto byte = static_cast<uint8_t>(rest[0]);
    if ((special_first_[byte >> 6] >> (byte & 63) & 1) == 0) {
        return kNoToken;
    }
    // Find the last text that does not come after `key`. If `key` begins with it, it is the longest
    // such text. If not, no longer text than their common beginning can match: search again with
    // only that as key.
    std::string_view key(rest.data(), std::min<size_t>(rest.size(), kMaxPieceBytes));
    while (!key.empty()) {
        size_t low = 0;
        size_t high = specials_.size();
        while (low < high) {  // the first text after `key`
            const size_t middle = (low + high) / 2;
            const bool after = key < text(static_cast<Token>(specials_[middle]));
            (after ? high : low) = after ? middle : middle + 1;
        }
        if (low == 0) {
            return kNoToken;
        }
        const auto candidate = static_cast<Token>(specials_[low - 1]);
        const std::string_view piece = text(candidate);
        const size_t common = common_prefix(piece, key);
        if (common == piece.size()) {
            if (control || kind(candidate) == TokenKind::kUserDefined) {
                return candidate;
            }
            key = {key.data(), common - 1};
        } else {
            key = {key.data(), common};
        }
    }
    return kNoToken;
}

}  // namespace bareflow::llama
