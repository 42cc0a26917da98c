#include <algorithm>
#include <bit>
#include <limits>

#include "llama/text/tokenizer.h"

namespace bareflow::llama {

namespace {

constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();
constexpr Error kNoRoom{ErrorCode::kTooLarge, "the text has more tokens than there is room for"};

// string_view::substr() without its exception.
std::string_view from(std::string_view text, size_t position) {
    text.remove_prefix(position);
    return text;
}
std::string_view first(std::string_view text, size_t len_bytes) {
    return {text.data(), len_bytes};
}

}  // namespace

Encoder::Encoder(const Tokenizer &tokenizer, std::string_view text, std::span<Token> out,
                 SpecialTokens special)
    : tokenizer_(tokenizer), text_(text), out_(out), special_tokens_(special) {}

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
        case Stage::kFragment:
            find_fragment();
            return {};
        case Stage::kScan:
            return tokenizer_.byte_level_ ? scan_words() : scan_characters();
        case Stage::kCount:
            return count_bytes();
        case Stage::kFill:
            tokenizer_.byte_level_ ? fill_bytes() : fill_characters();
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
        case Stage::kSpecial:
            return put_special();
        case Stage::kEnd:
            stage_ = Stage::kDone;
            return tokenizer_.add_eos_ ? put(tokenizer_.eos()) : Status{};
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
        BF_TRY(put(tokenizer_.bos()));
    }
    stage_ = Stage::kFragment;
    return {};
}

// ---------------------------------------------------------------- special tokens

// Looks at one more place for the next special token.
void Encoder::find_fragment() {
    const bool control = special_tokens_ == SpecialTokens::kParsed;
    const Vocabulary &vocabulary = tokenizer_.vocabulary_;
    if (!vocabulary.has_specials(control)) {
        fragment_end_ = text_.size();
    }
    special_ = vocabulary.special_at(from(text_, fragment_end_), control);
    if (special_ == kNoToken && fragment_end_ < text_.size()) {
        ++fragment_end_;
        return;
    }
    if (position_ == fragment_end_) {
        stage_ = special_ == kNoToken ? Stage::kEnd : Stage::kSpecial;
        return;
    }
    prefix_pending_ = tokenizer_.add_space_prefix_;
    if (tokenizer_.byte_level_) {
        fragment_begin_ = position_;
        words_ = WordScanner(tokenizer_.bpe_.pre_tokenizer(),
                             first(from(text_, position_), fragment_end_ - position_));
    }
    stage_ = Stage::kScan;
}

Status Encoder::put_special() {
    BF_TRY(put(special_));
    position_ += tokenizer_.text(special_).size();
    fragment_end_ = position_;
    last_unknown_ = false;
    stage_ = Stage::kFragment;
    return {};
}

// ---------------------------------------------------------------- stretches

