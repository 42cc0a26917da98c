// The event loop with a scripted engine: what is served, shown and waited for.
#include "appliance/appliance.h"

#include <gtest/gtest.h>

#include "tests/unit/appliance/scripted_machine.h"

namespace bareflow {
namespace {

using testing::ApplianceTest;

constexpr std::string_view kControlC = "\x03";

TEST_F(ApplianceTest, WithoutAModelEveryoneIsToldThatItIsLoading) {
    const http::Answer health = ask(get("/health"));
    EXPECT_EQ(health.status, 503);
    EXPECT_NE(health.body.find(R"("status":"loading")"), std::string::npos) << health.body;
    EXPECT_EQ(ask(post("/v1/completions", R"({"prompt":"a"})")).status, 503);
    console_.type("Once\n");
    settle();
    expect_shown("> Once\nOnce\nthe model is still being loaded\n> ");
}

TEST_F(ApplianceTest, ARefusedModelIsSaidEverywhere) {
    appliance_.loader().refuse_model("no model: none in the image");
    const http::Answer health = ask(get("/health"));
    EXPECT_EQ(health.status, 503);
    EXPECT_NE(health.body.find(R"("status":"error")"), std::string::npos) << health.body;
    EXPECT_NE(health.body.find("no model: none in the image"), std::string::npos) << health.body;
    const http::Answer completion = ask(post("/v1/completions", R"({"prompt":"a"})"));
    EXPECT_EQ(completion.status, 503);
    EXPECT_NE(completion.body.find("no model: none in the image"), std::string::npos);
    console_.type("Once\n");
    settle();
    expect_shown("] model: no model: none in the image\n");
    expect_shown("http://10.0.2.15:8080/, but there is no model");
    expect_shown("Once\nno model: none in the image\n> ");
}

TEST_F(ApplianceTest, ALongReasonIsCut) {
    const std::string why(1000, 'x');
    appliance_.loader().refuse_model(why);
    const http::Answer health = ask(get("/health"));
    EXPECT_NE(health.body.find(std::string(ModelHealth::kMaxMessage, 'x')), std::string::npos);
    EXPECT_EQ(health.body.find(std::string(ModelHealth::kMaxMessage + 1, 'x')), std::string::npos);
}

TEST_F(ApplianceTest, TheReadyLineWaitsForTheAddress) {
    open();
    surroundings_.settled = false;
    console_.type("Once\n");  // what is typed before is not taken
    settle();
    EXPECT_GT(surroundings_.announcements, 0u);
    expect_not_shown("10.0.2.15");
    expect_not_shown("> ");
    surroundings_.settled = true;
    settle();
    expect_shown("http://10.0.2.15:8080/, a prompt can be typed here\n> ");
    EXPECT_EQ(texts_.slices, 0u);
    const size_t len = console_.shown().size();
    settle();
    EXPECT_EQ(console_.shown().size(), len) << "it is shown once";
}

TEST_F(ApplianceTest, WithoutANetworkTheReadyLineSaysSo) {
    open();
    surroundings_.address.clear();
    settle();
    expect_shown("no network, a prompt can be typed here\n> ");
}

TEST_F(ApplianceTest, APromptFromTheConsoleIsShownWithItsText) {
    open();
    texts_.generator.script = {" upon", " a", " time"};
    settle();
    console_.type("Once\n");
    settle();
    expect_shown("> Once\nOnce upon a time\n[3 tokens, ");
    expect_shown(" tokens/s, stop]\n> ");
    EXPECT_EQ(texts_.generator.last_prompt.size(), 4u);
    EXPECT_EQ(texts_.generator.last.max_tokens, 64u) << "the context";
    expect_not_shown("request 1:");
}

TEST_F(ApplianceTest, ControlCEndsAPrompt) {
    open();
    texts_.generator.script = std::vector<std::string>(50, "x");
    settle();
    console_.type("Once\n");
    for (int i = 0; i < 100 && texts_.slices < 3; ++i) {
        (void)appliance_.turn();
    }
    console_.type(kControlC);
    settle();
    EXPECT_EQ(texts_.generator.cancels, 1);
    EXPECT_LE(texts_.slices, 4u);
    expect_shown("cancelled]\n> ");
}

TEST_F(ApplianceTest, ARequestIsServedAndLogged) {
    open();
    texts_.generator.script = {"One", " two", " three"};
    settle();
    const http::Answer answer = ask(post("/v1/completions", R"({"prompt":"Hello"})"));
    EXPECT_EQ(answer.status, 200);
    EXPECT_NE(answer.body.find(R"("text":"One two three")"), std::string::npos) << answer.body;
    expect_shown("request 1: 5 + 3 tokens, ");
    expect_shown(" tokens/s, stop, 0 cached\n> ");
    EXPECT_EQ(ask(get("/health")).status, 200);
    EXPECT_EQ(ask(get("/v1/models")).status, 200);
}

// The line that is being typed makes room for the log's and comes back.
TEST_F(ApplianceTest, ARequestDoesNotDisturbWhatIsTyped) {
    open();
    texts_.generator.script = {"One"};
    settle();
    console_.type("On");
    (void)ask(post("/v1/completions", R"({"prompt":"Hello"})"));
    expect_shown("> On\r    \r[");
    expect_shown("0 cached\n> On");
    console_.type("ce\n");
    settle();
    expect_shown("0 cached\n> Once\nOnceOne\n[1 tokens");
}

TEST_F(ApplianceTest, ATextGoesOutWhileItIsMade) {
    open();
    texts_.generator.script = std::vector<std::string>(20, "word ");
    http::FakeStream &client = clients_.connect(
        post("/v1/completions", R"({"prompt":"a","max_tokens":20,"stream":true})"));
    size_t grown = 0;
    size_t seen = 0;
    while (client.output.find("[DONE]") == std::string::npos) {
        (void)appliance_.turn();
        ASSERT_LT(texts_.slices, 100u);
        grown += client.output.size() > seen ? 1 : 0;
        seen = client.output.size();
    }
    EXPECT_GE(grown, 20u) << "a piece for each slice";
}

// A client that reads nothing holds up its own text only.
TEST_F(ApplianceTest, ASlowClientsTextWaitsAndGoesOn) {
    open();
    texts_.generator.slots = 2;
    texts_.generator.context = 4096;
    texts_.generator.script = std::vector<std::string>(2000, "words and words ");
    const std::string stream =
        post("/v1/completions", R"({"prompt":"a","max_tokens":2000,"stream":true})");
    http::FakeStream &slow = clients_.connect(stream);
    slow.window = 2000;
    http::FakeStream &quick = clients_.connect(stream);
    for (int i = 0; i < 20'000 && quick.output.find("[DONE]") == std::string::npos; ++i) {
        (void)appliance_.turn();
    }
    EXPECT_NE(quick.output.find("[DONE]"), std::string::npos);
    EXPECT_TRUE(texts_.generator.paused(0));
    EXPECT_EQ(slow.output.size(), 2000u);
    slow.window = ~size_t{0};
    for (int i = 0; i < 20'000 && slow.output.find("[DONE]") == std::string::npos; ++i) {
        (void)appliance_.turn();
    }
    EXPECT_NE(slow.output.find("[DONE]"), std::string::npos);
}

TEST_F(ApplianceTest, TheEngineWorksInSlices) {
    open();
    texts_.generator.script = std::vector<std::string>(30, "x");
    http::FakeStream &client =
        clients_.connect(post("/v1/completions", R"({"prompt":"a","max_tokens":30})"));
    settle();
    EXPECT_EQ(http::take_answer(client.output).status, 200);
    EXPECT_GE(texts_.slices, 30u);
    EXPECT_LE(texts_.longest_slice, ms_to_ticks(kSliceMs));
    EXPECT_GE(surroundings_.polls, texts_.slices) << "the network is served between two";
}

TEST_F(ApplianceTest, ATurnSaysWhetherThereIsMoreToDo) {
    open();
    settle();
    EXPECT_FALSE(appliance_.turn());
    surroundings_.traffic = true;
    EXPECT_TRUE(appliance_.turn());
    surroundings_.traffic = false;
    EXPECT_FALSE(appliance_.turn());
    texts_.always_advances = true;
    EXPECT_TRUE(appliance_.turn());
}

TEST_F(ApplianceTest, ItSleepsUntilTheNextDeadline) {
    settle();
    const uint64_t second = platform::ticks_per_second();
    const uint64_t now = platform::ticks();
    // Nothing is due but the status line, once a second.
    EXPECT_GT(appliance_.idle_deadline(), now - second);
    EXPECT_LE(appliance_.idle_deadline(), now + second);
    surroundings_.deadline = now - 5;
    EXPECT_EQ(appliance_.idle_deadline(), now - 5);
}

class WithoutNetworkTest : public ApplianceTest {
  protected:
    void SetUp() override { ASSERT_TRUE(appliance_.start_without_network().ok()); }
};

TEST_F(WithoutNetworkTest, TheConsoleStillWorks) {
    open();
    texts_.generator.script = {" upon"};
    settle();
    console_.type("Once\n");
    settle();
    console_.type("stats\nhelp\n");
    settle();
    expect_shown("Once upon\n[1 tokens, ");
    expect_shown(" s, 1 requests done, 0 waiting, 0 cancelled, 0 refused\n");
    expect_shown("Ctrl-C stops it");
}

}  // namespace
}  // namespace bareflow
