// A word is cut by a rule that its first character or two choose (start()). step() then takes one
// more character, or ends the word. What must hold: the words are those of the regular expressions
// in the header, and a step looks at a fixed number of characters, whatever the text is.
#include "llama/text/pre_tokenizer.h"

#include "kernel_lib/base/utf8.h"

namespace bareflow::llama {

namespace {

constexpr uint32_t kLongS = 0x17F;  // the only character besides "S" that folds to "s"

struct Name {
    std::string_view name;
    PreTokenizer kind;
};
constexpr Name kNames[] = {
    {"default", PreTokenizer::kDefault},    {"gpt-2", PreTokenizer::kGpt2},
    {"llama-bpe", PreTokenizer::kLlamaBpe}, {"smollm", PreTokenizer::kSmolLm},
    {"qwen2", PreTokenizer::kQwen2},
};

bool is_ascii_digit(uint32_t c) {
    return c >= '0' && c <= '9';
}

// The symbols that `default` cuts off together with punctuation.
bool is_marked_symbol(uint32_t c) {
    return c < 0x80 && c != 0 &&
           std::string_view("$+<=>^~|").find(static_cast<char>(c)) != std::string_view::npos;
}

}  // namespace

std::optional<PreTokenizer> find_pre_tokenizer(std::string_view name) {
    for (const Name &known : kNames) {
        if (known.name == name) {
            return known.kind;
        }
    }
    return std::nullopt;
}

WordScanner::Character WordScanner::look(size_t position) const {
    if (position >= text_.size()) {
        return {};
    }
    std::string_view rest = text_;
    rest.remove_prefix(position);
    const Utf8Char c = utf8_decode(rest);
    CharacterClass kind = c.valid ? character_class(c.code_point) : CharacterClass::kOther;
    if (kind == CharacterClass::kPunctuation && kind_ != PreTokenizer::kDefault) {
        kind = CharacterClass::kOther;
    }
    if (kind_ == PreTokenizer::kDefault && is_marked_symbol(c.code_point)) {
        kind = CharacterClass::kPunctuation;
    }
    return {kind, c.code_point, c.len_bytes};
}

bool WordScanner::is_other(const Character &c) const {
    return c.is(CharacterClass::kOther);
}

// Whether a space and the character after it go into one word.
bool WordScanner::is_space_before(const Character &c) const {
    return is_other(c) || c.is(CharacterClass::kLetter) ||
           (kind_ == PreTokenizer::kGpt2 && c.is(CharacterClass::kNumber));
}

// Length of 's 't 're 've 'm 'll 'd at `position`; 0: none of them is there.
size_t WordScanner::contraction_len(size_t position) const {
    const auto folded = [this](const Character &c) {
        if (!like_llama()) {
            return c.code_point;
        }
        if (c.code_point == kLongS) {
            return uint32_t{'s'};
        }
        return c.code_point >= 'A' && c.code_point <= 'Z' ? c.code_point + 32 : c.code_point;
    };
    const Character first = look(position + 1);
    const Character second = look(position + 1 + first.len_bytes);
    switch (folded(first)) {
        case 's':
        case 't':
        case 'm':
        case 'd':
            return 1 + first.len_bytes;
        case 'r':
        case 'v':
            return folded(second) == 'e' ? 3 : 0;
        case 'l':
            return folded(second) == 'l' ? 3 : 0;
        default:
            return 0;
    }
}

bool WordScanner::cut(size_t end) {
    end_ = end;
    rule_ = Rule::kStart;
    return true;
}

void WordScanner::take(const Character &c) {
    last_ = at_;
    at_ += c.len_bytes;
    ++count_;
    ascii_digits_ = is_ascii_digit(c.code_point) ? ascii_digits_ + 1 : 0;
    if (c.newline()) {
        newline_end_ = at_;
    }
}

// Chooses the rule by the first one or two characters of the word, and takes them.
bool WordScanner::start() {
    begin_ = end_;
    at_ = begin_;
    count_ = 0;
    ascii_digits_ = 0;
    newline_end_ = 0;
    const Character c = look(begin_);
    const Character next = look(begin_ + c.len_bytes);
    if (c.code_point == '\'' && kind_ != PreTokenizer::kDefault) {
        if (const size_t len = contraction_len(begin_); len != 0) {
            return cut(begin_ + len);
        }
    }
    const Character *leading = &c;
    if (like_llama()
            ? !c.newline() && !c.is(CharacterClass::kNumber) && next.is(CharacterClass::kLetter)
            : c.code_point == ' ' && is_space_before(next)) {
        leading = &next;
    } else if (c.code_point == ' ' && is_other(next)) {
        leading = &next;
    }
    if (leading == &next) {
        at_ += c.len_bytes;
    }
    run_class_ = leading->character_class;
    switch (run_class_) {
        case CharacterClass::kLetter:
            rule_ = Rule::kLetters;
            break;
        case CharacterClass::kNumber:
            rule_ = Rule::kNumbers;
            break;
        case CharacterClass::kSpace:
            rule_ = Rule::kSpaces;
            break;
        case CharacterClass::kPunctuation:
        case CharacterClass::kOther:
            rule_ = Rule::kOthers;
            break;
    }
    take(*leading);
    return false;
}

bool WordScanner::more_numbers(const Character &c) {
    switch (kind_) {
        case PreTokenizer::kSmolLm:
        case PreTokenizer::kQwen2:
            return cut(at_);
        case PreTokenizer::kLlamaBpe:
            if (count_ == 3) {
                return cut(at_);
            }
            break;
        case PreTokenizer::kDefault:
            if (ascii_digits_ ==
                3) {  // digits of other scripts before these three are a word of their own
                return cut(count_ == 3 ? at_ : at_ - 3);
            }
            break;
        case PreTokenizer::kGpt2:
            break;
    }
    if (!c.is(CharacterClass::kNumber)) {
        return cut(at_);
    }
    take(c);
    return false;
}

bool WordScanner::more_spaces(const Character &c) {
    if (c.is(CharacterClass::kSpace)) {
        take(c);
        return false;
    }
    if (like_llama() && newline_end_ != 0) {
        return cut(newline_end_);
    }
    // Where an earlier expression cuts, the text ends for the later ones.
    const bool over = c.len_bytes == 0 || c.is(CharacterClass::kPunctuation) ||
                      (kind_ == PreTokenizer::kSmolLm && c.is(CharacterClass::kNumber));
    return cut(over || count_ == 1 ? at_ : last_);
}

bool WordScanner::step() {
    if (rule_ == Rule::kStart) {
        return start();
    }
    const Character c = look(at_);
    switch (rule_) {
        case Rule::kStart:
            break;
        case Rule::kLetters:
            if (!c.is(CharacterClass::kLetter)) {
                return cut(at_);
            }
            take(c);
            break;
        case Rule::kNumbers:
            return more_numbers(c);
        case Rule::kOthers:
            if (c.is(run_class_)) {
                take(c);
                break;
            }
            if (!like_llama()) {
                return cut(at_);
            }
            rule_ = Rule::kNewlines;
            break;
        case Rule::kNewlines:
            if (c.len_bytes == 0 || !c.newline()) {
                return cut(at_);
            }
            take(c);
            break;
        case Rule::kSpaces:
            return more_spaces(c);
    }
    return false;
}

}  // namespace bareflow::llama