// Takes one more character into the stretch, or ends it.
Status Encoder::scan_characters() {
    const SpmVocabulary &spm = tokenizer_.spm_;
    const bool at_end = !prefix_pending_ && position_ == fragment_end_;
    SpmCharacter c{};
    if (prefix_pending_) {
        c = SpmCharacter::space_before_text();
    } else if (!at_end) {
        c = SpmCharacter::next(first(from(text_, position_), fragment_end_ - position_));
    }
    const bool cut = symbol_count_ != 0 && !at_end && !spm.may_join(last_character_, c.code_point);
    if (at_end || cut) {
        return begin_fill();
    }
    // No token holds more characters than the longest; so much cannot fit, and is not tried.
    // (A run of unknown characters is one token, however long.)
    if (spm.has_bytes() &&
        symbol_count_ >= (out_.size() - count_) * uint64_t{spm.longest_characters()}) {
        return kNoRoom;
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

// Looks at one more character for the end of the word.
Status Encoder::scan_words() {
    if (!words_.step()) {
        return {};
    }
    stretch_begin_ = fragment_begin_ + words_.begin();
    position_ = stretch_begin_;
    stage_ = Stage::kCount;
    if (!tokenizer_.bpe_.takes_whole_words()) {
        return {};
    }
    const size_t word_len = words_.end() - words_.begin();
    const Token token = tokenizer_.bpe_.find_word(tokenizer_.vocabulary_,
                                                  first(from(text_, stretch_begin_), word_len));
    if (token == kNoToken) {
        return {};
    }
    position_ += word_len;
    end_stretch();
    return put(token);
}

// Counts one more byte of the word, if it has a token.
Status Encoder::count_bytes() {
    if (position_ != fragment_begin_ + words_.end()) {
        const auto byte = static_cast<uint8_t>(text_[position_++]);
        if (tokenizer_.byte_token(byte) != kNoToken) {
            ++symbol_count_;
            if (symbol_count_ >
                (out_.size() - count_) * uint64_t{tokenizer_.bpe_.longest_characters()}) {
                return kNoRoom;
            }
        }
        return {};
    }
    if (symbol_count_ == 0) {
        end_stretch();
        return {};
    }
    return begin_fill();
}

Status Encoder::begin_fill() {
    leaves_ = std::bit_ceil(symbol_count_);
    if (symbols_.size() < symbol_count_ || escaped_.size() < escaped_len_) {
        // What the last stretch had goes first; room for a few words more saves asking again.
        symbols_ = {};
        escaped_ = {};
        best_ = {};
        const uint32_t room = std::max(symbol_count_, 64u);
        auto symbols = Buffer<Symbol>::create(room);
        auto escaped = Buffer<char>::create(escaped_len_ == 0 ? 0 : std::max(escaped_len_, 256u));
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
void Encoder::fill_characters() {
    const uint32_t begin = escaped_len_;
    std::string_view source;
    if (cursor_ == 0 && stretch_prefix_) {
        source = SpmCharacter::kSpace;
    } else {
        const std::string_view rest = first(from(text_, position_), fragment_end_ - position_);
        const SpmCharacter c = SpmCharacter::next(rest);
        source = rest[0] == ' ' ? SpmCharacter::kSpace : first(rest, c.len_bytes);
        position_ += c.len_bytes;
    }
    std::ranges::copy(source, escaped_.span().subspan(escaped_len_).begin());
    escaped_len_ += static_cast<uint32_t>(source.size());
    add_symbol({.begin = begin, .end = escaped_len_});
}

// Writes down one byte of the word as a symbol.
void Encoder::fill_bytes() {
    const auto byte = static_cast<uint8_t>(text_[position_++]);
    if (const Token token = tokenizer_.byte_token(byte); token != kNoToken) {
        add_symbol({.token = token});
    }
}

void Encoder::add_symbol(const Symbol &symbol) {
    symbols_[cursor_] = symbol;
    symbols_[cursor_].previous = cursor_ == 0 ? kNone : cursor_ - 1;
    symbols_[cursor_].next = cursor_ + 1 == symbol_count_ ? kNone : cursor_ + 1;
    if (++cursor_ == symbol_count_) {
        cursor_ = 0;
        stage_ = Stage::kPair;
    }
}

// What was not filled in (bytes without a token at the end of a word) is passed by.
void Encoder::end_stretch() {
    symbol_count_ = 0;
    escaped_len_ = 0;
    if (tokenizer_.byte_level_) {
        position_ = fragment_begin_ + words_.end();
    }
    stage_ = Stage::kScan;
    if (position_ == fragment_end_) {
        stage_ = special_ == kNoToken ? Stage::kEnd : Stage::kSpecial;
    }
}

std::string_view Encoder::escaped(const Symbol &symbol) const {
    return {escaped_.data() + symbol.begin, symbol.end - symbol.begin};
}

// ---------------------------------------------------------------- merges

void Encoder::look_at_pair(uint32_t left) {
    Symbol &symbol = symbols_[left];
    const Token before = symbol.joined;
    symbol.joined = kNoToken;
    if (symbol.next != kNone) {
        const Symbol &right = symbols_[symbol.next];
        if (tokenizer_.byte_level_) {
            const uint32_t rank = tokenizer_.bpe_.rank(symbol.token, right.token);
            if (rank != BpeVocabulary::kNoMerge) {
                symbol.joined = tokenizer_.bpe_.joined(rank);
                symbol.score = -static_cast<float>(rank);  // exact: below 2^24
            }
        } else if (right.end - symbol.begin <= tokenizer_.vocabulary_.longest_bytes()) {
            symbol.joined =
                tokenizer_.find({escaped_.data() + symbol.begin, right.end - symbol.begin});
            if (symbol.joined != kNoToken) {
                symbol.score = tokenizer_.score(symbol.joined);
            }
        }
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
    symbol.token = symbol.joined;
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

// ---------------------------------------------------------------- tokens

// Writes the tokens of one symbol.
Status Encoder::emit() {
    const Symbol &symbol = symbols_[cursor_];
    if (tokenizer_.byte_level_) {
        BF_TRY(put(symbol.token));
    } else {
        BF_TRY(emit_characters(symbol));
    }
    cursor_ = symbol.next;
    if (cursor_ == kNone) {
        end_stretch();
    }
    return {};
}

Status Encoder::emit_characters(const Symbol &symbol) {
    const Token token = symbol.token != kNoToken ? symbol.token : tokenizer_.find(escaped(symbol));
    if (token != kNoToken) {
        BF_TRY(put(token));
    } else if (tokenizer_.spm_.has_bytes()) {
        for (const char byte : escaped(symbol)) {
            BF_TRY(put(tokenizer_.byte_token(static_cast<uint8_t>(byte))));
        }
    } else if (!last_unknown_) {
        BF_TRY(put(tokenizer_.unknown()));
    }
    last_unknown_ = token == kNoToken;
    return {};
}

Status Encoder::put(Token token) {
    if (count_ == out_.size()) {
        return kNoRoom;
    }
    out_[count_++] = token;
    return {};
}

}  // namespace bareflow::llama
