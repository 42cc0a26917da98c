// One table says what each lead byte asks of the bytes behind it, by Unicode's table 3-7. Overlong
// forms, surrogates and values over U+10FFFF are refused by the range of the second byte alone.
#include "kernel_lib/base/utf8.h"

namespace bareflow {

namespace {

struct Lead {
    uint32_t len_bytes;  // 0: cannot begin a character
    uint8_t second_min;  // what the second byte may be: this is where overlong forms, surrogates
    uint8_t second_max;  // and values over U+10FFFF are refused
    uint8_t bits;        // payload of the lead byte
};

constexpr Lead lead_of(uint8_t byte) {
    if (byte < 0xC2) {
        return {0, 0, 0, 0};
    }
    if (byte < 0xE0) {
        return {2, 0x80, 0xBF, static_cast<uint8_t>(byte & 0x1F)};
    }
    if (byte < 0xF0) {
        return {3, static_cast<uint8_t>(byte == 0xE0 ? 0xA0 : 0x80),
                static_cast<uint8_t>(byte == 0xED ? 0x9F : 0xBF), static_cast<uint8_t>(byte & 0xF)};
    }
    if (byte < 0xF5) {
        return {4, static_cast<uint8_t>(byte == 0xF0 ? 0x90 : 0x80),
                static_cast<uint8_t>(byte == 0xF4 ? 0x8F : 0xBF), static_cast<uint8_t>(byte & 7)};
    }
    return {0, 0, 0, 0};
}

}  // namespace

Utf8Char utf8_decode(std::string_view text) {
    const auto first = static_cast<uint8_t>(text[0]);
    if (first < 0x80) {
        return {first, 1, true, false};
    }
    const Lead lead = lead_of(first);
    if (lead.len_bytes == 0) {
        return {};
    }
    uint32_t code_point = lead.bits;
    for (uint32_t i = 1; i < lead.len_bytes; ++i) {
        if (i >= text.size()) {
            return {kReplacementCharacter, i, false, true};
        }
        const auto byte = static_cast<uint8_t>(text[i]);
        const uint8_t lowest = i == 1 ? lead.second_min : 0x80;
        const uint8_t highest = i == 1 ? lead.second_max : 0xBF;
        if (byte < lowest || byte > highest) {
            return {kReplacementCharacter, i, false, false};
        }
        code_point = (code_point << 6) | (byte & 0x3F);
    }
    return {code_point, lead.len_bytes, true, false};
}

bool utf8_valid(std::string_view text) {
    while (!text.empty()) {
        const Utf8Char c = utf8_decode(text);
        if (!c.valid) {
            return false;
        }
        text.remove_prefix(c.len_bytes);
    }
    return true;
}

size_t utf8_encode(uint32_t code_point, std::span<char, 4> out) {
    const auto tail = [code_point](int shift) {
        return static_cast<char>(0x80 | ((code_point >> shift) & 0x3F));
    };
    if (code_point < 0x80) {
        out[0] = static_cast<char>(code_point);
        return 1;
    }
    if (code_point < 0x800) {
        out[0] = static_cast<char>(0xC0 | (code_point >> 6));
        out[1] = tail(0);
        return 2;
    }
    if (code_point >= 0xD800 && code_point <= 0xDFFF) {
        return 0;
    }
    if (code_point < 0x10000) {
        out[0] = static_cast<char>(0xE0 | (code_point >> 12));
        out[1] = tail(6);
        out[2] = tail(0);
        return 3;
    }
    if (code_point > 0x10FFFF) {
        return 0;
    }
    out[0] = static_cast<char>(0xF0 | (code_point >> 18));
    out[1] = tail(12);
    out[2] = tail(6);
    out[3] = tail(0);
    return 4;
}

size_t utf8_incomplete_tail(std::string_view text) {
    const size_t most = text.size() < 3 ? text.size() : 3;
    for (size_t len = 1; len <= most; ++len) {
        const std::string_view end = text.substr(text.size() - len);
        if ((static_cast<uint8_t>(end[0]) & 0xC0) == 0x80) {
            continue;  // a continuation byte: the lead is further back
        }
        const Utf8Char c = utf8_decode(end);
        return c.incomplete && c.len_bytes == len ? len : 0;
    }
    return 0;
}

}  // namespace bareflow
