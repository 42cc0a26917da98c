// The published regular expressions of the pre-tokenisers, run by a matcher that tries everything:
// the slow twin of WordScanner.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "kernel_lib/base/utf8.h"
#include "llama/text/pre_tokenizer.h"

namespace bareflow::llama::testing {

struct SlowCharacter {
    std::string bytes;
    uint32_t code_point;
    CharacterClass kind;
};
using SlowText = std::vector<SlowCharacter>;
using SlowSet = std::function<bool(const SlowCharacter &)>;

// One part of an expression: between `least` and `most` characters of a set, the longest run first.
// With `not_before` it matches no character, and only where the next one is not of the set.
struct SlowAtom {
    SlowSet set;
    size_t least = 1;
    size_t most = 1;
    bool not_before = false;
};
using SlowAlternatives = std::vector<std::vector<SlowAtom>>;

inline SlowText slow_characters(std::string_view text) {
    SlowText out;
    while (!text.empty()) {
        const Utf8Char c = utf8_decode(text);
        out.push_back({std::string(text.substr(0, c.len_bytes)), c.code_point,
                       c.valid ? character_class(c.code_point) : CharacterClass::kOther});
        text.remove_prefix(c.len_bytes);
    }
    return out;
}

inline bool slow_match(const SlowText &text, size_t at, const std::vector<SlowAtom> &atoms,
                       size_t atom, size_t &end) {
    if (atom == atoms.size()) {
        end = at;
        return true;
    }
    const SlowAtom &now = atoms[atom];
    if (now.not_before) {
        return !(at < text.size() && now.set(text[at])) &&
               slow_match(text, at, atoms, atom + 1, end);
    }
    size_t count = 0;
    while (count < now.most && at + count < text.size() && now.set(text[at + count])) {
        ++count;
    }
    for (;; --count) {
        if (count < now.least) {
            return false;
        }
        if (slow_match(text, at + count, atoms, atom + 1, end)) {
            return true;
        }
        if (count == 0) {
            return false;
        }
    }
}

// Cuts each piece: every match becomes a piece, and so does the text between two matches.
inline std::vector<SlowText> slow_split(const std::vector<SlowText> &pieces,
                                        const SlowAlternatives &alternatives) {
    std::vector<SlowText> out;
    for (const SlowText &piece : pieces) {
        SlowText gap;
        const auto flush = [&] {
            if (!gap.empty()) {
                out.push_back(gap);
                gap.clear();
            }
        };
        for (size_t at = 0; at < piece.size();) {
            size_t end = at;
            for (const auto &atoms : alternatives) {
                if (slow_match(piece, at, atoms, 0, end) && end > at) {
                    break;
                }
                end = at;
            }
            if (end == at) {
                gap.push_back(piece[at++]);
                continue;
            }
            flush();
            out.emplace_back(piece.begin() + static_cast<ptrdiff_t>(at),
                             piece.begin() + static_cast<ptrdiff_t>(end));
            at = end;
        }
        flush();
    }
    return out;
}

// What the expressions are made of.
struct SlowSets {
    static constexpr size_t kAny = static_cast<size_t>(-1);

    static SlowSet of(CharacterClass wanted) {
        return [wanted](const SlowCharacter &c) { return c.kind == wanted; };
    }
    static SlowSet literal(char wanted, bool fold) {
        return [=](const SlowCharacter &c) {
            return c.code_point == static_cast<uint32_t>(wanted) ||
                   (fold && (c.code_point == static_cast<uint32_t>(wanted) - 32 ||
                             (wanted == 's' && c.code_point == 0x17F)));
        };
    }

