// Our memcpy family against naive twins: all small sizes, alignments, overlaps.
#include "kernel_lib/memory/string.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace bareflow {
namespace {

constexpr size_t kMost = 200;  // past two rounds of the 64-byte loops
constexpr size_t kAlignments = 17;

std::vector<uint8_t> noise(size_t bytes, uint32_t seed) {
    std::mt19937 random(seed);
    std::vector<uint8_t> out(bytes);
    for (uint8_t &byte : out) {
        byte = static_cast<uint8_t>(random());
    }
    return out;
}

int sign(int value) {
    return (value > 0) - (value < 0);
}

TEST(String, MemcpyEverySizeAndAlignment) {
    const std::vector<uint8_t> from = noise(kMost + 64, 1);
    for (size_t bytes = 0; bytes <= kMost; ++bytes) {
        for (size_t a = 0; a < kAlignments; ++a) {
            for (size_t b = 0; b < kAlignments; ++b) {
                std::vector<uint8_t> to(kMost + 64, 0xEE);
                std::vector<uint8_t> twin = to;
                for (size_t i = 0; i < bytes; ++i) {
                    twin[b + i] = from[a + i];
                }
                ASSERT_EQ(bf_memcpy(to.data() + b, from.data() + a, bytes), to.data() + b);
                ASSERT_EQ(to, twin) << bytes << ' ' << a << ' ' << b;
            }
        }
    }
}

TEST(String, MemmoveEverySizeAndOverlap) {
    for (size_t bytes = 0; bytes <= kMost; ++bytes) {
        for (size_t shift = 0; shift <= 70; ++shift) {
            for (const bool up : {false, true}) {
                const size_t a = 3 + (up ? 0 : shift);
                const size_t b = 3 + (up ? shift : 0);
                std::vector<uint8_t> area = noise(kMost + 100, static_cast<uint32_t>(bytes));
                std::vector<uint8_t> twin = area;
                const std::vector<uint8_t> before = area;
                for (size_t i = 0; i < bytes; ++i) {
                    twin[b + i] = before[a + i];
                }
                ASSERT_EQ(bf_memmove(area.data() + b, area.data() + a, bytes), area.data() + b);
                ASSERT_EQ(area, twin) << bytes << ' ' << shift << ' ' << up;
            }
        }
    }
}

TEST(String, MemsetEverySizeAndAlignment) {
    for (const int value : {0, 0x5A, 0xFF, 0x1234}) {
        for (size_t bytes = 0; bytes <= kMost; ++bytes) {
            for (size_t a = 0; a < kAlignments; ++a) {
                std::vector<uint8_t> to(kMost + 64, 0xEE);
                std::vector<uint8_t> twin = to;
                for (size_t i = 0; i < bytes; ++i) {
                    twin[a + i] = static_cast<uint8_t>(value);
                }
                ASSERT_EQ(bf_memset(to.data() + a, value, bytes), to.data() + a);
                ASSERT_EQ(to, twin) << bytes << ' ' << a;
            }
        }
    }
}

// Buffers of the exact size: the sanitizer sees one byte too many.
TEST(String, NothingBesideTheBuffersIsTouched) {
    for (size_t bytes = 1; bytes <= kMost; ++bytes) {
        const std::vector<uint8_t> from = noise(bytes, 2);
        std::vector<uint8_t> to(bytes);
        bf_memcpy(to.data(), from.data(), bytes);
        EXPECT_EQ(to, from);
        bf_memmove(to.data(), from.data(), bytes);
        EXPECT_EQ(bf_memcmp(to.data(), from.data(), bytes), 0);
        bf_memset(to.data(), 7, bytes);
        EXPECT_EQ(bf_memchr(to.data(), 8, bytes), nullptr);
    }
}

TEST(String, LargeCopies) {
    for (const size_t bytes : {1000U, 4096U, 65'537U, 1'000'003U}) {
        const std::vector<uint8_t> from = noise(bytes + 3, 4);
        std::vector<uint8_t> to(bytes);
        bf_memcpy(to.data(), from.data() + 3, bytes);
        EXPECT_EQ(std::memcmp(to.data(), from.data() + 3, bytes), 0);
        std::vector<uint8_t> area = from;
        bf_memmove(area.data() + 3, area.data(), bytes);
        EXPECT_EQ(std::memcmp(area.data() + 3, from.data(), bytes), 0);
        area = from;
        bf_memmove(area.data(), area.data() + 3, bytes);
        EXPECT_EQ(std::memcmp(area.data(), from.data() + 3, bytes), 0);
    }
}

TEST(String, MemcmpOneDifferenceAtEveryPlace) {
    for (size_t bytes = 0; bytes <= 70; ++bytes) {
        const std::vector<uint8_t> a = noise(bytes + 16, 5);
        for (size_t at = 0; at < bytes; ++at) {
            for (const uint8_t other : {uint8_t{0}, uint8_t{0x7F}, uint8_t{0x80}, uint8_t{0xFF}}) {
                std::vector<uint8_t> b = a;
                b[3 + at] = other;
                const int expected = sign(std::memcmp(a.data() + 3, b.data() + 3, bytes));
                EXPECT_EQ(sign(bf_memcmp(a.data() + 3, b.data() + 3, bytes)), expected);
            }
        }
        EXPECT_EQ(bf_memcmp(a.data(), a.data(), bytes), 0);
    }
}

TEST(String, TextFunctionsAgainstTheLibrary) {
    std::mt19937 random(6);
    for (int i = 0; i < 20'000; ++i) {
        std::string a(random() % 12, ' ');
        std::string b(random() % 12, ' ');
        for (std::string *text : {&a, &b}) {
            for (char &c : *text) {
                c = "ab\xFF"[random() % 3];
            }
        }
        const size_t most = random() % 14;
        ASSERT_EQ(bf_strlen(a.c_str()), a.size());
        ASSERT_EQ(sign(bf_strcmp(a.c_str(), b.c_str())), sign(std::strcmp(a.c_str(), b.c_str())));
        ASSERT_EQ(sign(bf_strncmp(a.c_str(), b.c_str(), most)),
                  sign(std::strncmp(a.c_str(), b.c_str(), most)));
        for (const int c : {int{'a'}, int{'b'}, 0xFF, 0, int{'x'}}) {
            ASSERT_EQ(bf_strchr(a.c_str(), c), std::strchr(a.c_str(), c));
            ASSERT_EQ(bf_memchr(a.data(), c, a.size()), std::memchr(a.data(), c, a.size()));
        }
        char mine[16];
        char theirs[16];
        std::memset(mine, '#', sizeof mine);
        std::memset(theirs, '#', sizeof theirs);
        bf_strncpy(mine, a.c_str(), most);
        std::strncpy(theirs, a.c_str(), most);
        ASSERT_EQ(std::memcmp(mine, theirs, sizeof mine), 0);
    }
}

}  // namespace
}  // namespace bareflow
