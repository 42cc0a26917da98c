// The published regular expressions of the pre-tokenisers, run by a matcher that tries everything:
// the twin of WordScanner.
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

// Between `least` and `most` characters of a set, as many as possible; or, with `not_before`, none
// and no character of the set next.
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

// Every match is a piece, and so is what lies between two.
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

inline std::vector<std::string> words_slowly(PreTokenizer kind, std::string_view text) {
    constexpr size_t kAny = static_cast<size_t>(-1);
    const auto of = [](CharacterClass wanted) {
        return SlowSet([wanted](const SlowCharacter &c) { return c.kind == wanted; });
    };
    const SlowSet letter = of(CharacterClass::kLetter);
    const SlowSet number = of(CharacterClass::kNumber);
    const SlowSet space = of(CharacterClass::kSpace);
    const SlowSet other = [=](const SlowCharacter &c) {
        return !letter(c) && !number(c) && !space(c);
    };
    const SlowSet no_space = [=](const SlowCharacter &c) { return !space(c); };
    const SlowSet newline = [](const SlowCharacter &c) {
        return c.code_point == '\n' || c.code_point == '\r';
    };
    const SlowSet before_letters = [=](const SlowCharacter &c) {
        return !newline(c) && !letter(c) && !number(c);
    };
    const SlowSet ascii_digit = [](const SlowCharacter &c) {
        return c.code_point >= '0' && c.code_point <= '9';
    };
    const SlowSet marked = [](const SlowCharacter &c) {
        return c.kind == CharacterClass::kPunctuation ||
               (c.bytes.size() == 1 && std::string("$+<=>^~|").find(c.bytes) != std::string::npos);
    };
    const auto literal = [](char wanted, bool fold) {
        return SlowSet([=](const SlowCharacter &c) {
            return c.code_point == static_cast<uint32_t>(wanted) ||
                   (fold && (c.code_point == static_cast<uint32_t>(wanted) - 32 ||
                             (wanted == 's' && c.code_point == 0x17F)));
        });
    };
    const SlowAtom maybe_space{literal(' ', false), 0, 1};
    const auto contractions = [&](bool fold) {
        SlowAlternatives out;
        for (const std::string tail : {"s", "t", "re", "ve", "m", "ll", "d"}) {
            out.push_back({{literal('\'', false)}});
            for (const char c : tail) {
                out.back().push_back({literal(c, fold)});
            }
        }
        return out;
    };
    SlowAlternatives gpt2 = contractions(false);
    gpt2.push_back({maybe_space, {letter, 1, kAny}});
    gpt2.push_back({maybe_space, {number, 1, kAny}});
    gpt2.push_back({maybe_space, {other, 1, kAny}});
    gpt2.push_back({{space, 1, kAny}, {no_space, 0, 0, true}});
    gpt2.push_back({{space, 1, kAny}});

    std::vector<SlowText> pieces = {slow_characters(text)};
    switch (kind) {
        case PreTokenizer::kGpt2:
            pieces = slow_split(pieces, gpt2);
            break;
        case PreTokenizer::kSmolLm:
            pieces = slow_split(slow_split(pieces, {{{number}}}), gpt2);
            break;
        case PreTokenizer::kLlamaBpe:
        case PreTokenizer::kQwen2: {
            SlowAlternatives all = contractions(true);
            all.push_back({{before_letters, 0, 1}, {letter, 1, kAny}});
            all.push_back({{number, 1, size_t{kind == PreTokenizer::kQwen2 ? 1u : 3u}}});
            all.push_back({maybe_space, {other, 1, kAny}, {newline, 0, kAny}});
            all.push_back({{space, 0, kAny}, {newline, 1, kAny}});
            all.push_back({{space, 1, kAny}, {no_space, 0, 0, true}});
            all.push_back({{space, 1, kAny}});
            pieces = slow_split(pieces, all);
            break;
        }
        case PreTokenizer::kDefault:
            pieces = slow_split(pieces, {{{marked, 1, kAny}}});
            pieces = slow_split(pieces, gpt2);
            pieces = slow_split(pieces, {{{number, 1, kAny}}});
            pieces = slow_split(pieces, {{{ascii_digit}, {ascii_digit}, {ascii_digit}}});
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
