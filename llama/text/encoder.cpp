// What must hold: the tokens are those that the plain algorithms of sentencepiece.h and bpe.h give,
// whatever the budgets of advance(). step() is one unit of the budget: it looks at one place,
// character, byte or pair, or does one merge, or writes the tokens of one symbol. So no step
// depends on the length of the text by more than the O(log n) of the tree in SymbolChain.
#include "llama/text/encoder.h"

#include <algorithm>

#include "llama/text/sentencepiece.h"
#include "llama/text/vocabulary.h"

namespace bareflow::llama {

namespace {

constexpr Error kNoRoom{ErrorCode::kTooLarge, "the text has more tokens than there is room for"};

// string_view::substr() without the exception.
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
            look_at_next_pair();
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

// Looks for a special token at one more place.
void Encoder::find_fragment() {
    const bool control = special_tokens_ == SpecialTokens::kParsed;
    const Vocabulary &vocabulary = tokenizer_.vocabulary_;
    if (!vocabulary.has_specials(control)) {
        fragment_.end = text_.size();
    }
    fragment_.special = vocabulary.special_at(from(text_, fragment_.end), control);
    if (fragment_.special == kNoToken && fragment_.end < text_.size()) {
        ++fragment_.end;
        return;
    }
    if (position_ == fragment_.end) {
        stage_ = fragment_.special == kNoToken ? Stage::kEnd : Stage::kSpecial;
        return;
    }
    fragment_.prefix_pending = tokenizer_.add_space_prefix_;
    if (tokenizer_.byte_level_) {
        fragment_.begin = position_;
        words_ = WordScanner(tokenizer_.bpe_.pre_tokenizer(),
                             first(from(text_, position_), fragment_.end - position_));
    }
    stage_ = Stage::kScan;
}

Status Encoder::put_special() {
    BF_TRY(put(fragment_.special));
    position_ += tokenizer_.text(fragment_.special).size();
    fragment_.end = position_;
    last_unknown_ = false;
    stage_ = Stage::kFragment;
    return {};
}

// ---------------------------------------------------------------- stretches

// Takes one more character into the stretch, or ends the stretch.
Status Encoder::scan_characters() {
    const SpmVocabulary &spm = tokenizer_.spm_;
    const bool at_end = !fragment_.prefix_pending && position_ == fragment_.end;
    SpmCharacter c{};
    if (fragment_.prefix_pending) {
        c = SpmCharacter::space_before_text();
    } else if (!at_end) {
        c = SpmCharacter::next(first(from(text_, position_), fragment_.end - position_));
    }
    const bool cut =
        stretch_.symbols != 0 && !at_end && !spm.may_join(stretch_.last_character, c.code_point);
    if (at_end || cut) {
        return begin_fill();
    }
    // Each token stands for at most longest_characters(), so a stretch of more cannot fit into
    // `out`. Without byte tokens it can: a run of unknown characters of any length is one token.
    if (spm.has_bytes() &&
        stretch_.symbols >= (out_.size() - count_) * uint64_t{spm.longest_characters()}) {
        return kNoRoom;
    }
    if (stretch_.symbols == 0) {
        stretch_.begin = position_;
        stretch_.prefix = fragment_.prefix_pending;
    }
    fragment_.prefix_pending = false;
    position_ += c.len_bytes;
    stretch_.escaped_bytes += c.escaped_len_bytes;
    stretch_.last_character = c.code_point;
    ++stretch_.symbols;
    return {};
}

// Looks at one more character for the end of the word.
Status Encoder::scan_words() {
    if (!words_.step()) {
        return {};
    }
    stretch_.begin = fragment_.begin + words_.begin();
    position_ = stretch_.begin;
    stage_ = Stage::kCount;
    if (!tokenizer_.bpe_.takes_whole_words()) {
        return {};
    }
    const size_t word_len = words_.end() - words_.begin();
    const Token token = tokenizer_.bpe_.find_word(tokenizer_.vocabulary_,
                                                  first(from(text_, stretch_.begin), word_len));
    if (token == kNoToken) {
        return {};
    }
    position_ += word_len;
    end_stretch();
    return put(token);
}

// Counts one more byte of the word, if it has a token.
Status Encoder::count_bytes() {
    if (position_ != fragment_.begin + words_.end()) {
        const auto byte = static_cast<uint8_t>(text_[position_++]);
        if (tokenizer_.byte_token(byte) != kNoToken) {
            ++stretch_.symbols;
            if (stretch_.symbols >
                (out_.size() - count_) * uint64_t{tokenizer_.bpe_.longest_characters()}) {
                return kNoRoom;
            }
        }
        return {};
    }
    if (stretch_.symbols == 0) {
        end_stretch();
        return {};
    }
    return begin_fill();
}

Status Encoder::begin_fill() {
    BF_TRY(chain_.start(stretch_.symbols, stretch_.escaped_bytes));
    position_ = stretch_.begin;
    stage_ = Stage::kFill;
    return {};
}

// Makes the next character of the stretch a symbol.
void Encoder::fill_characters() {
    if (stretch_.prefix) {
        stretch_.prefix = false;
        chain_.add(SpmCharacter::kSpace);
    } else {
        const std::string_view rest = first(from(text_, position_), fragment_.end - position_);
        const SpmCharacter c = SpmCharacter::next(rest);
        chain_.add(rest[0] == ' ' ? SpmCharacter::kSpace : first(rest, c.len_bytes));
        position_ += c.len_bytes;
    }
    if (chain_.complete()) {
        cursor_ = 0;
        stage_ = Stage::kPair;
    }
}

// Makes the next byte of the word a symbol, if it has a token.
void Encoder::fill_bytes() {
    const auto byte = static_cast<uint8_t>(text_[position_++]);
    if (const Token token = tokenizer_.byte_token(byte); token != kNoToken) {
        chain_.add(token);
    }
    if (chain_.complete()) {
        cursor_ = 0;
        stage_ = Stage::kPair;
    }
}

// Bytes without a token at the end of a word were not read by fill_bytes(): they are left out.
void Encoder::end_stretch() {
    stretch_ = {};
    if (tokenizer_.byte_level_) {
        position_ = fragment_.begin + words_.end();
    }
    stage_ = Stage::kScan;
    if (position_ == fragment_.end) {
        stage_ = fragment_.special == kNoToken ? Stage::kEnd : Stage::kSpecial;
    }
}

// ---------------------------------------------------------------- merges

void Encoder::look_at_next_pair() {
    look_at_pair(cursor_);
    if (++cursor_ == chain_.size()) {
        stage_ = Stage::kMerge;
    }
}

void Encoder::look_at_pair(uint32_t left) {
    chain_.set_join(left, join_of(left));
}

SymbolChain::Join Encoder::join_of(uint32_t left) const {
    const SymbolChain::Symbol &symbol = chain_[left];
    if (symbol.next == SymbolChain::kNone) {
        return {};
    }
    if (tokenizer_.byte_level_) {
        const uint32_t rank = tokenizer_.bpe_.rank(symbol.token, chain_[symbol.next].token);
        if (rank == BpeVocabulary::kNoMerge) {
            return {};
        }
        return {tokenizer_.bpe_.joined(rank), -static_cast<float>(rank)};  // exact: below 2^24
    }
    const std::string_view text = chain_.text_of_pair(symbol);
    if (text.size() > tokenizer_.vocabulary_.longest_bytes()) {
        return {};
    }
    const Token joined = tokenizer_.find(text);
    return {joined, joined == kNoToken ? 0 : tokenizer_.score(joined)};
}

void Encoder::merge() {
    const uint32_t left = chain_.best_join();
    if (left == SymbolChain::kNone) {
        cursor_ = 0;
        stage_ = Stage::kEmit;
        return;
    }
    chain_.join(left);
    look_at_pair(left);
    if (chain_[left].previous != SymbolChain::kNone) {
        look_at_pair(chain_[left].previous);
    }
}

// ---------------------------------------------------------------- tokens

// Writes the tokens of one symbol.
Status Encoder::emit() {
    const SymbolChain::Symbol &symbol = chain_[cursor_];
    if (tokenizer_.byte_level_) {
        BF_TRY(put(symbol.token));
    } else {
        BF_TRY(emit_characters(symbol));
    }
    cursor_ = symbol.next;
    if (cursor_ == SymbolChain::kNone) {
        end_stretch();
    }
    return {};
}

Status Encoder::emit_characters(const SymbolChain::Symbol &symbol) {
    const std::string_view text = chain_.text(symbol);
    const Token token = symbol.token != kNoToken ? symbol.token : tokenizer_.find(text);
    if (token != kNoToken) {
        BF_TRY(put(token));
    } else if (tokenizer_.spm_.has_bytes()) {
        for (const char byte : text) {
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
