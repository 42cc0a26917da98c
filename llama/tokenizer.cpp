#include "llama/tokenizer.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <new>
#include <optional>

#include "kernel_lib/base/utf8.h"
#include "llama/refusal.h"

namespace bareflow::llama {

namespace {

constexpr std::string_view kVocabularyModel = "llama";
constexpr uint32_t kNoId = 0xFFFFFFFF;                      // how files say "none"
constexpr std::string_view kEscapedSpace = "\xE2\x96\x81";  // U+2581
constexpr uint32_t kEscapedSpaceCharacter = 0x2581;
constexpr uint32_t kInvalidCharacter = 0x110000;             // bytes that are no UTF-8; in no token
constexpr std::string_view kUnknownText = " \xE2\x81\x87 ";  // U+2047
constexpr std::string_view kReplacementText = "\xEF\xBF\xBD";
// At most half of the table is used; a longer run than this is a file made to be slow.
constexpr uint32_t kMaxProbes = 256;
constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

uint64_t mix(uint64_t value) {  // the finaliser of splitmix64
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
    return value ^ (value >> 31);
}

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

std::optional<uint8_t> hex_digit(char c) {
    if (c >= '0' && c <= '9') {
        return static_cast<uint8_t>(c - '0');
    }
    if (c >= 'A' && c <= 'F') {
        return static_cast<uint8_t>(c - 'A' + 10);
    }
    return std::nullopt;
}

// "<0x0A>" -> 10
std::optional<uint8_t> parse_byte_text(std::string_view text) {
    if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') {
        return std::nullopt;
    }
    const std::optional<uint8_t> high = hex_digit(text[3]);
    const std::optional<uint8_t> low = hex_digit(text[4]);
    if (!high || !low) {
        return std::nullopt;
    }
    return static_cast<uint8_t>(*high << 4 | *low);
}

// string_view::substr() without its exception.
std::string_view from(std::string_view text, size_t position) {
    text.remove_prefix(position);
    return text;
}
std::string_view first(std::string_view text, size_t len_bytes) {
    return {text.data(), len_bytes};
}

// Tokens of the other kinds are never made out of text.
bool stands_for_text(TokenKind kind) {
    return kind == TokenKind::kNormal || kind == TokenKind::kUserDefined;
}

struct Character {
    uint32_t code_point;  // spaces as U+2581
    uint32_t len_bytes;   // in the text
    uint32_t escaped_len_bytes;
};

Character next_character(std::string_view text) {
    if (text[0] == ' ') {
        return {kEscapedSpaceCharacter, 1, static_cast<uint32_t>(kEscapedSpace.size())};
    }
    const Utf8Char c = utf8_decode(text);
    return {c.valid ? c.code_point : kInvalidCharacter, c.len_bytes, c.len_bytes};
}

}  // namespace

// ---------------------------------------------------------------- vocabulary

class TokenizerBuilder {
  public:
    TokenizerBuilder(Tokenizer &tokenizer, const GgufFile &file, TextWriter &detail)
        : tokenizer_(tokenizer), file_(file), detail_(detail) {}

    [[nodiscard]] Status build() {
        BF_TRY(check_model());
        BF_TRY(read_arrays());
        BF_TRY(index_texts());
        BF_TRY(read_special_tokens());
        BF_TRY(read_tokens());
        BF_TRY(check_fallback());
        detail_.clear();
        return {};
    }

    static Result<Tokenizer *> create(const GgufFile &file, TextWriter &detail) {
        void *memory = heap_allocate(sizeof(Tokenizer), alignof(Tokenizer));
        if (memory == nullptr) {
            return refuse(detail, ErrorCode::kTooLarge, "out of memory");
        }
        auto *tokenizer = new (memory) Tokenizer();
        if (Status status = TokenizerBuilder(*tokenizer, file, detail).build(); !status) {
            tokenizer->destroy();
            return status;
        }
        return tokenizer;
    }

  private:
    [[nodiscard]] Error invalid(Sentence message) {
        return refuse(detail_, ErrorCode::kInvalid, message);
    }
    [[nodiscard]] Error invalid(Sentence message, Sentence format, RefusalArguments arguments) {
        return refuse(detail_, ErrorCode::kInvalid, message, format, arguments);
    }

