// UTF-8 against a slow twin: every code point, every pair and triple of bytes, chosen forms of four
// bytes. The FNV-1a hash is tested here as well.
#include "kernel_lib/base/utf8.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "kernel_lib/base/hash.h"

namespace bareflow {
namespace {

// Slow twin: decodes by the arithmetic alone, then refuses what has a shorter form, is a surrogate
// or is too large.
bool twin_valid(std::string_view text) {
    for (size_t i = 0; i < text.size();) {
        const auto first = static_cast<uint8_t>(text[i]);
        size_t len = 0;
        uint32_t value = 0;
        if ((first & 0x80) == 0) {
            len = 1;
            value = first;
        } else if ((first & 0xE0) == 0xC0) {
            len = 2;
            value = first & 0x1F;
        } else if ((first & 0xF0) == 0xE0) {
            len = 3;
            value = first & 0x0F;
        } else if ((first & 0xF8) == 0xF0) {
            len = 4;
            value = first & 0x07;
        } else {
            return false;
        }
        if (i + len > text.size()) {
            return false;
        }
        for (size_t k = 1; k < len; ++k) {
            const auto next = static_cast<uint8_t>(text[i + k]);
            if ((next & 0xC0) != 0x80) {
                return false;
            }
            value = value << 6 | (next & 0x3F);
        }
        constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
        if (value < kLeast[len] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) {
            return false;
        }
        i += len;
    }
    return true;
}

TEST(Utf8, EveryCodePointThereAndBack) {
    std::array<char, 4> bytes{};
    for (uint32_t c = 0; c <= 0x110010; ++c) {
        const size_t len = utf8_encode(c, bytes);
        const bool encodable = c <= 0x10FFFF && (c < 0xD800 || c > 0xDFFF);
        ASSERT_EQ(len != 0, encodable) << c;
        if (!encodable) {
            continue;
        }
        const Utf8Char back = utf8_decode({bytes.data(), len});
        ASSERT_TRUE(back.valid && back.code_point == c && back.len_bytes == len) << c;
        ASSERT_TRUE(twin_valid({bytes.data(), len}));
        for (size_t cut = 1; cut < len; ++cut) {
            const Utf8Char part = utf8_decode({bytes.data(), cut});
            ASSERT_TRUE(!part.valid && part.incomplete && part.len_bytes == cut) << c;
            ASSERT_EQ(utf8_incomplete_tail(std::string("ab") + std::string(bytes.data(), cut)),
                      cut);
        }
        ASSERT_EQ(utf8_incomplete_tail({bytes.data(), len}), 0U);
    }
}

TEST(Utf8, EveryPairAndTripleOfBytesAgainstTheTwin) {
    for (uint32_t i = 0; i < 0x10000; ++i) {
        const char pair[] = {static_cast<char>(i >> 8), static_cast<char>(i)};
        ASSERT_EQ(utf8_valid({pair, 2}), twin_valid({pair, 2})) << i;
    }
    for (uint32_t i = 0xC00000; i <= 0xFFFFFF; i += 1) {
        const char triple[] = {static_cast<char>(i >> 16), static_cast<char>(i >> 8),
                               static_cast<char>(i)};
        ASSERT_EQ(utf8_valid({triple, 3}), twin_valid({triple, 3})) << i;
    }
}

TEST(Utf8, FourByteForms) {
    for (uint32_t first = 0xF0; first <= 0xFF; ++first) {
        for (uint32_t second = 0; second < 0x100; ++second) {
            const char text[] = {static_cast<char>(first), static_cast<char>(second), '\x80',
                                 '\xBF'};
            ASSERT_EQ(utf8_valid({text, 4}), twin_valid({text, 4})) << first << ' ' << second;
        }
    }
}

TEST(Utf8, DecodingAlwaysAdvancesAndNeverSkipsAGoodStart) {
    const std::string_view text =
        "\xE2\x82"
        "A"
        "\xF0\x9F\x98"
        "B"
        "\xC3\xC3\xBC";
    std::string seen;
    for (std::string_view rest = text; !rest.empty();) {
        const Utf8Char c = utf8_decode(rest);
        seen += c.valid ? (c.code_point < 0x80 ? static_cast<char>(c.code_point) : 'u') : '?';
        rest.remove_prefix(c.len_bytes);
    }
    EXPECT_EQ(seen, "?A?B?u");
}

TEST(Utf8, TailOfWhatCanNeverBecomeACharacterIsNotHeldBack) {
    EXPECT_EQ(utf8_incomplete_tail(""), 0U);
    EXPECT_EQ(utf8_incomplete_tail("\x80"), 0U);
    EXPECT_EQ(utf8_incomplete_tail("\x80\x80\x80"), 0U);
    EXPECT_EQ(utf8_incomplete_tail("\xE2\x28"), 0U);
    EXPECT_EQ(utf8_incomplete_tail("\xFF"), 0U);
    EXPECT_EQ(utf8_incomplete_tail("\xED\xA0"), 0U);
}

// From the algorithm's own page of test vectors.
TEST(Hash, Fnv1a) {
    EXPECT_EQ(fnv1a_64(""), 0xCBF29CE484222325U);
    EXPECT_EQ(fnv1a_64("a"), 0xAF63DC4C8601EC8CU);
    EXPECT_EQ(fnv1a_64("foobar"), 0x85944171F73967E8U);
}

}  // namespace
}  // namespace bareflow
