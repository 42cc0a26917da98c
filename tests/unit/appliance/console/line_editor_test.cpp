// Keys go to the editor, and a small terminal shows what it writes. Random keys must never lead to
// the left of the line.
#include "appliance/console/line_editor.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kernel_lib/runtime.h"

namespace bareflow {
namespace {

// Shows what a terminal would show. Understands text, \b and \n.
struct Screen {
    std::vector<std::string> lines{""};
    size_t column = 0;
    void show(std::string_view text) {
        for (const char c : text) {
            if (c == '\n') {
                lines.emplace_back();
                column = 0;
            } else if (c == '\b') {
                ASSERT_GT(column, 0U) << "went left of the line";
                column--;
            } else {
                std::string &line = lines.back();
                line.resize(std::max(line.size(), column + 1), ' ');
                line[column++] = c;
            }
        }
    }
    std::string current() const {
        const std::string &line = lines.back();
        return line.substr(0, line.find_last_not_of(' ') + 1);
    }
};

struct Session {
    LineEditor editor;
    Screen screen;
    std::vector<std::string> entered;
    int interrupts = 0;

    void key(int k) {
        char buffer[4096];
        TextWriter echo(buffer);
        const auto event = editor.feed(k, echo);
        ASSERT_FALSE(echo.truncated());
        screen.show(echo.view());
        if (event == LineEditor::Event::kLine) {
            entered.emplace_back(editor.line());
        }
        interrupts += event == LineEditor::Event::kInterrupt;
    }
    void type(std::string_view text) {
        for (const char c : text) {
            key(static_cast<uint8_t>(c));
        }
    }
};

TEST(LineEditor, EntersALineWithEveryLineEnd) {
    Session s;
    s.type("one\rtwo\nthree\r\nfour\r");
    EXPECT_EQ(s.entered, (std::vector<std::string>{"one", "two", "three", "four"}));
}

TEST(LineEditor, ErasesAndInsertsAnywhere) {
    Session s;
    s.type("helo wrld");
    for (int i = 0; i < 6; i++) {
        s.key(KEY_LEFT);
    }
    s.type("l");
    s.key(KEY_END);
    for (int i = 0; i < 3; i++) {
        s.key(KEY_LEFT);
    }
    s.type("o");
    EXPECT_EQ(s.screen.current(), "hello world");
    s.key(KEY_HOME);
    s.key(KEY_DELETE);
    s.type("J");
    s.key(KEY_END);
    s.type("\x7f\b!");
    EXPECT_EQ(s.screen.current(), "Jello wor!");
    s.type("\r");
    EXPECT_EQ(s.entered.back(), "Jello wor!");
}

TEST(LineEditor, TerminalEscapeSequencesAreKeys) {
    Session s;
    s.type("ac\x1b[Db\x1b[C\x1b[H>\x1b[F<\x1b[3~\x1b[1;5D\x1b[15~\r");
    EXPECT_EQ(s.entered.back(), ">abc<");
}

TEST(LineEditor, CharactersOfSeveralBytesAreOne) {
    Session s;
    s.type("a\xc3\xa9\xe2\x82\xac");
    s.key('\b');
    s.key(KEY_LEFT);
    s.key(KEY_DELETE);
    s.type("b\r");
    EXPECT_EQ(s.entered.back(), "ab");
}

TEST(LineEditor, HistoryGoesBackAndForth) {
    Session s;
    s.type("first\rsecond, longer\r");
    s.key(KEY_UP);
    EXPECT_EQ(s.screen.current(), "second, longer");
    s.key(KEY_UP);
    EXPECT_EQ(s.screen.current(), "first");
    s.key(KEY_UP);
    EXPECT_EQ(s.screen.current(), "first");
    s.key(KEY_DOWN);
    s.key(KEY_DOWN);
    EXPECT_EQ(s.screen.current(), "");
    for (int i = 0; i < 30; i++) {
        s.type(std::to_string(i) + "\r");
    }
    for (int i = 0; i < 30; i++) {
        s.key(KEY_UP);
    }
    EXPECT_EQ(s.screen.current(), "22") << "the oldest of eight";
}

TEST(LineEditor, ControlCAndControlU) {
    Session s;
    s.type("unwanted\x15wanted\x03");
    EXPECT_EQ(s.interrupts, 1);
    s.type("x\r");
    EXPECT_EQ(s.entered.back(), "x");
}

TEST(LineEditor, AFullLineTakesNoMore) {
    Session s;
    s.type(std::string(LineEditor::kMaxLineBytes + 50, 'x'));
    s.type("\r");
    EXPECT_EQ(s.entered.back().size(), LineEditor::kMaxLineBytes);
}

TEST(LineEditor, AnyKeysAreSurvived) {
    uint64_t random = 1;
    Session s;
    for (int i = 0; i < 20000; i++) {
        random = random * 6364136223846793005 + 1442695040888963407;
        const int k = static_cast<int>(random >> 33) % 0x108;
        s.key(k == '\n' && i % 3 ? 'n' : k);
    }
}

}  // namespace
}  // namespace bareflow