    [[nodiscard]] Status check_model() {
        BF_ASSIGN(const std::string_view model, file_.text("tokenizer.ggml.model", detail_));
        if (model != kVocabularyModel) {
            return refuse(detail_, ErrorCode::kUnsupported,
                          "the model's vocabulary is of a kind that is not supported",
                          "a vocabulary of kind @ is not supported; supported: %",
                          {model, kVocabularyModel});
        }
        return {};
    }

    [[nodiscard]] Status read_arrays() {
        Tokenizer &t = tokenizer_;
        BF_ASSIGN(t.texts_, file_.array("tokenizer.ggml.tokens", GgufType::kString, detail_));
        if (t.texts_.count == 0 || t.texts_.count > Tokenizer::kMaxTokens ||
            t.texts_.bytes.size() > std::numeric_limits<uint32_t>::max()) {
            return invalid("the vocabulary is empty or too large",
                           "a vocabulary of % tokens is outside 1 to %",
                           {t.texts_.count, Tokenizer::kMaxTokens});
        }
        t.vocab_size_ = static_cast<uint32_t>(t.texts_.count);
        BF_ASSIGN(t.scores_, file_.array("tokenizer.ggml.scores", GgufType::kFloat32, detail_));
        BF_TRY(check_count("scores", t.scores_));
        if (file_.find("tokenizer.ggml.token_type") != nullptr) {
            BF_ASSIGN(t.kinds_,
                      file_.array("tokenizer.ggml.token_type", GgufType::kInt32, detail_));
            BF_TRY(check_count("types", t.kinds_));
        }
        BF_ASSIGN(t.add_bos_, file_.boolean_or("tokenizer.ggml.add_bos_token", true, detail_));
        BF_ASSIGN(t.add_eos_, file_.boolean_or("tokenizer.ggml.add_eos_token", false, detail_));
        BF_ASSIGN(t.add_space_prefix_,
                  file_.boolean_or("tokenizer.ggml.add_space_prefix", true, detail_));
        return {};
    }

    [[nodiscard]] Status check_count(std::string_view what, const GgufArray &array) {
        if (array.count != tokenizer_.texts_.count) {
            return invalid("the vocabulary's lists differ in length",
                           "the vocabulary has % tokens but % %",
                           {tokenizer_.texts_.count, array.count, what});
        }
        return {};
    }

    [[nodiscard]] Status index_texts() {
        Tokenizer &t = tokenizer_;
        auto offsets = Buffer<uint32_t>::create(t.vocab_size_);
        auto slots = Buffer<Token>::create(std::bit_ceil(size_t{t.vocab_size_} * 2));
        // About 6 pairs a token, most of them seen before: few false "may join".
        auto joins = Buffer<uint64_t>::create(std::bit_ceil(size_t{t.vocab_size_} + 3) / 4);
        if (!offsets || !slots || !joins) {
            return refuse(detail_, ErrorCode::kTooLarge, "no memory for the vocabulary");
        }
        t.text_offsets_ = std::move(offsets).value();
        t.slots_ = std::move(slots).value();
        t.joins_ = std::move(joins).value();
        std::ranges::fill(t.slots_.span(), kNoToken);
        t.byte_tokens_.fill(kNoToken);
        uint64_t offset = 0;
        for (uint32_t i = 0; i < t.vocab_size_; ++i) {
            t.text_offsets_[i] = static_cast<uint32_t>(offset);
            const std::string_view text = t.texts_.next_text(offset);
            if (text.size() > Tokenizer::kMaxPieceBytes) {
                return invalid("a token's text is too long",
                               "token % has a text of % bytes, over %",
                               {i, text.size(), Tokenizer::kMaxPieceBytes});
            }
            if (!utf8_valid(text)) {
                return invalid("a token's text is not UTF-8", "the text of token % is not UTF-8",
                               {i});
            }
        }
        return {};
    }

    [[nodiscard]] Status read_special_tokens() {
        Tokenizer &t = tokenizer_;
        // The fallbacks are those of every SentencePiece Llama vocabulary.
        BF_TRY(read_id("tokenizer.ggml.bos_token_id", 1, TokenKind::kControl, t.bos_));
        BF_TRY(read_id("tokenizer.ggml.eos_token_id", 2, TokenKind::kControl, t.eos_));
        BF_TRY(read_id("tokenizer.ggml.unknown_token_id", 0, TokenKind::kUnknown, t.unknown_));
        BF_TRY(read_id("tokenizer.ggml.eot_token_id", kNoId, TokenKind::kControl, t.end_of_turn_));
        t.add_bos_ = t.add_bos_ && t.bos_ != kNoToken;
        t.add_eos_ = t.add_eos_ && t.eos_ != kNoToken;
        return {};
    }