    SlowSet letter = of(CharacterClass::kLetter);
    SlowSet number = of(CharacterClass::kNumber);
    SlowSet space = of(CharacterClass::kSpace);
    SlowSet no_space = [is = space](const SlowCharacter &c) { return !is(c); };
    SlowSet newline = [](const SlowCharacter &c) {
        return c.code_point == '\n' || c.code_point == '\r';
    };
    SlowSet other = [this](const SlowCharacter &c) {
        return !letter(c) && !number(c) && !space(c);
    };
    SlowSet before_letters = [this](const SlowCharacter &c) {
        return !newline(c) && !letter(c) && !number(c);
    };
    SlowSet ascii_digit = [](const SlowCharacter &c) {
        return c.code_point >= '0' && c.code_point <= '9';
    };
    SlowSet marked = [](const SlowCharacter &c) {
        return c.kind == CharacterClass::kPunctuation ||
               (c.bytes.size() == 1 && std::string("$+<=>^~|").find(c.bytes) != std::string::npos);
    };
    SlowAtom maybe_space{literal(' ', false), 0, 1};

    SlowSets() = default;
    SlowSets(const SlowSets &) = delete;  // some sets hold `this`
    SlowSets &operator=(const SlowSets &) = delete;
};

// 's 't 're 've 'm 'll 'd
inline SlowAlternatives slow_contractions(bool fold) {
    SlowAlternatives out;
    for (const std::string tail : {"s", "t", "re", "ve", "m", "ll", "d"}) {
        out.push_back({{SlowSets::literal('\'', false)}});
        for (const char c : tail) {
            out.back().push_back({SlowSets::literal(c, fold)});
        }
    }
    return out;
}

inline SlowAlternatives slow_gpt2(const SlowSets &sets) {
    SlowAlternatives out = slow_contractions(false);
    out.push_back({sets.maybe_space, {sets.letter, 1, SlowSets::kAny}});
    out.push_back({sets.maybe_space, {sets.number, 1, SlowSets::kAny}});
    out.push_back({sets.maybe_space, {sets.other, 1, SlowSets::kAny}});
    out.push_back({{sets.space, 1, SlowSets::kAny}, {sets.no_space, 0, 0, true}});
    out.push_back({{sets.space, 1, SlowSets::kAny}});
    return out;
}

inline SlowAlternatives slow_llama(const SlowSets &sets, size_t most_digits) {
    SlowAlternatives out = slow_contractions(true);
    out.push_back({{sets.before_letters, 0, 1}, {sets.letter, 1, SlowSets::kAny}});
    out.push_back({{sets.number, 1, most_digits}});
    out.push_back(
        {sets.maybe_space, {sets.other, 1, SlowSets::kAny}, {sets.newline, 0, SlowSets::kAny}});
    out.push_back({{sets.space, 0, SlowSets::kAny}, {sets.newline, 1, SlowSets::kAny}});
    out.push_back({{sets.space, 1, SlowSets::kAny}, {sets.no_space, 0, 0, true}});
    out.push_back({{sets.space, 1, SlowSets::kAny}});
    return out;
}

inline std::vector<std::string> words_slowly(PreTokenizer kind, std::string_view text) {
    const SlowSets sets;
    std::vector<SlowText> pieces = {slow_characters(text)};
    switch (kind) {
        case PreTokenizer::kGpt2:
            pieces = slow_split(pieces, slow_gpt2(sets));
            break;
        case PreTokenizer::kSmolLm:
            pieces = slow_split(slow_split(pieces, {{{sets.number}}}), slow_gpt2(sets));
            break;
        case PreTokenizer::kLlamaBpe:
            pieces = slow_split(pieces, slow_llama(sets, 3));
            break;
        case PreTokenizer::kQwen2:
            pieces = slow_split(pieces, slow_llama(sets, 1));
            break;
        case PreTokenizer::kDefault:
            pieces = slow_split(pieces, {{{sets.marked, 1, SlowSets::kAny}}});
            pieces = slow_split(pieces, slow_gpt2(sets));
            pieces = slow_split(pieces, {{{sets.number, 1, SlowSets::kAny}}});
            pieces =
                slow_split(pieces, {{{sets.ascii_digit}, {sets.ascii_digit}, {sets.ascii_digit}}});
            break;
    }
    std::vector<std::string> out;
    for (const SlowText &piece : pieces) {
        out.emplace_back();
        for (const SlowCharacter &c : piece) {
            out.back() += c.bytes;
        }
    }
    return out;
}

}  // namespace bareflow::llama::testing
