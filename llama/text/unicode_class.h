// The class of a character, as pre-tokenisers need it: Unicode's general categories L, N and P, and
// its property White_Space. The Unicode version is in unicode_table.h, which
// tools/unicode/make_tables.py writes. A pure function.
#pragma once

#include <cstdint>

namespace bareflow::llama {

enum class CharacterClass : uint8_t {
    kOther = 0,  // marks, symbols, controls, unassigned
    kLetter = 1,
    kNumber = 2,
    kPunctuation = 3,
    kSpace = 4,  // wins over the category: none of them is a letter, number or punctuation
};

// Any value; over U+10FFFF: kOther.
[[nodiscard]] CharacterClass character_class(uint32_t code_point);

}  // namespace bareflow::llama
