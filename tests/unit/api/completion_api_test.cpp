// The API behind a real HTTP server, with clients and a generator that are fakes: answers, streams,
// the order of requests, cancelling, and the catalogue of bad requests.
#include "api/completion_api.h"

#include <gtest/gtest.h>
#include <sanitizer/allocator_interface.h>

#include <string>

#include "http/router.h"
#include "http/server.h"
#include "tests/unit/api/fake_generator.h"
#include "tests/unit/http/fake_stream.h"

namespace bareflow::api {
namespace {

std::string post(const std::string &body, const std::string &path = "/v1/completions") {
    return "POST " + path +
           " HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
           body;
}

// The value behind `"key":`, up to the next , } or ].
std::string value_of(const std::string &json, const std::string &key) {
    const size_t at = json.find("\"" + key + "\":");
    if (at == std::string::npos) {
        return "(none)";
    }
    const size_t begin = at + key.size() + 3;
    if (json[begin] == '"') {
        size_t end = begin + 1;
        while (json[end] != '"') {
            end += json[end] == '\\' ? 2 : 1;
        }
        return json.substr(begin + 1, end - begin - 1);
    }
    return json.substr(begin, json.find_first_of(",}]\n", begin) - begin);
}

std::vector<std::string> events_of(const std::string &body) {
    std::vector<std::string> events;
    size_t at = 0;
    while (at < body.size()) {
        const size_t end = body.find("\n\n", at);
        EXPECT_NE(end, std::string::npos) << body.substr(at);
        if (end == std::string::npos) {
            break;
        }
        EXPECT_TRUE(body.substr(at).starts_with("data: "));
        events.push_back(body.substr(at + 6, end - at - 6));
        at = end + 2;
    }
    return events;
}

class Observer final : public CompletionObserver {
  public:
    std::vector<CompletionSummary> seen;
    void on_completion(const CompletionSummary &summary) override { seen.push_back(summary); }
};

class Local final : public LocalClient {
  public:
    std::string text;
    std::string error;
    int done = 0;
    CompletionSummary summary;
    void on_text(std::string_view piece) override { text += piece; }
    void on_done(const CompletionSummary &result, std::string_view why) override {
        ++done;
        summary = result;
        error = why;
    }
};

const std::string kChat = "/v1/chat/completions";

class CompletionTest : public ::testing::Test {
  protected:
    void SetUp() override {
        auto api = CompletionApi::create({.slots = 4, .queue = 3, .max_tokens = 4096});
        ASSERT_TRUE(api.ok());
        api_ = *api;
        api_->set_observer(&observer_);
        routes_[0] = {http::Method::kPost, "/v1/completions", &api_->completions()};
        routes_[1] = {http::Method::kGet, "/v1/models", &api_->models()};
        routes_[2] = {http::Method::kPost, kChat, &api_->chat()};
        auto server = http::Server::create(source_, router_, {});
        ASSERT_TRUE(server.ok());
        server_ = *server;
        generator_.script = {"One", " two", " three", " four"};
        api_->set_generator(generator_);
    }
    void TearDown() override {
        server_->destroy();
        api_->destroy();
    }
    // The event loop, while the generator does nothing.
    void settle() {
        for (int i = 0; i < 1000; ++i) {
            const bool more = server_->poll();
            if (!api_->poll() && !more) {
                return;
            }
        }
        FAIL() << "the loop never rests";
    }
    void work(uint32_t tokens = 1000) {
        settle();
        generator_.advance(tokens);
        settle();
    }
    http::Answer ask(const std::string &body, const std::string &path = "/v1/completions") {
        http::FakeStream &client = source_.connect(post(body, path));
        settle();
        for (int i = 0; i < 1000 && generator_.busy(); ++i) {
            work(slice_);
        }
        return http::take_answer(client.output);
    }