    // A fallback counts only where the token is of the kind that it should be.
    [[nodiscard]] Status read_id(std::string_view key, uint32_t fallback, TokenKind kind,
                                 Token &out) {
        uint32_t id = fallback;
        if (file_.find(key) == nullptr) {
            if (id >= tokenizer_.vocab_size_ || tokenizer_.kinds_.count == 0 ||
                tokenizer_.kind(static_cast<Token>(id)) != kind) {
                id = kNoId;
            }
        } else if (auto negative = file_.i32(key, detail_); negative && *negative == -1) {
            id = kNoId;
        } else {
            BF_ASSIGN(id, file_.u32(key, detail_));
        }
        if (id != kNoId && id >= tokenizer_.vocab_size_) {
            return invalid("a special token is outside the vocabulary",
                           "% is %, outside the vocabulary of % tokens",
                           {key, id, tokenizer_.vocab_size_});
        }
        out = id == kNoId ? kNoToken : static_cast<Token>(id);
        return {};
    }

    [[nodiscard]] Status read_tokens() {
        for (uint32_t i = 0; i < tokenizer_.vocab_size_; ++i) {
            const auto token = static_cast<Token>(i);
            const float score = tokenizer_.score(token);
            if (score != score) {
                return invalid("a token's score is not a number",
                               "the score of token % is not a number", {i});
            }
            if (tokenizer_.kinds_.count != 0) {
                const int32_t kind = tokenizer_.kinds_.i32(i);
                if (kind < 0 || kind > static_cast<int32_t>(TokenKind::kByte)) {
                    return invalid("a token is of unknown type", "token % is of unknown type #",
                                   {i, kind});
                }
            }
            BF_TRY(read_token(token));
        }
        return {};
    }

    [[nodiscard]] Status read_token(Token token) {
        const std::string_view text = tokenizer_.text(token);
        const TokenKind kind = tokenizer_.kind(token);
        if (kind == TokenKind::kByte) {
            const std::optional<uint8_t> byte = parse_byte_text(text);
            if (!byte) {
                return invalid("a byte token is not written <0xNN>",
                               "the byte token % is @ instead of <0xNN>", {token, text});
            }
            tokenizer_.byte_tokens_[*byte] = token;
            return {};
        }
        if (!stands_for_text(kind) || text.empty()) {
            return {};
        }
        remember_joins(text);
        return insert(token, text);
    }

    void remember_joins(std::string_view text) {
        Tokenizer &t = tokenizer_;
        t.longest_bytes_ = std::max(t.longest_bytes_, static_cast<uint32_t>(text.size()));
        uint32_t characters = 0;
        uint32_t before = 0;
        while (!text.empty()) {
            const Character c = next_character(text);
            if (characters != 0) {
                const uint64_t bit = hash_pair(before, c.code_point);
                t.joins_[(bit >> 6) & (t.joins_.size() - 1)] |= uint64_t{1} << (bit & 63);
            }
            before = c.code_point;
            text.remove_prefix(c.len_bytes);
            ++characters;
        }
        t.longest_characters_ = std::max(t.longest_characters_, characters);
    }

    // Of two tokens with one text the later one counts.
    [[nodiscard]] Status insert(Token token, std::string_view text) {
        const size_t mask = tokenizer_.slots_.size() - 1;
        size_t slot = hash_text(text) & mask;
        for (uint32_t probe = 0; probe < kMaxProbes; ++probe) {
            Token &held = tokenizer_.slots_[slot];
            if (held == kNoToken || tokenizer_.text(held) == text) {
                held = token;
                return {};
            }
            slot = (slot + 1) & mask;
        }
        return invalid("the vocabulary's texts collide in the hash table");
    }

    [[nodiscard]] Status check_fallback() {
        Tokenizer &t = tokenizer_;
        t.has_bytes_ = std::ranges::find(t.byte_tokens_, kNoToken) == t.byte_tokens_.end();
        if (!t.has_bytes_ && t.unknown_ == kNoToken) {
            return invalid("the vocabulary has neither 256 byte tokens nor an unknown token");
        }
        return {};
    }

    Tokenizer &tokenizer_;
    const GgufFile &file_;
    TextWriter &detail_;
};

