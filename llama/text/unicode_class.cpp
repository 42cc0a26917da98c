#include "llama/text/unicode_class.h"

#include <cstddef>

#include "llama/text/unicode_table.h"

namespace bareflow::llama {

namespace {

// PropList.txt of the Unicode character database, White_Space.
bool is_space(uint32_t c) {
    if (c < 0x1680) {
        return c == ' ' || (c >= 0x09 && c <= 0x0D) || c == 0x85 || c == 0xA0;
    }
    return c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

CharacterClass from_table(uint32_t code_point) {
    using namespace unicode_table;
    size_t low = 0;
    size_t high = sizeof kCheckpoints / sizeof kCheckpoints[0];
    while (high - low > 1) {
        const size_t middle = (low + high) / 2;
        (kCheckpoints[middle].code_point <= code_point ? low : high) = middle;
    }
    uint32_t begin = kCheckpoints[low].code_point;
    size_t offset = kCheckpoints[low].offset;
    while (offset < sizeof kRuns) {
        const uint8_t head = kRuns[offset++];
        uint32_t length = head & 63;
        if (length > kLongestShortRun) {
            const uint32_t size = length - kLongestShortRun;
            length = 0;
            for (uint32_t i = 0; i < size; ++i) {
                length |= uint32_t{kRuns[offset++]} << (8 * i);
            }
        }
        if (code_point - begin < length) {
            return static_cast<CharacterClass>(head >> 6);
        }
        begin += length;
    }
    return CharacterClass::kOther;  // over U+10FFFF
}

}  // namespace

CharacterClass character_class(uint32_t code_point) {
    if (is_space(code_point)) {
        return CharacterClass::kSpace;
    }
    if ((code_point | 0x20) - 'a' < 26) {
        return CharacterClass::kLetter;
    }
    return from_table(code_point);
}

}  // namespace bareflow::llama
