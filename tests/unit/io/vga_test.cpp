// The text screen in ordinary memory: characters, wrapping, scrolling and the status line, compared
// with a plain screen that rewrites everything.
#include "kernel_lib/io/vga.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

namespace bareflow {
namespace {

struct CrtcIo {
    struct State {
        std::array<int, 256> registers{};
        int index = -1;
        int writes = 0;
    };
    State *state;
    void out8(uint16_t port, uint8_t value) const {
        ++state->writes;
        if (port == vga_text::kCrtcIndex) {
            state->index = value;
        } else {
            ASSERT_EQ(port, vga_text::kCrtcData);
            ASSERT_GE(state->index, 0);
            state->registers[static_cast<size_t>(state->index)] = value;
        }
    }
};

class VgaTest : public testing::Test {
  protected:
    std::string row(size_t index) {
        std::string text;
        for (size_t i = 0; i < 80; ++i) {
            text.push_back(static_cast<char>(cells[index * 80 + i] & 0xFF));
        }
        return text.substr(0, text.find_last_not_of(' ') + 1);
    }
    int cursor() {
        return crtc.registers[vga_text::kCursorHigh] << 8 | crtc.registers[vga_text::kCursorLow];
    }
    uint8_t attribute(size_t index) { return static_cast<uint8_t>(cells[index] >> 8); }

    std::vector<uint16_t> cells = std::vector<uint16_t>(80 * 25, 0xDEAD);
    CrtcIo::State crtc;
    VgaText<CrtcIo> vga{CrtcIo{&crtc}};
};

TEST_F(VgaTest, NothingBeforeInit) {
    vga.write("early");
    vga.set_status("early");
    EXPECT_EQ(crtc.writes, 0);
}

TEST_F(VgaTest, InitBlanksEverything) {
    vga.init(cells);
    for (size_t i = 0; i < 24; ++i) {
        EXPECT_EQ(row(i), "");
    }
    EXPECT_EQ(cells[0], 0x0720);
    EXPECT_EQ(cells[24 * 80], 0x1F20);
    EXPECT_EQ(cursor(), 0);
}

TEST_F(VgaTest, TextAndControlCharacters) {
    vga.init(cells);
    vga.write(
        "one\ntwo\rT\n\tx\n\x01\x1b"
        "a\xC3\xBC\x7f\n");
    EXPECT_EQ(row(0), "one");
    EXPECT_EQ(row(1), "Two");
    EXPECT_EQ(row(2), "        x");
    EXPECT_EQ(row(3), "a???");
    EXPECT_EQ(cursor(), 4 * 80);
    vga.write("abc\b\bX");
    EXPECT_EQ(row(4), "aXc");
    EXPECT_EQ(cursor(), 4 * 80 + 2);
}

TEST_F(VgaTest, LongLinesWrapAndAFullLineIsNotFollowedByAnEmptyOne) {
    vga.init(cells);
    vga.write(std::string(80, 'a'));
    EXPECT_EQ(cursor(), 79);
    vga.write("\n");
    vga.write(std::string(81, 'b') + "\n");
    EXPECT_EQ(row(0), std::string(80, 'a'));
    EXPECT_EQ(row(1), std::string(80, 'b'));
    EXPECT_EQ(row(2), "b");
    EXPECT_EQ(cursor(), 3 * 80);
}

TEST_F(VgaTest, BackspaceGoesBackOverAWrap) {
    vga.init(cells);
    vga.write(std::string(80, 'a') + "b\b\b");
    vga.write("X");
    EXPECT_EQ(row(0), std::string(79, 'a') + "X");
    vga.init(cells);
    vga.write("\b\b");
    EXPECT_EQ(cursor(), 0);
}

TEST_F(VgaTest, ScrollsAllButTheStatusLine) {
    vga.init(cells);
    vga.set_status("status stays");
    for (int i = 0; i < 100; ++i) {
        vga.write("line " + std::to_string(i) + "\n");
    }
    for (size_t i = 0; i < 23; ++i) {
        EXPECT_EQ(row(i), "line " + std::to_string(77 + i));
    }
    EXPECT_EQ(row(23), "");
    EXPECT_EQ(row(24), "status stays");
    EXPECT_EQ(cursor(), 23 * 80);
}

TEST_F(VgaTest, StatusIsCutAndReplaced) {
    vga.init(cells);
    vga.set_status(std::string(200, 's'));
    EXPECT_EQ(row(24), std::string(80, 's'));
    vga.set_status("a\nb\xFF");
    EXPECT_EQ(row(24), "a b?");
    EXPECT_EQ(attribute(24 * 80), 0x1F);
    EXPECT_EQ(row(23), "");
}

TEST_F(VgaTest, ColoursAreForTheTextThatFollows) {
    vga.init(cells);
    vga.write("a");
    vga.set_color(vga_text::kYellow, vga_text::kBlue);
    vga.write("b");
    vga.set_color(0xFF, 0xFF);  // out of range: masked
    vga.write("c");
    EXPECT_EQ(attribute(0), 0x07);
    EXPECT_EQ(attribute(1), 0x1E);
    EXPECT_EQ(attribute(2), 0x7F);
}

// The copy in memory must never drift from the screen: compare with a plain one that rewrites all.
TEST_F(VgaTest, AgainstAPlainScreen) {
    struct Plain {
        std::vector<std::string> rows{24, std::string(80, ' ')};
        size_t row = 0, column = 0;
        void new_line() {
            column = 0;
            if (++row == 24) {
                rows.erase(rows.begin());
                rows.emplace_back(80, ' ');
                row = 23;
            }
        }
        void put(char c) {
            if (c == '\n') {
                new_line();
                return;
            }
            if (column == 80) {
                new_line();
            }
            rows[row][column++] = c;
        }
    } plain;
    vga.init(cells);
    uint32_t random = 1;
    for (int i = 0; i < 20'000; ++i) {
        random = random * 1664525 + 1013904223;
        const char c = random >> 26 == 0 ? '\n' : static_cast<char>('a' + (random >> 16) % 26);
        plain.put(c);
        vga.write({&c, 1});
    }
    for (size_t r = 0; r < 24; ++r) {
        std::string shown;
        for (size_t i = 0; i < 80; ++i) {
            shown.push_back(static_cast<char>(cells[r * 80 + i]));
        }
        EXPECT_EQ(shown, plain.rows[r]);
    }
}

TEST(VgaDeathTest, WrongSizeOfMemory) {
    std::vector<uint16_t> cells(100);
    VgaScreen screen;
    EXPECT_DEATH(screen.init(cells), "80x25");
}

}  // namespace
}  // namespace bareflow