Result<Tokenizer *> Tokenizer::create(const GgufFile &file, TextWriter &detail) {
    return TokenizerBuilder::create(file, detail);
}

void Tokenizer::destroy() {
    this->~Tokenizer();
    heap_release(this);
}

bool Tokenizer::ends_text(Token token) const {
    return token != kNoToken && (token == eos_ || token == end_of_turn_);
}

std::string_view Tokenizer::text(Token token) const {
    uint64_t offset = text_offsets_[static_cast<size_t>(token)];
    return texts_.next_text(offset);
}

float Tokenizer::score(Token token) const {
    return scores_.f32(static_cast<uint64_t>(token));
}

TokenKind Tokenizer::kind(Token token) const {
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
    return parse_byte_text(text(token)) ? TokenKind::kByte : TokenKind::kNormal;
}

Token Tokenizer::find(std::string_view piece) const {
    const size_t mask = slots_.size() - 1;
    size_t slot = hash_text(piece) & mask;
    for (uint32_t probe = 0; probe < kMaxProbes; ++probe) {  // none lies further from its place
        const Token held = slots_[slot];
        if (held == kNoToken || text(held) == piece) {
            return held;
        }
        slot = (slot + 1) & mask;
    }
    return kNoToken;
}

bool Tokenizer::may_join(uint32_t left_character, uint32_t right_character) const {
    const uint64_t bit = hash_pair(left_character, right_character);
    return (joins_[(bit >> 6) & (joins_.size() - 1)] >> (bit & 63) & 1) != 0;
}

size_t Tokenizer::piece(Token token, std::span<char> out) const {
    TextWriter writer(out);
    std::string_view piece_text = text(token);
    switch (kind(token)) {
        case TokenKind::kControl:
            break;
        case TokenKind::kUnknown:
            writer.append(kUnknownText);
            break;
        case TokenKind::kByte:
            writer.append(static_cast<char>(*parse_byte_text(piece_text)));
            break;
        case TokenKind::kNormal:
        case TokenKind::kUserDefined:
        case TokenKind::kUnused:
            while (!piece_text.empty()) {
                const bool space = piece_text.starts_with(kEscapedSpace);
                writer.append(space ? ' ' : piece_text[0]);
                piece_text.remove_prefix(space ? kEscapedSpace.size() : 1);
            }
            break;
    }
    return writer.size();
}

Result<uint32_t> Tokenizer::encode(std::string_view text, std::span<Token> out) const {
    Encoder encoder(*this, text, out);
    while (!encoder.done()) {
        BF_TRY(encoder.advance(std::numeric_limits<uint32_t>::max()));
    }
    return encoder.count();
}

// ---------------------------------------------------------------- text to tokens

Encoder::Encoder(const Tokenizer &tokenizer, std::string_view text, std::span<Token> out)
    : tokenizer_(tokenizer), text_(text), out_(out) {}

Status Encoder::advance(uint32_t budget) {
    for (uint32_t i = 0; i < budget && !done(); ++i) {
        if (Status status = step(); !status) {
            stage_ = Stage::kDone;
            count_ = 0;
            return status;
        }
    }
    return {};
}

Status Encoder::step() {
    switch (stage_) {
        case Stage::kBegin:
            return begin();
        case Stage::kScan:
            return scan();
        case Stage::kFill:
            fill();
            return {};
        case Stage::kPair:
            look_at_pair(cursor_);
            if (++cursor_ == symbol_count_) {
                stage_ = Stage::kMerge;
            }
            return {};
        case Stage::kMerge:
            merge();
            return {};
        case Stage::kEmit:
            return emit();
        case Stage::kEnd:
            stage_ = Stage::kDone;
            return tokenizer_.add_eos_ ? put(tokenizer_.eos_) : Status{};
        case Stage::kDone:
            return {};
    }
    return {};
}

Status Encoder::begin() {
    if (text_.size() > Tokenizer::kMaxTextBytes) {
        return {ErrorCode::kTooLarge, "the text is longer than 1 MiB"};
    }
    if (tokenizer_.add_bos_) {
        BF_TRY(put(tokenizer_.bos_));
    }
    prefix_pending_ = tokenizer_.add_space_prefix_ && !text_.empty();
    stage_ = text_.empty() ? Stage::kEnd : Stage::kScan;
    return {};
}

