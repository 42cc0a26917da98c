// Every put() goes through append(), which never writes past the buffer and remembers what it cut.
// Numbers are written digit by digit, without the C library's formatter and without allocation.
#include "kernel_lib/base/text_writer.h"

#include <bit>

#include "kernel_lib/base/utf8.h"

namespace bareflow {

namespace {

constexpr size_t kMaxDigits = 20;  // of 2^64 - 1

// Decimal digits of `value`, at the end of `digits`.
std::string_view to_decimal(uint64_t value, std::span<char, kMaxDigits> digits) {
    size_t at = kMaxDigits;
    do {
        digits[--at] = static_cast<char>('0' + value % 10);
        value /= 10;
    } while (value != 0);
    return {digits.data() + at, kMaxDigits - at};
}

constexpr char hex_digit(uint64_t nibble) {
    return "0123456789abcdef"[nibble & 15];
}

constexpr uint64_t power_of_ten(int exponent) {
    uint64_t power = 1;
    for (int i = 0; i < exponent; ++i) {
        power *= 10;
    }
    return power;
}

}  // namespace

void TextWriter::append(std::string_view text) {
    size_t count = text.size();
    if (count > remaining()) {
        count = remaining();
        truncated_ = true;
    }
    if (count != 0) {
        __builtin_memcpy(buffer_.data() + len_, text.data(), count);
        len_ += count;
    }
}

void TextWriter::append(const char *text) {
    append(std::string_view(text));
}

void TextWriter::append(char c) {
    append(std::string_view(&c, 1));
}

void TextWriter::append_unsigned(uint64_t value) {
    char digits[kMaxDigits];
    append(to_decimal(value, digits));
}

void TextWriter::append_signed(int64_t value) {
    if (value < 0) {
        append('-');
    }
    const auto bits = static_cast<uint64_t>(value);
    append_unsigned(value < 0 ? 0 - bits : bits);
}

void TextWriter::append(Hex value) {
    constexpr int kMost = 16;
    const int wanted = value.digits < 1 ? 1 : value.digits > kMost ? kMost : value.digits;
    const int needed = (std::bit_width(value.value) + 3) / 4;
    for (int i = (needed > wanted ? needed : wanted) - 1; i >= 0; --i) {
        append(hex_digit(value.value >> (4 * i)));
    }
}

void TextWriter::append(Fixed value) {
    constexpr uint64_t kMantissaBits = 52;
    constexpr uint64_t kHidden = uint64_t{1} << kMantissaBits;
    const auto bits = std::bit_cast<uint64_t>(value.value);
    const bool negative = (bits >> 63) != 0;
    const int biased = static_cast<int>((bits >> kMantissaBits) & 0x7FF);
    const uint64_t fraction = bits & (kHidden - 1);
    if (biased == 0x7FF && fraction != 0) {
        append("nan");
        return;
    }
    if (biased >= 1023 + 53) {
        append(negative ? "-inf" : "inf");
        return;
    }
    const int decimals = value.decimals < 0 ? 0 : value.decimals > 9 ? 9 : value.decimals;
    const uint64_t scale = power_of_ten(decimals);
    // |value| = mantissa / 2^shift exactly, with shift >= 0; all that follows is in whole numbers,
    // so the rounding is that of the value itself and not of an approximation.
    const uint64_t mantissa = biased == 0 ? fraction : fraction | kHidden;
    const int shift = 1075 - (biased == 0 ? 1 : biased);
    uint64_t whole = shift < 64 ? mantissa >> shift : 0;
    uint64_t parts = 0;
    constexpr int kVanishes = 100;  // 2^53 / 2^100 * 10^9 is below one half
    if (shift > 0 && shift < kVanishes) {
        using Wide = unsigned __int128;
        const Wide rest = mantissa - (shift < 64 ? whole << shift : 0);
        parts = static_cast<uint64_t>((rest * scale + (Wide{1} << (shift - 1))) >> shift);
    }
    if (parts >= scale) {
        parts -= scale;
        ++whole;
    }
    if (negative && (whole != 0 || parts != 0)) {
        append('-');
    }
    append_unsigned(whole);
    if (decimals > 0) {
        append('.');
        append(Padded{parts, decimals, '0'});
    }
}

void TextWriter::append(Bytes value) {
    constexpr std::string_view kUnits[] = {" KiB", " MiB", " GiB", " TiB", " PiB", " EiB"};
    if (value.value < 1024) {
        put(value.value, " B");
        return;
    }
    // Tenths of the unit, rounded; a value that rounds up to 1024.0 goes to the next unit.
    for (int unit = 1;; ++unit) {
        const int shift = 10 * unit;
        using Wide = unsigned __int128;
        const auto tenths =
            static_cast<uint64_t>((Wide{value.value} * 10 + (Wide{1} << (shift - 1))) >> shift);
        if (tenths < 10240 || unit == 6) {
            put(tenths / 10, '.', tenths % 10, kUnits[unit - 1]);
            return;
        }
    }
}

void TextWriter::append(Padded value) {
    char digits[kMaxDigits];
    const std::string_view text = to_decimal(value.value, digits);
    for (int i = static_cast<int>(text.size()); i < value.width; ++i) {
        append(value.fill);
    }
    append(text);
}

void TextWriter::append(JsonString value) {
    append('"');
    std::string_view text = value.value;
    while (!text.empty()) {
        const Utf8Char c = utf8_decode(text);
        if (!c.valid) {
            append("\\ufffd");
        } else if (c.code_point == '"' || c.code_point == '\\') {
            append('\\');
            append(text[0]);
        } else if (c.code_point == '\n') {
            append("\\n");
        } else if (c.code_point == '\r') {
            append("\\r");
        } else if (c.code_point == '\t') {
            append("\\t");
        } else if (c.code_point < 0x20) {
            put("\\u", Hex{c.code_point, 4});
        } else {
            append(text.substr(0, c.len_bytes));
        }
        text.remove_prefix(c.len_bytes);
    }
    append('"');
}

}  // namespace bareflow
