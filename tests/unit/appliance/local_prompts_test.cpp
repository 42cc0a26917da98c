// Prompts from the console, through the completion API.
#include "appliance/local_prompts.h"

#include <gtest/gtest.h>

#include "tests/unit/appliance/scripted_machine.h"

namespace bareflow {
namespace {

using testing::ApplianceTest;

using LocalPromptsTest = ApplianceTest;

TEST_F(LocalPromptsTest, APromptHasAtMost256Tokens) {
    texts_.generator.context = 4096;
    texts_.generator.script = {"x"};
    open();
    settle();
    console_.type("Once\n");
    settle();
    EXPECT_EQ(texts_.generator.last.max_tokens, 256u);
}

class FewTokensTest : public ApplianceTest {
  protected:
    FewTokensTest()
        : ApplianceTest(testing::settings_with([](Settings &s) { s.max_tokens = 2; })) {}
};

TEST_F(FewTokensTest, TheSettingLimitsThem) {
    texts_.generator.script = std::vector<std::string>(10, "x");
    open();
    settle();
    console_.type("Once\n");
    settle();
    EXPECT_EQ(texts_.generator.last.max_tokens, 2u);
    expect_shown("Oncexx\n[2 tokens, ");
    expect_shown(" tokens/s, length]\n> ");
}

TEST_F(LocalPromptsTest, AWrongPromptIsAnsweredWithASentence) {
    texts_.generator.context = 4;
    open();
    settle();
    console_.type("Once upon a time\n");
    settle();
    EXPECT_EQ(texts_.slices, 0u);
    expect_shown("Once upon a time\n[0 tokens, 0.0 tokens/s, ");
}

TEST_F(LocalPromptsTest, ManyKeysAreTakenInSeveralTurns) {
    open();
    settle();
    console_.type(std::string(100, 'x'));
    EXPECT_TRUE(appliance_.turn());
    expect_shown("> " + std::string(64, 'x'));
    expect_not_shown(std::string(65, 'x'));
    settle();
    expect_shown("> " + std::string(100, 'x'));
}

// All requests are counted. Those from the console are not logged.
TEST_F(LocalPromptsTest, RequestsAreNumbered) {
    texts_.generator.script = {"x"};
    open();
    settle();
    console_.type("Once\n");
    settle();
    (void)ask(post("/v1/completions", R"({"prompt":"ab"})"));
    expect_not_shown("request 1:");
    expect_shown("request 2: 2 + 1 tokens, ");
}

}  // namespace
}  // namespace bareflow