// Takes one more character into the stretch, or ends it.
Status Encoder::scan() {
    const bool at_end = !prefix_pending_ && position_ == text_.size();
    Character c{};
    if (prefix_pending_) {
        c = {kEscapedSpaceCharacter, 0, static_cast<uint32_t>(kEscapedSpace.size())};
    } else if (!at_end) {
        c = next_character(from(text_, position_));
    }
    const bool cut =
        symbol_count_ != 0 && !at_end && !tokenizer_.may_join(last_character_, c.code_point);
    if (!at_end && !cut) {
        // No token holds more characters than the longest; so much cannot fit, and is not tried.
        // (A run of unknown characters is one token, however long.)
        if (tokenizer_.has_bytes_ &&
            symbol_count_ >= (out_.size() - count_) * uint64_t{tokenizer_.longest_characters_}) {
            return {ErrorCode::kTooLarge, "the text has more tokens than there is room for"};
        }
        if (symbol_count_ == 0) {
            stretch_begin_ = position_;
            stretch_prefix_ = prefix_pending_;
        }
        prefix_pending_ = false;
        position_ += c.len_bytes;
        escaped_len_ += c.escaped_len_bytes;
        last_character_ = c.code_point;
        ++symbol_count_;
        return {};
    }
    leaves_ = std::bit_ceil(symbol_count_);
    if (symbols_.size() < symbol_count_ || escaped_.size() < escaped_len_) {
        // What the last stretch had goes first; room for a few words more saves asking again.
        symbols_ = {};
        escaped_ = {};
        best_ = {};
        const uint32_t room = std::max(symbol_count_, 64u);
        auto symbols = Buffer<Symbol>::create(room);
        auto escaped = Buffer<char>::create(std::max(escaped_len_, 4 * 64u));
        auto best = Buffer<uint32_t>::create(std::bit_ceil(room));
        if (!symbols || !escaped || !best) {
            return {ErrorCode::kTooLarge, "no memory to cut the text into tokens"};
        }
        symbols_ = std::move(symbols).value();
        escaped_ = std::move(escaped).value();
        best_ = std::move(best).value();
    }
    std::ranges::fill(best_.span().first(leaves_), kNone);
    cursor_ = 0;
    escaped_len_ = 0;
    position_ = stretch_begin_;
    stage_ = Stage::kFill;
    return {};
}

// Writes down one character of the stretch as a symbol.
void Encoder::fill() {
    Symbol &symbol = symbols_[cursor_];
    symbol = {.begin = escaped_len_,
              .end = 0,
              .previous = cursor_ == 0 ? kNone : cursor_ - 1,
              .next = cursor_ + 1 == symbol_count_ ? kNone : cursor_ + 1,
              .joined = kNoToken,
              .score = 0};
    std::string_view source;
    if (cursor_ == 0 && stretch_prefix_) {
        source = kEscapedSpace;
    } else {
        const std::string_view rest = from(text_, position_);
        const Character c = next_character(rest);
        source = rest[0] == ' ' ? kEscapedSpace : first(rest, c.len_bytes);
        position_ += c.len_bytes;
    }
    std::ranges::copy(source, escaped_.span().subspan(escaped_len_).begin());
    escaped_len_ += static_cast<uint32_t>(source.size());
    symbol.end = escaped_len_;
    if (++cursor_ == symbol_count_) {
        cursor_ = 0;
        stage_ = Stage::kPair;
    }
}

std::string_view Encoder::escaped(const Symbol &symbol) const {
    return {escaped_.data() + symbol.begin, symbol.end - symbol.begin};
}

void Encoder::look_at_pair(uint32_t left) {
    Symbol &symbol = symbols_[left];
    const Token before = symbol.joined;
    symbol.joined = kNoToken;
    if (symbol.next != kNone) {
        const uint32_t end = symbols_[symbol.next].end;
        if (end - symbol.begin <= tokenizer_.longest_bytes_) {
            symbol.joined = tokenizer_.find({escaped_.data() + symbol.begin, end - symbol.begin});
        }
    }
    if (symbol.joined != kNoToken) {
        symbol.score = tokenizer_.score(symbol.joined);
    }
    if (symbol.joined != kNoToken || before != kNoToken) {
        update_best(left);
    }
}

// Of two symbols (kNone: no candidate), the one to join first; `left` stands before `right`.
uint32_t Encoder::better(uint32_t left, uint32_t right) const {
    if (left == kNone || right == kNone) {
        return left == kNone ? right : left;
    }
    return symbols_[right].score > symbols_[left].score ? right : left;
}

