// Sequences of scancodes and the keys that they mean. A third of all sequences of three bytes is
// tried as well: only known keys may come out.
#include "kernel_lib/io/scancode.h"

#include <gtest/gtest.h>

#include <initializer_list>
#include <string>
#include <vector>

#include "kernel_lib/runtime.h"

namespace bareflow {
namespace {

std::vector<Key> decode(std::initializer_list<int> scancodes) {
    ScancodeDecoder decoder;
    std::vector<Key> keys;
    for (const int scancode : scancodes) {
        if (const std::optional<Key> key = decoder.feed(static_cast<uint8_t>(scancode))) {
            keys.push_back(*key);
        }
    }
    return keys;
}
using Keys = std::vector<Key>;

TEST(Scancode, EveryPrintableKeyPlainAndShifted) {
    struct Row {
        uint8_t first;
        const char *plain;
        const char *shifted;
    };
    const Row rows[] = {{0x02, "1234567890-=", "!@#$%^&*()_+"},
                        {0x10, "qwertyuiop[]", "QWERTYUIOP{}"},
                        {0x1E, "asdfghjkl;'`", "ASDFGHJKL:\"~"},
                        {0x2B, "\\zxcvbnm,./", "|ZXCVBNM<>?"}};
    for (const Row &row : rows) {
        for (size_t i = 0; row.plain[i] != '\0'; ++i) {
            const int code = row.first + static_cast<int>(i);
            EXPECT_EQ(decode({code, code | 0x80}), Keys{static_cast<Key>(row.plain[i])});
            EXPECT_EQ(decode({0x2A, code}), Keys{static_cast<Key>(row.shifted[i])});
            EXPECT_EQ(decode({0x36, code}), Keys{static_cast<Key>(row.shifted[i])});
        }
    }
    EXPECT_EQ(decode({0x39}), Keys{' '});
    EXPECT_EQ(decode({0x1C}), Keys{'\n'});
    EXPECT_EQ(decode({0x0E}), Keys{'\b'});
    EXPECT_EQ(decode({0x0F}), Keys{'\t'});
    EXPECT_EQ(decode({0x01}), Keys{27});
}

TEST(Scancode, ShiftEndsWithItsOwnRelease) {
    EXPECT_EQ(decode({0x2A, 0x1E, 0xAA, 0x1E}), (Keys{'A', 'a'}));
    EXPECT_EQ(decode({0x2A, 0x36, 0xAA, 0x1E, 0xB6, 0x1E}), (Keys{'A', 'a'}));
}

TEST(Scancode, CapsLockIsForLettersOnly) {
    EXPECT_EQ(decode({0x3A, 0xBA, 0x1E, 0x02, 0x2A, 0x1E, 0x02, 0xAA, 0x3A, 0xBA, 0x1E}),
              (Keys{'A', '1', 'a', '!', 'a'}));
}

TEST(Scancode, Control) {
    EXPECT_EQ(decode({0x1D, 0x2E, 0x9D, 0x2E}), (Keys{3, 'c'}));
    EXPECT_EQ(decode({0xE0, 0x1D, 0x20, 0xE0, 0x9D, 0x20}), (Keys{4, 'd'}));
    EXPECT_EQ(decode({0x1D, 0x1E, 0x2C}), (Keys{1, 26}));
    EXPECT_EQ(decode({0x1D, 0x02}), Keys{});  // control and a digit is nothing
    // Both held, one released: still control.
    EXPECT_EQ(decode({0x1D, 0xE0, 0x1D, 0x9D, 0x2E}), Keys{3});
}

TEST(Scancode, NavigationKeys) {
    EXPECT_EQ(decode({0xE0, 0x48, 0xE0, 0xC8}), Keys{KEY_UP});
    EXPECT_EQ(decode({0xE0, 0x50}), Keys{KEY_DOWN});
    EXPECT_EQ(decode({0xE0, 0x4B}), Keys{KEY_LEFT});
    EXPECT_EQ(decode({0xE0, 0x4D}), Keys{KEY_RIGHT});
    EXPECT_EQ(decode({0xE0, 0x47}), Keys{KEY_HOME});
    EXPECT_EQ(decode({0xE0, 0x4F}), Keys{KEY_END});
    EXPECT_EQ(decode({0xE0, 0x53}), Keys{KEY_DELETE});
    EXPECT_EQ(decode({0x48}), Keys{KEY_UP});  // the number pad without its lock
}

TEST(Scancode, NumberPadAndExtendedCharacters) {
    EXPECT_EQ(decode({0xE0, 0x1C}), Keys{'\n'});
    EXPECT_EQ(decode({0xE0, 0x35}), Keys{'/'});
    EXPECT_EQ(decode({0x37, 0x4A, 0x4E}), (Keys{'*', '-', '+'}));
    EXPECT_EQ(decode({0xE0, 0x5B}), Keys{});  // a Windows key
}

TEST(Scancode, FakeShiftsAroundNavigationKeysAreNoShift) {
    EXPECT_EQ(decode({0xE0, 0x2A, 0xE0, 0x4B, 0xE0, 0xCB, 0xE0, 0xAA, 0x1E}),
              (Keys{KEY_LEFT, 'a'}));
    // With shift really held the keyboard sends its release first, as a fake.
    EXPECT_EQ(decode({0x2A, 0xE0, 0xAA, 0xE0, 0x4B, 0xE0, 0x2A, 0x1E}), (Keys{KEY_LEFT, 'A'}));
}

TEST(Scancode, PauseIsSwallowedWhole) {
    EXPECT_EQ(decode({0xE1, 0x1D, 0x45, 0xE1, 0x9D, 0xC5, 0x1E}), Keys{'a'});
}

TEST(Scancode, AltMakesNoCharacter) {
    EXPECT_EQ(decode({0x38, 0x1E, 0xB8, 0x1E}), Keys{'a'});
}

TEST(Scancode, HeldKeyRepeats) {
    EXPECT_EQ(decode({0x1E, 0x1E, 0x1E, 0x9E}), (Keys{'a', 'a', 'a'}));
}

// Any bytes at all: only known keys come out.
TEST(Scancode, EveryThreeBytes) {
    for (int bytes = 0; bytes < 0x1000000; bytes += 3) {
        ScancodeDecoder decoder;
        for (const int shift : {16, 8, 0}) {
            const std::optional<Key> key = decoder.feed(static_cast<uint8_t>(bytes >> shift));
            ASSERT_TRUE(!key || (*key > 0 && *key < 0x7F) || (*key >= KEY_UP && *key <= KEY_DELETE))
                << bytes;
        }
    }
}

}  // namespace
}  // namespace bareflow