    http::FakeSource source_;
    FakeGenerator generator_;
    Observer observer_;
    http::Route routes_[3];
    http::Router router_{routes_};
    CompletionApi *api_ = nullptr;
    http::Server *server_ = nullptr;
    uint32_t slice_ = 1000;  // tokens
};

TEST_F(CompletionTest, WholeAnswer) {
    const http::Answer answer = ask(R"({"prompt":"Hello","seed":42,"temperature":0.5,"top_k":7})");
    EXPECT_EQ(answer.status, 200);
    EXPECT_FALSE(answer.chunked) << "its length is known";
    EXPECT_EQ(value_of(answer.body, "text"), "One two three four");
    EXPECT_EQ(value_of(answer.body, "object"), "text_completion");
    EXPECT_EQ(value_of(answer.body, "model"), "fake");
    EXPECT_EQ(value_of(answer.body, "finish_reason"), "stop");
    EXPECT_EQ(value_of(answer.body, "prompt_tokens"), "5");
    EXPECT_EQ(value_of(answer.body, "completion_tokens"), "4");
    EXPECT_EQ(value_of(answer.body, "total_tokens"), "9");
    EXPECT_EQ(value_of(answer.body, "seed"), "42");
    EXPECT_EQ(value_of(answer.body, "logprobs"), "null");
    EXPECT_TRUE(value_of(answer.body, "id").starts_with("cmpl-"));
    EXPECT_EQ(generator_.last.sampling.seed, 42u);
    EXPECT_FLOAT_EQ(generator_.last.sampling.temperature, 0.5f);
    EXPECT_EQ(generator_.last.sampling.top_k, 7u);
    EXPECT_EQ(generator_.last_prompt.size(), 5u);
    ASSERT_EQ(observer_.seen.size(), 1u);
    EXPECT_EQ(observer_.seen[0].completion_tokens, 4u);
    EXPECT_EQ(api_->counters().finished, 1u);
}

TEST_F(CompletionTest, MaxTokensEndsWithLength) {
    const http::Answer answer = ask(R"({"prompt":"Hello","max_tokens":2})");
    EXPECT_EQ(value_of(answer.body, "text"), "One two");
    EXPECT_EQ(value_of(answer.body, "finish_reason"), "length");
}

TEST_F(CompletionTest, DecodingsSpeedIsThatOfAllTokensButTheFirst) {
    const http::Answer three = ask(R"({"prompt":"Hello","max_tokens":3})");
    const double decode_ms = std::stod(value_of(three.body, "decode_ms"));
    ASSERT_GT(decode_ms, 0.0);
    // Both are printed with few digits.
    EXPECT_NEAR(std::stod(value_of(three.body, "tokens_per_second")) * decode_ms, 2000.0, 20.0);
    const http::Answer one = ask(R"({"prompt":"Hello","max_tokens":1})");
    EXPECT_EQ(std::stod(value_of(one.body, "tokens_per_second")), 0.0);
}

TEST_F(CompletionTest, AFreshSeedIsEchoedAndNeverTheSame) {
    const std::string first = value_of(ask(R"({"prompt":"a"})").body, "seed");
    EXPECT_EQ(first, std::to_string(generator_.last.sampling.seed));
    const std::string second = value_of(ask(R"({"prompt":"a"})").body, "seed");
    EXPECT_NE(first, second);
}

TEST_F(CompletionTest, StreamHasAnEventForEveryTokenAsItIsMade) {
    http::FakeStream &client = source_.connect(post(R"({"prompt":"Hi","stream":true})"));
    settle();
    EXPECT_NE(client.output.find("text/event-stream"), std::string::npos);
    generator_.advance(1);
    settle();
    EXPECT_NE(client.output.find("\"text\":\"One\""), std::string::npos)
        << "at once, not at the end";
    EXPECT_EQ(client.output.find("two"), std::string::npos);
    work();
    const http::Answer answer = http::take_answer(client.output);
    ASSERT_TRUE(answer.valid);
    const auto events = events_of(answer.body);
    ASSERT_EQ(events.size(), 6u);
    std::string text;
    for (size_t i = 0; i < 4; ++i) {
        text += value_of(events[i], "text");
        EXPECT_EQ(value_of(events[i], "finish_reason"), "null");
        EXPECT_EQ(value_of(events[i], "id"), value_of(events[0], "id"));
    }
    EXPECT_EQ(text, "One two three four");
    EXPECT_EQ(value_of(events[4], "finish_reason"), "stop");
    EXPECT_EQ(value_of(events[4], "completion_tokens"), "4");
    EXPECT_EQ(events[5], "[DONE]");
    client.input = post(R"({"prompt":"again"})");
    work();
    EXPECT_EQ(http::take_answer(client.output).status, 200) << "the connection lives on";
}

TEST_F(CompletionTest, StopStringsAcrossTokens) {
    generator_.script = {"One", " tw", "o thr", "ee four", " five"};
    slice_ = 3;
    http::Answer answer = ask(R"({"prompt":"x","stop":"two"})");
    EXPECT_EQ(value_of(answer.body, "text"), "One ");
    EXPECT_EQ(value_of(answer.body, "finish_reason"), "stop");
    EXPECT_EQ(value_of(answer.body, "completion_tokens"), "3") << "up to the one that ended it";
    EXPECT_EQ(generator_.cancels, 1) << "the generator was told to stop";
    answer = ask(R"({"prompt":"x","stop":["zzz"," f"]})");
    EXPECT_EQ(value_of(answer.body, "text"), "One two three");
    answer = ask(R"({"prompt":"x","stop":["fiver"]})");
    EXPECT_EQ(value_of(answer.body, "text"), "One two three four five")
        << "held text comes in the end";
    http::FakeStream &client =
        source_.connect(post(R"({"prompt":"x","stop":"two","stream":true})"));
    work(3);
    const auto events = events_of(http::take_answer(client.output).body);
    ASSERT_EQ(events.size(), 4u);
    EXPECT_EQ(value_of(events[0], "text") + value_of(events[1], "text"), "One ");
    EXPECT_EQ(value_of(events[2], "finish_reason"), "stop");
}

TEST_F(CompletionTest, TextIsEscaped) {
    generator_.script = {"\"\\\n\t", "é", "\x01", "</script>"};
    const http::Answer answer = ask(R"({"prompt":"x"})");
    EXPECT_EQ(value_of(answer.body, "text"), "\\\"\\\\\\n\\té\\u0001</script>");
    generator_.script = {};
    generator_.finish_text = "\xef\xbf\xbd";
    EXPECT_EQ(value_of(ask(R"({"prompt":"x"})").body, "text"), "\xef\xbf\xbd")
        << "what the decoder still had";
}

TEST_F(CompletionTest, LongTextsAreWhole) {
    generator_.context = 5000;
    generator_.script.assign(4000, "é€😀\"abc ");
    std::string expected;
    for (int i = 0; i < 4000; ++i) {
        expected += "é€😀\\\"abc ";
    }
    http::Answer answer = ask(R"({"prompt":"x","max_tokens":4096})");
    ASSERT_TRUE(answer.valid) << "Content-Length is right";
    EXPECT_TRUE(value_of(answer.body, "text") == expected);
    http::FakeStream &client =
        source_.connect(post(R"({"prompt":"x","max_tokens":4096,"stream":true})"));
    for (int i = 0; i < 5000; ++i) {
        work(1);
    }
    answer = http::take_answer(client.output);
    std::string text;
    for (const std::string &event : events_of(answer.body)) {
        if (event != "[DONE]") {
            text += value_of(event, "text");
        }
    }
    EXPECT_TRUE(text == expected);
}

TEST_F(CompletionTest, AClientThatDoesNotReadPausesTheMaking) {
    generator_.context = 100'000;
    generator_.script.assign(50'000, "0123456789");
    http::FakeStream &client =
        source_.connect(post(R"({"prompt":"x","max_tokens":4096,"stream":true})"));
    client.window = 500;
    settle();
    int slices = 0;
    while (!generator_.paused(0) && slices < 5000) {
        ++slices;
        generator_.advance(10);
        settle();
    }
    EXPECT_TRUE(generator_.paused(0));
    EXPECT_LT(slices, 200) << "paused long before the text is whole";
    client.window = ~size_t{0};
    settle();
    EXPECT_FALSE(generator_.paused(0));
    for (int i = 0; i < 500; ++i) {
        work(10);
    }
    const http::Answer answer = http::take_answer(client.output);
    EXPECT_EQ(events_of(answer.body).size(), 4096u + 2);
}

TEST_F(CompletionTest, HangUpCancelsWhatRuns) {
    for (const bool stream : {false, true}) {
        const int before = generator_.cancels;
        http::FakeStream &client = source_.connect(
            post(std::string(R"({"prompt":"x","stream":)") + (stream ? "true}" : "false}")));
        settle();
        generator_.advance(1);
        settle();
        EXPECT_TRUE(generator_.busy());
        client.fin = true;
        settle();
        EXPECT_FALSE(generator_.busy());
        EXPECT_EQ(generator_.cancels, before + 1);
    }
    EXPECT_EQ(api_->counters().cancelled, 2u);
    EXPECT_EQ(observer_.seen.back().finish, FinishKind::kCancelled);
    EXPECT_EQ(ask(R"({"prompt":"x"})").status, 200);
}

TEST_F(CompletionTest, HangUpWhileWaitingLeavesTheQueue) {
    source_.connect(post(R"({"prompt":"first"})"));
    settle();
    http::FakeStream &second = source_.connect(post(R"({"prompt":"second"})"));
    generator_.encode_steps = 100;
    generator_.encode_us = 1000;
    http::FakeStream &third = source_.connect(post(R"({"prompt":"third"})"));
    server_->poll();
    api_->poll();
    EXPECT_EQ(api_->counters().waiting, 2u);
    second.fin = true;
    third.fin = true;
    settle();
    EXPECT_EQ(api_->counters().waiting, 0u);
    EXPECT_EQ(generator_.cancels, 0) << "the one that runs is left alone";
    work();
    EXPECT_EQ(api_->counters().finished, 1u);
}

TEST_F(CompletionTest, FirstComeFirstServedUntilTheQueueIsFull) {
    std::vector<http::FakeStream *> clients;
    for (int i = 0; i < 6; ++i) {
        clients.push_back(
            &source_.connect(post(R"({"prompt":")" + std::string(1 + i, 'x') + "\"}")));
        settle();
    }
    for (int i = 4; i < 6; ++i) {
        const http::Answer refused = http::take_answer(clients[i]->output);
        EXPECT_EQ(refused.status, 503);
        EXPECT_TRUE(refused.has_header("Retry-After: 2"));
        EXPECT_EQ(value_of(refused.body, "code"), "queue_full");
    }
    for (size_t i = 0; i < 4; ++i) {
        EXPECT_EQ(generator_.last_prompt.size(), 1 + i) << "in order";
        EXPECT_EQ(clients[i]->output, "");
        work();
        EXPECT_EQ(http::take_answer(clients[i]->output).status, 200);
    }
    EXPECT_EQ(api_->counters().refused, 2u);
}

TEST_F(CompletionTest, AsManyRunAsThereAreSlots) {
    generator_.slots = 4;
    std::vector<http::FakeStream *> clients;
    for (int i = 0; i < 9; ++i) {
        clients.push_back(
            &source_.connect(post(R"({"prompt":")" + std::string(1 + i, 'x') + "\"}")));
        settle();
    }
    EXPECT_EQ(api_->counters().slots, 4u);
    EXPECT_EQ(api_->counters().running, 4u);
    EXPECT_EQ(api_->counters().waiting, 3u);
    EXPECT_EQ(api_->counters().refused, 2u);
    for (int i = 7; i < 9; ++i) {
        const http::Answer refused = http::take_answer(clients[i]->output);
        EXPECT_EQ(refused.status, 503);
        EXPECT_TRUE(refused.has_header("Retry-After: 2"));
    }
    // One client leaves: the next request in the queue gets its place at once.
    clients[1]->fin = true;
    settle();
    EXPECT_EQ(generator_.last_prompt.size(), 5u);
    EXPECT_EQ(api_->counters().running, 4u);
    work();
    work();
    for (const int i : {0, 2, 3, 4, 5, 6}) {
        const http::Answer answer = http::take_answer(clients[i]->output);
        EXPECT_EQ(answer.status, 200);
        EXPECT_EQ(value_of(answer.body, "text"), "One two three four");
        EXPECT_EQ(value_of(answer.body, "prompt_tokens"), std::to_string(1 + i));
    }
    EXPECT_EQ(api_->counters().finished, 6u);
    EXPECT_EQ(api_->counters().running, 0u);
}

TEST_F(CompletionTest, AClientThatDoesNotReadHoldsUpNobodyElse) {
    generator_.slots = 2;
    generator_.context = 100'000;
    generator_.script.assign(50'000, "0123456789");
    const std::string body = R"({"prompt":"x","max_tokens":4096,"stream":true})";
    http::FakeStream &lazy = source_.connect(post(body));
    lazy.window = 500;
    settle();
    http::FakeStream &eager = source_.connect(post(body));
    for (int i = 0; i < 500; ++i) {
        work(10);
    }
    EXPECT_EQ(events_of(http::take_answer(eager.output).body).size(), 4096u + 2);
    EXPECT_TRUE(generator_.paused(0));
    EXPECT_FALSE(generator_.paused(1));
    EXPECT_EQ(api_->counters().running, 1u);
    // That slot stays in use; the other one serves the next request.
    http::FakeStream &next = source_.connect(post(R"({"prompt":"x","max_tokens":3})"));
    work();
    EXPECT_EQ(http::take_answer(next.output).status, 200);
    lazy.window = ~size_t{0};
    for (int i = 0; i < 500; ++i) {
        work(10);
    }
    EXPECT_EQ(events_of(http::take_answer(lazy.output).body).size(), 4096u + 2);
}

TEST_F(CompletionTest, StopStringsAndErrorsStayInTheirSlot) {
    generator_.slots = 3;
    generator_.script = {"One", " tw", "o thr", "ee four", " five"};
    http::FakeStream &a = source_.connect(post(R"({"prompt":"x","stop":"two"})"));
    http::FakeStream &b = source_.connect(post(R"({"prompt":"x","stop":" f"})"));
    http::FakeStream &c = source_.connect(post(R"({"prompt":"x"})"));
    settle();
    EXPECT_EQ(api_->counters().running, 3u);
    for (int i = 0; i < 10; ++i) {
        work(1);
    }
    EXPECT_EQ(value_of(http::take_answer(a.output).body, "text"), "One ");
    EXPECT_EQ(value_of(http::take_answer(b.output).body, "text"), "One two three");
    EXPECT_EQ(value_of(http::take_answer(c.output).body, "text"), "One two three four five");
    EXPECT_EQ(generator_.cancels, 2);
}

bool counting = false;
int allocations = 0;
void on_malloc(const volatile void *, size_t) {
    allocations += counting ? 1 : 0;
}
void on_free(const volatile void *) {}

TEST_F(CompletionTest, NothingIsAllocatedWhileTokensCome) {
    ASSERT_GT(__sanitizer_install_malloc_and_free_hooks(on_malloc, on_free), 0);
    generator_.slots = 4;
    generator_.context = 5000;
    generator_.script.assign(2000, " word");
    generator_.likely.assign(6, {5, -1.0f});
    std::vector<http::FakeStream *> clients;
    for (const char *more :
         {"", R"(,"stream":true)", R"(,"stream":true,"stop":"x")", R"(,"logprobs":5)"}) {
        clients.push_back(
            &source_.connect(post(std::string(R"({"prompt":"x","max_tokens":500)") + more + "}")));
    }
    settle();
    ASSERT_EQ(api_->counters().running, 4u);
    counting = true;
    void *volatile memory = ::malloc(1);  // volatile: otherwise the compiler removes the pair
    ::free(memory);
    counting = false;
    ASSERT_EQ(allocations, 1);  // the hook works
    allocations = 0;
    for (int i = 0; i < 499; ++i) {
        counting = true;
        generator_.advance(1);
        counting = false;
        settle();
    }
    EXPECT_EQ(allocations, 0);
    work();
    for (http::FakeStream *client : clients) {
        EXPECT_EQ(http::take_answer(client->output).status, 200);
    }
}

TEST_F(CompletionTest, TokensThatWereThereAreReported) {
    generator_.cached = 3;
    const http::Answer answer = ask(R"({"prompt":"Hello"})");
    EXPECT_NE(answer.body.find(R"("total_tokens":9,"prompt_tokens_details":{"cached_tokens":3}})"),
              std::string::npos)
        << answer.body;
    EXPECT_NE(answer.body.find(R"(,"cached_tokens":3,"prompt_ms")"), std::string::npos);
    EXPECT_EQ(api_->counters().cached_tokens, 3u);
}

TEST_F(CompletionTest, WaitsWhileSomebodyElseUsesTheEngine) {
    generator_.occupied = true;
    http::FakeStream &client = source_.connect(post(R"({"prompt":"x"})"));
    settle();
    EXPECT_EQ(client.output, "");
    generator_.occupied = false;
    work();
    EXPECT_EQ(http::take_answer(client.output).status, 200);
}

TEST_F(CompletionTest, PromptsThatDoNotFit) {
    http::Answer answer = ask(R"({"prompt":")" + std::string(63, 'x') + "\"}");
    EXPECT_EQ(answer.status, 200);
    for (const size_t len : {size_t{64}, size_t{65}, size_t{500}, size_t{5000}, size_t{900'000}}) {
        answer = ask(R"({"prompt":")" + std::string(len, 'x') + "\"}");
        EXPECT_EQ(answer.status, 400) << len;
        EXPECT_EQ(value_of(answer.body, "code"), "context_length_exceeded");
        EXPECT_EQ(value_of(answer.body, "param"), "prompt");
        EXPECT_NE(answer.body.find("64 tokens"), std::string::npos);
    }
    answer = ask(R"({"prompt":""})");
    EXPECT_EQ(answer.status, 400);
    EXPECT_EQ(value_of(answer.body, "param"), "prompt");
    answer = ask(R"({"prompt":"x","max_tokens":65})");
    EXPECT_EQ(answer.status, 400);
    EXPECT_EQ(value_of(answer.body, "param"), "max_tokens");
    EXPECT_EQ(api_->counters().waiting, 0u);
}

TEST_F(CompletionTest, ThoseThatComeTogetherBeginTogether) {
    generator_.slots = 4;
    generator_.encode_steps = 2;
    for (int i = 0; i < 4; ++i) {
        source_.connect(post(R"({"prompt":"x"})"));
    }
    server_->poll();
    // One pass of the event loop, unless the machine is busy with something else.
    int turns = 0;
    while (api_->counters().running < 4u && turns < 8) {
        (void)api_->poll();
        ++turns;
    }
    EXPECT_LT(turns, 4);
    work();
    EXPECT_EQ(api_->counters().finished, 4u);
}

TEST_F(CompletionTest, LongPromptsAreEncodedInSlices) {
    generator_.encode_steps = 50;
    generator_.encode_us = 1000;
    http::FakeStream &client = source_.connect(post(R"({"prompt":"x"})"));
    server_->poll();
    for (int i = 0; i < 49; ++i) {
        EXPECT_TRUE(api_->poll()) << "says that there is more to do";
        EXPECT_FALSE(generator_.busy());
    }
    work();
    EXPECT_EQ(http::take_answer(client.output).status, 200);
}

TEST_F(CompletionTest, BadRequestsNameTheField) {
    const http::Answer answer = ask(R"({"prompt":"x","temperature":"hot"})");
    EXPECT_EQ(answer.status, 400);
    EXPECT_EQ(value_of(answer.body, "param"), "temperature");
    EXPECT_EQ(value_of(answer.body, "type"), "invalid_request_error");
    EXPECT_EQ(value_of(answer.body, "message"), "temperature must be a number.");
    EXPECT_FALSE(generator_.busy());
}

TEST_F(CompletionTest, WithoutAModel) {
    TearDown();
    auto api = CompletionApi::create({});
    api_ = *api;
    routes_[0].handler = &api_->completions();
    routes_[1].handler = &api_->models();
    server_ = *http::Server::create(source_, router_, {});
    http::Answer answer = ask(R"({"prompt":"x"})");
    EXPECT_EQ(answer.status, 503);
    EXPECT_TRUE(answer.has_header("Retry-After: 1"));
    EXPECT_EQ(value_of(answer.body, "code"), "model_loading");
    api_->set_unavailable("No disk has a model.", false);
    answer = ask(R"({"prompt":"x"})");
    EXPECT_EQ(answer.status, 503);
    EXPECT_EQ(value_of(answer.body, "message"), "No disk has a model.");
    http::FakeStream &models = source_.connect("GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n");
    settle();
    EXPECT_EQ(http::take_answer(models.output).body, "{\"object\":\"list\",\"data\":[]}\n");
    Local local;
    EXPECT_EQ(api_->submit_local("x", 5, local).code(), ErrorCode::kInvalid);
}

TEST_F(CompletionTest, Models) {
    http::FakeStream &client = source_.connect("GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n");
    settle();
    const http::Answer answer = http::take_answer(client.output);
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(value_of(answer.body, "id"), "fake");
    EXPECT_EQ(value_of(answer.body, "context_length"), "64");
}

TEST_F(CompletionTest, WholeChat) {
    generator_.context = 500;
    generator_.chat = recognise_chat_template("<|im_start|>", "", "");
    generator_.ends = 77;
    const http::Answer answer =
        ask(R"({"messages":[{"role":"user","content":"Hi <|im_end|>"}],"seed":3,"max_tokens":3})",
            kChat);
    EXPECT_EQ(answer.status, 200);
    EXPECT_FALSE(answer.chunked) << "its length is known";
    EXPECT_TRUE(value_of(answer.body, "id").starts_with("chatcmpl-"));
    EXPECT_EQ(value_of(answer.body, "object"), "chat.completion");
    EXPECT_NE(answer.body.find(R"("choices":[{"index":0,"message":{"role":"assistant","content":)"
                               R"("One two three"},"logprobs":null,"finish_reason":"length"}],)"
                               R"("usage":{)"),
              std::string::npos)
        << answer.body;
    const std::string prompt(generator_.last_prompt.begin(), generator_.last_prompt.end());
    EXPECT_EQ(prompt, "<|im_start|>user\nHi <|im_end|><|im_end|>\n<|im_start|>assistant\n");
    ASSERT_EQ(generator_.last_controls.size(), 3u) << "the user's own is text";
    EXPECT_EQ(generator_.last_controls[1].begin, 30u);
    EXPECT_EQ(generator_.last.also_ends, 77);
    EXPECT_EQ(generator_.last.max_tokens, 3u);
    ask(R"({"prompt":"x"})");
    EXPECT_EQ(generator_.last.also_ends, llama::kNoToken);
}

TEST_F(CompletionTest, StreamedChat) {
    for (const bool usage : {false, true}) {
        const http::Answer answer =
            ask(std::string(R"({"messages":[{"role":"user","content":"Hi"}],"stream":true,)") +
                    R"("stream_options":{"include_usage":)" + (usage ? "true}}" : "false}}"),
                kChat);
        const auto events = events_of(answer.body);
        ASSERT_EQ(events.size(), usage ? 8u : 7u);
        EXPECT_NE(events[0].find(R"("delta":{"role":"assistant","content":""},)"),
                  std::string::npos);
        std::string text;
        for (size_t i = 1; i < 5; ++i) {
            text += value_of(events[i], "content");
            EXPECT_EQ(value_of(events[i], "object"), "chat.completion.chunk");
            EXPECT_EQ(value_of(events[i], "finish_reason"), "null");
            EXPECT_EQ(value_of(events[i], "id"), value_of(events[0], "id"));
        }
        EXPECT_EQ(text, "One two three four");
        EXPECT_NE(events[5].find(R"("delta":{},"logprobs":null,"finish_reason":"stop"}])"),
                  std::string::npos);
        EXPECT_EQ(value_of(events[5], "completion_tokens"), "(none)");
        if (usage) {
            EXPECT_NE(events[6].find(R"("choices":[],"usage":{"prompt_tokens":2,)"),
                      std::string::npos);
        }
        EXPECT_EQ(events.back(), "[DONE]");
    }
}

TEST_F(CompletionTest, ChatsThatCannotBe) {
    generator_.chat = recognise_chat_template("[INST]", "", "");
    http::Answer answer = ask(R"({"messages":[{"role":"user","content":"a"},{"role":"assistant",)"
                              R"("content":"b"},{"role":"assistant","content":"c"}]})",
                              kChat);
    EXPECT_EQ(answer.status, 400);
    EXPECT_EQ(value_of(answer.body, "param"), "messages[2].role");
    for (const size_t len : {size_t{64}, size_t{100'000}}) {
        answer = ask(R"({"messages":[{"role":"user","content":")" + std::string(len, 'x') + "\"}]}",
                     kChat);
        EXPECT_EQ(answer.status, 400);
        EXPECT_EQ(value_of(answer.body, "code"), "context_length_exceeded");
        EXPECT_EQ(value_of(answer.body, "param"), "messages");
    }
    generator_.chat = {};
    answer = ask(R"({"messages":[{"role":"user","content":""}]})", kChat);
    EXPECT_EQ(answer.status, 400);
    EXPECT_EQ(value_of(answer.body, "param"), "messages");
    EXPECT_EQ(api_->counters().waiting, 0u);
    EXPECT_EQ(ask(R"({"messages":[{"role":"user","content":"x"}]})", kChat).status, 200);
}

TEST_F(CompletionTest, LogprobsOfACompletion) {
    generator_.likely = {{1, -0.5f}, {0, -0.25f}, {1, -0.5f}};
    const std::string body = R"({"prompt":"x","logprobs":2,"max_tokens":2)";
    const std::string expected =
        R"("logprobs":{"tokens":[" two"," two"],"token_logprobs":[-0.500000,-0.500000],)"
        R"("top_logprobs":[{"One":-0.250000," two":-0.500000},{"One":-0.250000," two":-0.500000}],)"
        R"("text_offset":[0,3]},"finish_reason":"length")";
    http::Answer answer = ask(body + "}");
    ASSERT_TRUE(answer.valid);
    EXPECT_NE(answer.body.find(expected), std::string::npos) << answer.body;
    EXPECT_EQ(generator_.last.sampling.top_logprobs, 2u);
    slice_ = 1;
    answer = ask(body + R"(,"stream":true})");
    const auto events = events_of(answer.body);
    ASSERT_EQ(events.size(), 4u);
    EXPECT_NE(
        events[1].find(R"({"tokens":[" two"],"token_logprobs":[-0.500000],"top_logprobs":[)"
                       R"({"One":-0.250000," two":-0.500000}],"text_offset":[3]},"finish_re)"),
        std::string::npos)
        << events[1];
    EXPECT_EQ(value_of(events[2], "logprobs"), "null");
}

TEST_F(CompletionTest, LogprobsOfAChat) {
    generator_.likely = {{1, -0.5f}, {0, -20000.0f}};
    const std::string body =
        R"({"messages":[{"role":"user","content":"x"}],"logprobs":true,"max_tokens":1)";
    http::Answer answer = ask(body + R"(,"top_logprobs":1})", kChat);
    ASSERT_TRUE(answer.valid);
    EXPECT_NE(
        answer.body.find(
            R"("logprobs":{"content":[{"token":" two","bytes":[32,116,119,111],"logprob":-0.500000,)"
            R"("top_logprobs":[{"token":"One","bytes":[79,110,101],"logprob":-9999.000000}]}]},"fin)"),
        std::string::npos)
        << answer.body;
    answer = ask(body + R"(,"stream":true})", kChat);
    const auto events = events_of(answer.body);
    ASSERT_EQ(events.size(), 4u);
    EXPECT_NE(events[1].find(R"("logprob":-0.500000,"top_logprobs":[]}]},"finish_reason":null)"),
              std::string::npos)
        << events[1];
}

TEST_F(CompletionTest, ManyLogprobsThroughASmallWindow) {
    generator_.context = 5000;
    generator_.script.assign(300, std::string(100, '\"'));
    generator_.likely.assign(21, {5, -1.0f});
    http::FakeStream &client = source_.connect(
        post(R"({"messages":[{"role":"user","content":"x"}],"logprobs":true,"top_logprobs":20,)"
             R"("stream":true})",
             kChat));
    for (int i = 0; i < 20000 && client.output.find("[DONE]") == std::string::npos; ++i) {
        client.window = 1000;
        work(1);
    }
    client.window = ~size_t{0};
    work(1);
    const http::Answer answer = http::take_answer(client.output);
    ASSERT_TRUE(answer.valid);
    const auto events = events_of(answer.body);
    size_t tokens = 0;
    for (const std::string &event : events) {
        for (size_t at = 0; (at = event.find("\"token\":", at)) != std::string::npos; ++at) {
            ++tokens;
        }
    }
    EXPECT_EQ(tokens, 300u * 21);
}

TEST_F(CompletionTest, LocalPromptsStandInTheSameQueue) {
    http::FakeStream &client = source_.connect(post(R"({"prompt":"web"})"));
    settle();
    Local local;
    {
        std::string prompt = "console";
        ASSERT_TRUE(api_->submit_local(prompt, 3, local).ok());
        prompt = "overwritten";
    }
    settle();
    EXPECT_EQ(generator_.last_prompt.size(), 3u) << "the web client came first";
    work();
    EXPECT_EQ(http::take_answer(client.output).status, 200);
    EXPECT_EQ(generator_.last_prompt.size(), 7u);
    work();
    EXPECT_EQ(local.text, "One two three");
    EXPECT_EQ(local.done, 1);
    EXPECT_EQ(local.summary.completion_tokens, 3u);
    EXPECT_EQ(local.summary.finish, FinishKind::kLength);
}

TEST_F(CompletionTest, LocalPromptsCanBeCancelledAtAnyTime) {
    Local waiting;
    ASSERT_TRUE(api_->submit_local("x", 3, waiting).ok());
    api_->cancel_local();
    EXPECT_EQ(waiting.done, 1);
    EXPECT_EQ(waiting.summary.finish, FinishKind::kCancelled);
    Local running;
    ASSERT_TRUE(api_->submit_local("x", 3, running).ok());
    settle();
    generator_.advance(1);
    api_->cancel_local();
    EXPECT_EQ(running.done, 1);
    EXPECT_FALSE(generator_.busy());
    Local too_long;
    ASSERT_TRUE(api_->submit_local(std::string(100, 'x'), 3, too_long).ok());
    settle();
    EXPECT_EQ(too_long.done, 1);
    EXPECT_EQ(too_long.summary.finish, FinishKind::kFailed);
    EXPECT_NE(too_long.error.find("longer than the model's context"), std::string::npos);
}

}  // namespace
}  // namespace bareflow::api
