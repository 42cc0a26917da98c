#include "appliance/console/console.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace bareflow {
namespace {

struct Host : ConsoleHost {
    void write(std::string_view text) override { shown += text; }
    Status begin_prompt(std::string_view text) override {
        prompts.emplace_back(text);
        return answer;
    }
    void cancel_prompt() override { cancels++; }
    void write_stats(TextWriter &out) override { out.put("42 requests\n"); }
    void reboot() override { reboots++; }

    std::string shown;
    std::vector<std::string> prompts;
    Status answer;
    int cancels = 0;
    int reboots = 0;
};

struct ConsoleTest : ::testing::Test {
    Host host;
    Console console{host};
    void type(std::string_view text) {
        for (const char c : text) {
            console.feed(static_cast<uint8_t>(c));
        }
    }
};

TEST_F(ConsoleTest, NothingIsTakenBeforeItStarts) {
    type("Once\r");
    EXPECT_TRUE(host.prompts.empty());
    EXPECT_EQ(host.shown, "");
    console.start();
    EXPECT_EQ(host.shown, "> ");
}

TEST_F(ConsoleTest, APromptIsShownWithItsContinuation) {
    console.start();
    type("Once upon\r");
    ASSERT_EQ(host.prompts, std::vector<std::string>{"Once upon"});
    console.on_text(" a time");
    console.on_finished(3, 12.34, "stop");
    EXPECT_TRUE(host.shown.ends_with("\nOnce upon a time\n[3 tokens, 12.3 tokens/s, stop]\n> "))
        << host.shown;
}

TEST_F(ConsoleTest, OnlyControlCCountsWhileTextIsMade) {
    console.start();
    type("Once\rmore\r");
    EXPECT_EQ(host.prompts.size(), 1U);
    console.feed(3);
    EXPECT_EQ(host.cancels, 1);
    console.on_finished(0, 0, "cancelled");
    type("again\r");
    EXPECT_EQ(host.prompts.back(), "again");
}

TEST_F(ConsoleTest, ARefusedPromptSaysWhy) {
    console.start();
    host.answer = Status(ErrorCode::kExhausted, "the model is busy");
    type("Once\r");
    EXPECT_FALSE(console.generating());
    EXPECT_TRUE(host.shown.ends_with("the model is busy\n> ")) << host.shown;
}

TEST_F(ConsoleTest, OtherLinesDoNotEatWhatIsTyped) {
    console.start();
    type("On");
    console.begin_interruption();
    host.write("[1.0] request 1\n");
    console.end_interruption();
    type("ce\r");
    EXPECT_EQ(host.shown, "> On\r    \r[1.0] request 1\n> Once\nOnce");
    EXPECT_EQ(host.prompts, std::vector<std::string>{"Once"});
}

TEST_F(ConsoleTest, Commands) {
    console.start();
    type("  help \r");
    EXPECT_NE(host.shown.find("Ctrl-C"), std::string::npos);
    type("stats\r");
    EXPECT_TRUE(host.shown.ends_with("42 requests\n> "));
    type("\r   \r");
    EXPECT_TRUE(host.prompts.empty());
    type("reboot\r");
    EXPECT_EQ(host.reboots, 1);
    console.feed(3);
}

}  // namespace
}  // namespace bareflow
