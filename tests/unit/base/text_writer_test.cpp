// Text for every kind of value, compared with printf where printf has the same format, and cut at
// the end of buffers of every length.
#include "kernel_lib/base/text_writer.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdio>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace bareflow {
namespace {

template <typename... Args>
std::string text(const Args &...args) {
    char buffer[1024];
    TextWriter out(buffer);
    out.put(args...);
    EXPECT_FALSE(out.truncated());
    return std::string(out.view());
}

std::string printed(const char *format, auto... values) {
    char buffer[512];
    std::snprintf(buffer, sizeof buffer, format, values...);
    return buffer;
}

TEST(TextWriter, Integers) {
    EXPECT_EQ(text(0, " ", -1, " ", 42U), "0 -1 42");
    EXPECT_EQ(text(std::numeric_limits<uint64_t>::max()), "18446744073709551615");
    EXPECT_EQ(text(std::numeric_limits<int64_t>::min()), "-9223372036854775808");
    EXPECT_EQ(text(std::numeric_limits<int64_t>::max()), "9223372036854775807");
    EXPECT_EQ(text(static_cast<uint8_t>(200), ' ', static_cast<int8_t>(-128)), "200 -128");
}

TEST(TextWriter, CharactersBoolsAndText) {
    EXPECT_EQ(text('x', true, false, "literal", std::string_view("view")), "xtruefalseliteralview");
}

TEST(TextWriter, HexAgainstPrintf) {
    std::mt19937_64 random(1);
    for (int i = 0; i < 2000; ++i) {
        const uint64_t value = random() >> (random() % 64);
        const int digits = static_cast<int>(random() % 17);
        EXPECT_EQ(text(Hex{value, digits}), printed("%0*llx", digits < 1 ? 1 : digits,
                                                    static_cast<unsigned long long>(value)));
    }
    EXPECT_EQ(text(Hex{0}), "0");
    EXPECT_EQ(text(Hex{5, 99}), "0000000000000005");
}

// printf rounds a tie to even, we round it up: only exact ties may differ. |value| >= 2^-40.
bool is_tie(double value, int decimals) {
    int exponent = 0;
    auto twice =
        static_cast<unsigned __int128>(std::ldexp(std::frexp(std::fabs(value), &exponent), 53));
    for (int i = 0; i < decimals; ++i) {
        twice *= 10;
    }
    twice *= 2;
    const int shift = 53 - exponent;  // value * 10^decimals * 2 = twice / 2^shift
    if (shift <= 0) {
        return false;
    }
    const auto whole = twice >> shift;
    return whole << shift == twice && (whole & 1) != 0;
}

TEST(TextWriter, FixedAgainstPrintf) {
    std::mt19937_64 random(2);
    std::uniform_real_distribution<double> exponent(-12, 15.9);
    for (int i = 0; i < 200'000; ++i) {
        const double sign = (random() & 1) != 0 ? -1 : 1;
        const double value = sign * std::pow(10.0, exponent(random));
        const int decimals = static_cast<int>(random() % 10);
        if (is_tie(value, decimals)) {
            continue;
        }
        std::string expected = printed("%.*f", decimals, value);
        if (expected.find_first_not_of("-0.") == std::string::npos && expected[0] == '-') {
            expected.erase(0, 1);  // we write no negative zero
        }
        ASSERT_EQ(text(Fixed{value, decimals}), expected) << decimals;
    }
}

TEST(TextWriter, FixedEdges) {
    EXPECT_EQ(text(Fixed{0.0, 3}), "0.000");
    EXPECT_EQ(text(Fixed{-0.0, 1}), "0.0");
    EXPECT_EQ(text(Fixed{-0.04, 1}), "0.0");
    EXPECT_EQ(text(Fixed{-0.05, 1}), "-0.1");
    EXPECT_EQ(text(Fixed{0.125, 2}), "0.13");  // a tie goes up
    EXPECT_EQ(text(Fixed{2.5, 0}), "3");
    EXPECT_EQ(text(Fixed{2.675, 2}), "2.67");  // the double lies below 2.675
    EXPECT_EQ(text(Fixed{9.995, 2}), "9.99");
    EXPECT_EQ(text(Fixed{99.96, 1}), "100.0");  // the carry goes into the whole part
    EXPECT_EQ(text(Fixed{0.9999999999, 9}), "1.000000000");
    EXPECT_EQ(text(Fixed{9007199254740991.0, 2}), "9007199254740991.00");
    EXPECT_EQ(text(Fixed{9007199254740992.0, 2}), "inf");
    EXPECT_EQ(text(Fixed{-1e300, 2}), "-inf");
    EXPECT_EQ(text(Fixed{std::numeric_limits<double>::infinity(), 2}), "inf");
    EXPECT_EQ(text(Fixed{-std::numeric_limits<double>::infinity(), 2}), "-inf");
    EXPECT_EQ(text(Fixed{std::nan(""), 2}), "nan");
    EXPECT_EQ(text(Fixed{std::numeric_limits<double>::denorm_min(), 9}), "0.000000000");
    EXPECT_EQ(text(Fixed{1e-9, 9}), "0.000000001");
    EXPECT_EQ(text(Fixed{1.5, 77}), "1.500000000");
    EXPECT_EQ(text(Fixed{1.5, -3}), "2");
}

TEST(TextWriter, Bytes) {
    EXPECT_EQ(text(Bytes{0}), "0 B");
    EXPECT_EQ(text(Bytes{1023}), "1023 B");
    EXPECT_EQ(text(Bytes{1024}), "1.0 KiB");
    EXPECT_EQ(text(Bytes{1536}), "1.5 KiB");
    EXPECT_EQ(text(Bytes{1048575}), "1.0 MiB");  // never "1024.0 KiB"
    EXPECT_EQ(text(Bytes{98671001}), "94.1 MiB");
    EXPECT_EQ(text(Bytes{std::numeric_limits<uint64_t>::max()}), "16.0 EiB");
}

TEST(TextWriter, Padded) {
    EXPECT_EQ(text(Padded{7, 3}), "  7");
    EXPECT_EQ(text(Padded{7, 3, '0'}), "007");
    EXPECT_EQ(text(Padded{12345, 3}), "12345");
    EXPECT_EQ(text(Padded{7, -5}), "7");
}

TEST(TextWriter, JsonString) {
    EXPECT_EQ(text(JsonString{"plain"}), "\"plain\"");
    EXPECT_EQ(text(JsonString{""}), "\"\"");
    EXPECT_EQ(text(JsonString{"a\"b\\c\n\r\t\x01\x1f"}), R"("a\"b\\c\n\r\t\u0001\u001f")");
    EXPECT_EQ(text(JsonString{std::string_view("\0", 1)}), R"("\u0000")");
    EXPECT_EQ(text(JsonString{"gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x98\x80"}),
              "\"gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x98\x80\"");
    EXPECT_EQ(text(JsonString{"\xFF"}), R"("\ufffd")");
    EXPECT_EQ(text(JsonString{"\xC3"}), R"("\ufffd")");
    EXPECT_EQ(text(JsonString{"\xE2\x82x"}), R"("\ufffdx")");
    EXPECT_EQ(text(JsonString{"\xED\xA0\x80"}), R"("\ufffd\ufffd\ufffd")");  // a surrogate
    EXPECT_EQ(text(JsonString{"\x7f/"}), "\"\x7f/\"");
}

// Every length of buffer: never written past its end, the beginning is right, the cut is known.
TEST(TextWriter, CutsAtTheEndOfTheBuffer) {
    const std::string whole = text("abc ", -123, ' ', Hex{0xdead, 8}, ' ', Fixed{-3.25, 2}, ' ',
                                   Bytes{5000}, JsonString{"\n\"x"});
    for (size_t len = 0; len <= whole.size(); ++len) {
        std::vector<char> buffer(len);  // exact: the sanitizer sees one byte too many
        TextWriter out(buffer);
        out.put("abc ", -123, ' ', Hex{0xdead, 8}, ' ', Fixed{-3.25, 2}, ' ', Bytes{5000},
                JsonString{"\n\"x"});
        EXPECT_EQ(out.view(), std::string_view(whole).substr(0, len));
        EXPECT_EQ(out.truncated(), len < whole.size());
        EXPECT_EQ(out.remaining(), 0U);
        out.clear();
        EXPECT_FALSE(out.truncated());
        EXPECT_EQ(out.size(), 0U);
    }
}

}  // namespace
}  // namespace bareflow
