// The server with fake connections: pipelining, streams, clients that close, reset
// or stay silent, and which client gets a connection.
#include "http/server.h"

#include <gtest/gtest.h>

#include <string>

#include "http/router.h"
#include "kernel_lib/platform/platform.h"
#include "tests/unit/http/fake_stream.h"

namespace bareflow::http {
namespace {

std::string get(const std::string &path, const std::string &more = {}) {
    return "GET " + path + " HTTP/1.1\r\nHost: a\r\n" + more + "\r\n";
}

// Answers with the method's and the body's size, and keeps what it saw.
class Echo final : public Handler {
  public:
    int calls = 0;
    void handle(Exchange &exchange) override {
        ++calls;
        const Request &request = exchange.request();
        std::string text = "body of " + std::to_string(request.body.size());
        exchange.respond({.status = 200, .content_type = kTypeText}, text);
    }
};

const std::string &big_text() {
    static const std::string text(300'000, 'b');
    return text;
}
class Static final : public Handler {
  public:
    void handle(Exchange &exchange) override {
        exchange.respond_static({.status = 200, .content_type = kTypeText}, big_text());
    }
};

// `count` numbered lines, made when there is room.
class Lines final : public Handler, public AnswerSource {
  public:
    uint32_t count = 10'000;
    int completed = 0;
    int abandoned = 0;
    OnHangUp on_hang_up = OnHangUp::kFinish;
    void handle(Exchange &exchange) override {
        exchange.respond_stream({.status = 200, .content_type = kTypeText}, *this, Cursor{},
                                on_hang_up);
    }
    Piece produce(Exchange &, Cursor &cursor, TextWriter &out) override {
        out.put("line ", cursor.piece, "\n");
        ++cursor.piece;
        return cursor.piece == count ? Piece::kEnd : Piece::kMore;
    }
    void ended(Exchange &, bool complete) override { (complete ? completed : abandoned) += 1; }
    static std::string expected(uint32_t count) {
        std::string text;
        for (uint32_t i = 0; i < count; ++i) {
            text += "line " + std::to_string(i) + "\n";
        }
        return text;
    }
};

// Answers when the test says so.
class Later final : public Handler, public AnswerSource {
  public:
    Exchange *open = nullptr;
    std::string pending;
    bool finish = false;
    int ended_complete = 0;
    int ended_early = 0;
    void handle(Exchange &exchange) override {
        open = &exchange;
        exchange.defer(*this);
    }
    Piece produce(Exchange &, Cursor &, TextWriter &out) override {
        out.put(std::string_view(pending));
        if (out.truncated()) {
            return Piece::kMore;
        }
        pending.clear();
        return finish ? Piece::kEnd : Piece::kWait;
    }
    void ended(Exchange &, bool complete) override {
        (complete ? ended_complete : ended_early) += 1;
        open = nullptr;
    }
};

class ServerTest : public ::testing::Test {
  protected:
    void SetUp() override { start({}); }
    void TearDown() override { server_->destroy(); }
    void start(ServerConfig config) {
        if (server_ != nullptr) {
            server_->destroy();
        }
        auto server = Server::create(source_, router_, config);
        ASSERT_TRUE(server.ok());
        server_ = *server;
    }
    void poll() {
        for (int i = 0; i < 10'000 && server_->poll_at(now_); ++i) {
        }
    }
    Answer ask(const std::string &request, bool head = false) {
        FakeStream &client = source_.connect(request);
        poll();
        return take_answer(client.output, head);
    }
    // Time moves only here.
    void wait_ms(uint64_t ms) { now_ += ms * platform::ticks_per_second() / 1000; }

    uint64_t now_ = 1000;
    FakeSource source_;
    Echo echo_;
    Static static_;
    Lines lines_;
    Later later_;
    const Route routes_[7] = {
        {Method::kGet, "/echo", &echo_},     {Method::kPost, "/echo", &echo_},
        {Method::kGet, "/static", &static_}, {Method::kGet, "/lines", &lines_},
        {Method::kGet, "/later", &later_},   {Method::kPost, "/later", &later_},
        {Method::kPost, "/post", &echo_}};
    Router router_{routes_};
    Server *server_ = nullptr;
};

TEST_F(ServerTest, AnswersAndKeepsTheConnection) {
    FakeStream &client = source_.connect(get("/echo"));
    poll();
    Answer answer = take_answer(client.output);
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body, "body of 0");
    EXPECT_FALSE(answer.has_header("Connection: close"));
    for (int i = 0; i < 50; ++i) {
        client.input = get("/echo");
        poll();
        EXPECT_EQ(take_answer(client.output).status, 200);
    }
    EXPECT_FALSE(client.gone());
    EXPECT_EQ(server_->counters().requests, 51u);
    EXPECT_EQ(server_->counters().connections, 1u);
}

TEST_F(ServerTest, OneByteAtATimeBothWays) {
    FakeStream &client = source_.connect();
    const std::string request =
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" + get("/lines");
    client.window = 0;
    lines_.count = 20;
    for (const char c : request) {
        client.input.push_back(c);
        poll();
        client.window += 1;
        poll();
    }
    for (int i = 0; i < 2000; ++i) {
        client.window += 1;
        poll();
    }
    EXPECT_EQ(take_answer(client.output).body, "body of 5");
    EXPECT_EQ(take_answer(client.output).body, Lines::expected(20));
}

TEST_F(ServerTest, PipelinedRequestsAreAnsweredInOrder) {
    FakeStream &client = source_.connect(
        get("/echo") + "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" +
        get("/nothing") + get("/echo", "Connection: close\r\n") + get("/echo"));
    poll();
    EXPECT_EQ(take_answer(client.output).body, "body of 0");
    EXPECT_EQ(take_answer(client.output).body, "body of 3");
    EXPECT_EQ(take_answer(client.output).status, 404);
    const Answer last = take_answer(client.output);
    EXPECT_EQ(last.status, 200);
    EXPECT_TRUE(last.has_header("Connection: close"));
    EXPECT_EQ(client.output, "") << "nothing is answered after a close";
}

TEST_F(ServerTest, RoutesMethodsAndAllow) {
    EXPECT_EQ(ask(get("/")).status, 404);
    EXPECT_EQ(ask(get("/echo/")).status, 404);
    EXPECT_EQ(ask(get("/echo?x=y")).status, 200);
    Answer answer = ask("DELETE /echo HTTP/1.1\r\nHost: a\r\n\r\n");
    EXPECT_EQ(answer.status, 405);
    EXPECT_TRUE(answer.has_header("Allow: GET, HEAD, POST, OPTIONS")) << answer.head;
    EXPECT_NE(answer.body.find("\"code\":\"method_not_allowed\""), std::string::npos);
    answer = ask(get("/post"));
    EXPECT_EQ(answer.status, 405);
    EXPECT_TRUE(answer.has_header("Allow: POST, OPTIONS"));
    answer = ask("HEAD /post HTTP/1.1\r\nHost: a\r\n\r\n", true);
    EXPECT_EQ(answer.status, 405);
    answer = ask("OPTIONS /echo HTTP/1.1\r\nHost: a\r\n\r\n");
    EXPECT_EQ(answer.status, 204);
    EXPECT_TRUE(answer.has_header("Allow: GET, HEAD, POST, OPTIONS"));
    EXPECT_EQ(ask("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").status, 204);
    EXPECT_EQ(ask("OPTIONS /none HTTP/1.1\r\nHost: a\r\n\r\n").status, 404);
}

TEST_F(ServerTest, HeadHasTheHeadersAndNoBody) {
    FakeStream &client = source_.connect("HEAD /echo HTTP/1.1\r\nHost: a\r\n\r\n" +
                                         std::string("HEAD /lines HTTP/1.1\r\nHost: a\r\n\r\n") +
                                         "HEAD /static HTTP/1.1\r\nHost: a\r\n\r\n" + get("/echo"));
    poll();
    EXPECT_TRUE(take_answer(client.output, true).has_header("Content-Length: 9"));
    EXPECT_TRUE(take_answer(client.output, true).chunked);
    EXPECT_TRUE(take_answer(client.output, true).has_header("Content-Length: 300000"));
    EXPECT_EQ(take_answer(client.output).body, "body of 0");
    EXPECT_EQ(lines_.completed, 1);
}

TEST_F(ServerTest, LongAnswersAreWholeHoweverSmallTheWindow) {
    for (const size_t window : {size_t{1}, size_t{7}, size_t{1000}, size_t{1'000'000}}) {
        lines_.count = window < 1000 ? 1000 : 10'000;
        FakeStream &client = source_.connect(get("/lines") + get("/static"));
        client.window = 0;
        size_t before = 0;
        do {
            before = client.output.size();
            // A byte or so at a time through the chunked answer; the long rest a little faster.
            client.window = before > 20'000 ? std::max(window, size_t{5000}) : window;
            poll();
        } while (client.output.size() != before);
        EXPECT_TRUE(take_answer(client.output).body == Lines::expected(lines_.count)) << window;
        EXPECT_TRUE(take_answer(client.output).body == big_text()) << window;
    }
}

TEST_F(ServerTest, Http10GetsNoChunksAndAClose) {
    FakeStream &client = source_.connect("GET /lines HTTP/1.0\r\n\r\n");
    poll();
    const Answer answer = take_answer(client.output);
    EXPECT_FALSE(answer.chunked);
    EXPECT_EQ(answer.body, Lines::expected(10'000));
    EXPECT_TRUE(answer.has_header("Connection: close"));
    FakeStream &keeps = source_.connect("GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    poll();
    EXPECT_TRUE(take_answer(keeps.output).has_header("Connection: keep-alive"));
    keeps.input = "GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    poll();
    EXPECT_EQ(take_answer(keeps.output).status, 200);
}

TEST_F(ServerTest, ExpectContinueIsAnsweredBeforeTheBody) {
    FakeStream &client = source_.connect(
        "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    poll();
    EXPECT_EQ(client.output, "HTTP/1.1 100 Continue\r\n\r\n");
    client.input = "abc";
    poll();
    EXPECT_EQ(take_answer(client.output).status, 100);
    EXPECT_EQ(take_answer(client.output).body, "body of 3");
    Answer refused =
        ask("POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: "
            "3000000\r\n\r\n");
    EXPECT_EQ(refused.status, 413);
    EXPECT_NE(refused.body.find("\"code\":\"body_too_large\""), std::string::npos);
}

TEST_F(ServerTest, RefusedRequestsAreAnsweredThenDrainedThenClosed) {
    ServerConfig config;
    config.timeouts.linger_ms = 20;
    start(config);
    FakeStream &client =
        source_.connect("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n" +
                        std::string(200'000, 'x'));
    poll();
    const Answer answer = take_answer(client.output);
    EXPECT_EQ(answer.status, 413);
    EXPECT_TRUE(answer.has_header("Connection: close"));
    EXPECT_NE(answer.body.find("\"error\":{\"message\""), std::string::npos);
    EXPECT_TRUE(client.input.empty()) << "what still comes is read, so that no RST eats the answer";
    EXPECT_FALSE(client.gone());
    wait_ms(25);
    poll();
    EXPECT_TRUE(client.closed);
    EXPECT_EQ(echo_.calls, 0);
}

TEST_F(ServerTest, ALastAnswerIsFollowedByAFinAtOnce) {
    FakeStream &client = source_.connect(get("/echo", "Connection: close\r\n"));
    poll();
    EXPECT_TRUE(client.closed) << "a client may wait for the end";
    FakeStream &old = source_.connect("GET /lines HTTP/1.0\r\n\r\n");
    poll();
    EXPECT_TRUE(old.closed);
    EXPECT_EQ(server_->counters().open, 0u);
}

TEST_F(ServerTest, AfterARefusalAFinClosesAtOnce) {
    FakeStream &client = source_.connect("nonsense\r\n\r\n");
    poll();
    EXPECT_EQ(take_answer(client.output).status, 400);
    EXPECT_FALSE(client.gone());
    client.fin = true;
    poll();
    EXPECT_TRUE(client.closed);
}

TEST_F(ServerTest, AHalfClosedClientStillGetsAShortAnswer) {
    FakeStream &client = source_.connect(get("/echo"));
    client.fin = true;
    poll();
    EXPECT_EQ(take_answer(client.output).body, "body of 0");
    EXPECT_TRUE(client.closed);
    FakeStream &lines = source_.connect(get("/lines"));
    lines.fin = true;
    poll();
    EXPECT_EQ(take_answer(lines.output).body, Lines::expected(10'000));
}

TEST_F(ServerTest, AFinCancelsADeferredAnswer) {
    FakeStream &client = source_.connect(get("/later"));
    poll();
    ASSERT_NE(later_.open, nullptr);
    client.fin = true;
    poll();
    EXPECT_EQ(later_.open, nullptr);
    EXPECT_EQ(later_.ended_early, 1);
    EXPECT_TRUE(client.gone());
    EXPECT_EQ(server_->counters().hang_ups, 1u);
}

TEST_F(ServerTest, AFinBehindUnreadBytesCancelsToo) {
    FakeStream &client = source_.connect(get("/later") + std::string(5000, 'x'));
    poll();
    ASSERT_NE(later_.open, nullptr);
    client.fin = true;
    poll();
    EXPECT_EQ(later_.ended_early, 1);
}

TEST_F(ServerTest, AFinCancelsAStream) {
    FakeStream &client = source_.connect(get("/later"));
    poll();
    later_.open->respond_stream({.status = 200, .content_type = kTypeEvents}, later_, {},
                                OnHangUp::kCancel);
    later_.pending = "data: 1\n\n";
    poll();
    EXPECT_NE(client.output.find("9\r\ndata: 1\n\n\r\n"), std::string::npos) << client.output;
    client.fin = true;
    poll();
    EXPECT_EQ(later_.ended_early, 1);
}

TEST_F(ServerTest, AnswersThatComeLater) {
    FakeStream &client = source_.connect(
        "POST /later HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" + get("/echo"));
    poll();
    ASSERT_NE(later_.open, nullptr);
    EXPECT_EQ(later_.open->request().body.size(), 5u) << "valid until the answer";
    EXPECT_EQ(client.output, "");
    later_.open->respond({.status = 200, .content_type = kTypeText}, "done");
    EXPECT_EQ(later_.ended_complete, 1);
    poll();
    EXPECT_EQ(take_answer(client.output).body, "done");
    EXPECT_EQ(take_answer(client.output).body, "body of 0");
    EXPECT_EQ(later_.ended_complete, 1);

    FakeStream &streams = source_.connect(get("/later"));
    poll();
    later_.open->respond_stream({.status = 200, .content_type = kTypeEvents}, later_, {},
                                OnHangUp::kCancel);
    for (int i = 0; i < 3; ++i) {
        later_.pending = "data: " + std::to_string(i) + "\n\n";
        poll();
    }
    later_.finish = true;
    poll();
    EXPECT_EQ(take_answer(streams.output).body, "data: 0\n\ndata: 1\n\ndata: 2\n\n");
    EXPECT_EQ(later_.ended_complete, 2);
}

TEST_F(ServerTest, AResetEndsEverything) {
    FakeStream &client = source_.connect(get("/lines"));
    client.window = 10;
    poll();
    client.reset = true;
    poll();
    EXPECT_TRUE(client.aborted);
    EXPECT_EQ(lines_.abandoned, 1);
    EXPECT_EQ(server_->counters().open, 0u);
}

TEST_F(ServerTest, SlowAndSilentClientsAreDropped) {
    ServerConfig config;
    config.timeouts = {
        .idle_ms = 20, .head_ms = 20, .body_ms = 20, .stall_ms = 20, .linger_ms = 20};
    start(config);
    FakeStream &silent = source_.connect();
    FakeStream &half_head = source_.connect("GET / HT");
    FakeStream &half_body =
        source_.connect("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab");
    FakeStream &not_reading = source_.connect(get("/lines"));
    not_reading.window = 100;
    FakeStream &waiting = source_.connect(get("/later"));
    poll();
    EXPECT_FALSE(silent.gone() || half_head.gone() || half_body.gone() || not_reading.gone());
    EXPECT_LE(server_->next_deadline(), now_ + 21 * platform::ticks_per_second() / 1000);
    wait_ms(25);
    poll();
    EXPECT_TRUE(silent.closed);
    EXPECT_EQ(take_answer(half_head.output).status, 408);
    EXPECT_EQ(take_answer(half_body.output).status, 408);
    EXPECT_TRUE(not_reading.aborted);
    EXPECT_EQ(lines_.abandoned, 1);
    EXPECT_FALSE(waiting.gone()) << "who waits for us isn't late";
    wait_ms(25);
    poll();
    EXPECT_TRUE(half_head.closed && half_body.closed);
    EXPECT_EQ(server_->counters().timeouts, 4u);
}

TEST_F(ServerTest, AByteNowAndThenDoesNotHoldASlotForever) {
    ServerConfig config;
    config.timeouts.head_ms = 40;
    start(config);
    FakeStream &client = source_.connect("GET / HTTP/1.1\r\nHost: a\r\nX: ");
    for (int i = 0; i < 6 && client.output.empty(); ++i) {
        poll();
        wait_ms(10);
        client.input += "y";
    }
    EXPECT_EQ(take_answer(client.output).status, 408);
}

TEST_F(ServerTest, ANewcomerTakesTheSlotOfTheLongestIdle) {
    ServerConfig config;
    config.connections = 2;
    start(config);
    FakeStream &first = source_.connect(get("/echo"));
    poll();
    wait_ms(2);
    FakeStream &second = source_.connect(get("/echo"));
    poll();
    FakeStream &third = source_.connect(get("/echo"));
    poll();
    EXPECT_TRUE(first.gone());
    EXPECT_FALSE(second.gone());
    EXPECT_EQ(take_answer(third.output).status, 200);
    EXPECT_EQ(server_->counters().evictions, 1u);
}

TEST_F(ServerTest, NewcomersWaitWhileAllSlotsAreAtWork) {
    ServerConfig config;
    config.connections = 1;
    start(config);
    FakeStream &first = source_.connect(get("/later"));
    FakeStream &second = source_.connect(get("/echo"));
    poll();
    EXPECT_EQ(source_.waiting(), 1u);
    EXPECT_EQ(second.output, "");
    later_.open->respond({.status = 200, .content_type = kTypeText}, "x");
    poll();
    poll();
    EXPECT_TRUE(first.gone());
    EXPECT_EQ(take_answer(second.output).status, 200);
}

TEST_F(ServerTest, BodiesTogetherStayWithinTheirBudget) {
    ServerConfig config;
    config.body_total_bytes = 100'000;
    start(config);
    std::vector<FakeStream *> clients;
    for (int i = 0; i < 10; ++i) {
        clients.push_back(
            &source_.connect("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 40000\r\n\r\n" +
                             std::string(30'000, 'x')));
    }
    poll();
    int refused = 0;
    for (FakeStream *client : clients) {
        const bool waits = client->output.find("Retry-After: 2\r\n") != std::string::npos;
        const bool full = take_answer(client->output).status == 503;
        EXPECT_EQ(waits, full);
        refused += full ? 1 : 0;
        client->input += std::string(10'000, 'x');
    }
    EXPECT_GE(refused, 6);
    EXPECT_LT(refused, 10);
    poll();
    int answered = 0;
    for (FakeStream *client : clients) {
        answered += take_answer(client->output).body == "body of 40000" ? 1 : 0;
    }
    EXPECT_GE(answered, 1);
    EXPECT_EQ(ask("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc").status, 200);
}

TEST_F(ServerTest, DestroyTellsTheSourcesThatWork) {
    FakeStream &client = source_.connect(get("/later"));
    poll();
    start({});
    EXPECT_EQ(later_.ended_early, 1);
    EXPECT_TRUE(client.aborted);
}

}  // namespace
}  // namespace bareflow::http
