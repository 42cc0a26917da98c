#include "status/health.h"

#include <gtest/gtest.h>

#include "tests/unit/http/fake_exchange.h"
#include "tests/unit/status/fake_snapshot.h"

namespace bareflow::status {
namespace {

http::FakeExchange ask(const Health &state) {
    Awkward source;
    source.state = state;
    HealthHandler handler(source);
    http::FakeExchange exchange(http::Method::kGet, "/health");
    handler.handle(exchange);
    EXPECT_EQ(exchange.content_type, "application/json");
    return exchange;
}

TEST(Health, Ok) {
    const http::FakeExchange answer = ask({HealthState::kOk, "not shown"});
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body, "{\"status\":\"ok\"}\n");
    EXPECT_EQ(answer.extra_headers, "");
}

TEST(Health, LoadingSaysWhenToComeBack) {
    const http::FakeExchange answer = ask({HealthState::kLoading, "12 %"});
    EXPECT_EQ(answer.status, 503);
    EXPECT_EQ(answer.body, "{\"status\":\"loading\",\"message\":\"12 %\"}\n");
    EXPECT_EQ(answer.extra_headers, "Retry-After: 1\r\n");
}

TEST(Health, ErrorSaysWhy) {
    const http::FakeExchange answer = ask({HealthState::kError, "no \"model\""});
    EXPECT_EQ(answer.status, 503);
    EXPECT_EQ(answer.body, "{\"status\":\"error\",\"message\":\"no \\\"model\\\"\"}\n");
    EXPECT_EQ(answer.extra_headers, "");
}

// A body has room for 768 bytes. Of a message 256 bytes are shown, at most twice as long escaped.
TEST(Health, LongMessagesAreCut) {
    const std::string longest(5000, '"');
    const http::FakeExchange answer = ask({HealthState::kError, longest});
    EXPECT_TRUE(answer.body.ends_with("\"}\n")) << answer.body;
}

}  // namespace
}  // namespace bareflow::status