// The tree's leaves are the symbols themselves: node i < leaves_ has the children 2i and 2i + 1,
// and a child c >= leaves_ is the symbol c - leaves_. The root is node 1.
void Encoder::update_best(uint32_t symbol) {
    const auto candidate = [this](uint32_t node) {
        if (node < leaves_) {
            return best_[node];
        }
        const uint32_t leaf = node - leaves_;
        return leaf < symbol_count_ && symbols_[leaf].joined != kNoToken ? leaf : kNone;
    };
    for (uint32_t node = (symbol + leaves_) / 2; node != 0; node /= 2) {
        best_[node] = better(candidate(2 * node), candidate(2 * node + 1));
    }
}

void Encoder::merge() {
    const uint32_t left = leaves_ > 1 ? best_[1] : kNone;
    if (left == kNone) {
        cursor_ = 0;
        stage_ = Stage::kEmit;
        return;
    }
    Symbol &symbol = symbols_[left];
    const uint32_t right = symbol.next;
    symbol.end = symbols_[right].end;
    symbol.next = symbols_[right].next;
    if (symbol.next != kNone) {
        symbols_[symbol.next].previous = left;
    }
    if (symbols_[right].joined != kNoToken) {
        symbols_[right].joined = kNoToken;
        update_best(right);
    }
    look_at_pair(left);
    if (symbol.previous != kNone) {
        look_at_pair(symbol.previous);
    }
}

// Writes the tokens of one symbol.
Status Encoder::emit() {
    const Symbol &symbol = symbols_[cursor_];
    const Token token = tokenizer_.find(escaped(symbol));
    if (token != kNoToken) {
        BF_TRY(put(token));
    } else if (tokenizer_.has_bytes_) {
        for (const char byte : escaped(symbol)) {
            BF_TRY(put(tokenizer_.byte_token(static_cast<uint8_t>(byte))));
        }
    } else if (!last_unknown_) {
        BF_TRY(put(tokenizer_.unknown_));
    }
    last_unknown_ = token == kNoToken;
    cursor_ = symbol.next;
    if (cursor_ == kNone) {
        symbol_count_ = 0;
        escaped_len_ = 0;
        stage_ = position_ == text_.size() ? Stage::kEnd : Stage::kScan;
    }
    return {};
}

Status Encoder::put(Token token) {
    if (count_ == out_.size()) {
        return {ErrorCode::kTooLarge, "the text has more tokens than there is room for"};
    }
    out_[count_++] = token;
    return {};
}

// ---------------------------------------------------------------- tokens to text

std::string_view StreamDecoder::put(Token token) {
    std::array<char, Tokenizer::kMaxPieceBytes> bytes;
    size_t count = tokenizer_.piece(token, bytes);
    std::string_view piece(bytes.data(), count);
    const TokenKind kind = tokenizer_.kind(token);
    if (strip_space_ && kind != TokenKind::kControl) {
        strip_space_ = false;
        if (kind != TokenKind::kByte && kind != TokenKind::kUnknown && piece.starts_with(' ')) {
            piece.remove_prefix(1);
        }
    }
    len_ = 0;
    for (const char byte : piece) {
        take(static_cast<uint8_t>(byte));
    }
    return {buffer_.data(), len_};
}

std::string_view StreamDecoder::finish() {
    len_ = 0;
    if (pending_len_ != 0) {  // one part that could have become a character
        write(kReplacementText);
        pending_len_ = 0;
    }
    return {buffer_.data(), len_};
}

void StreamDecoder::take(uint8_t byte) {
    pending_[pending_len_++] = byte;
    while (pending_len_ != 0) {
        const std::string_view pending(reinterpret_cast<const char *>(pending_), pending_len_);
        const Utf8Char c = utf8_decode(pending);
        if (c.incomplete) {
            return;
        }
        write(c.valid ? first(pending, c.len_bytes) : kReplacementText);
        pending_len_ = static_cast<uint8_t>(pending_len_ - c.len_bytes);
        __builtin_memmove(pending_, pending_ + c.len_bytes, pending_len_);
    }
}

void StreamDecoder::write(std::string_view text) {
    std::ranges::copy(text, std::span(buffer_).subspan(len_).begin());
    len_ += text.size();
}

}  // namespace bareflow::llama
