#include "http/exchange.h"

#include <gtest/gtest.h>

#include "tests/unit/http/fake_exchange.h"

namespace bareflow::http {
namespace {

TEST(ErrorAnswer, ClientsFaults) {
    FakeExchange exchange;
    respond_error(exchange, {400, "\"n\" must be 1.", "invalid_value", "n"});
    EXPECT_EQ(exchange.status, 400);
    EXPECT_EQ(exchange.content_type, "application/json");
    EXPECT_EQ(exchange.body,
              "{\"error\":{\"message\":\"\\\"n\\\" must be 1.\",\"type\":\"invalid_request_error\","
              "\"param\":\"n\",\"code\":\"invalid_value\"}}\n");
}

TEST(ErrorAnswer, ServersFaultsWithAHeader) {
    FakeExchange exchange;
    respond_error(exchange, {503, "Later.", "overloaded", {}, "Retry-After: 2\r\n"});
    EXPECT_EQ(exchange.status, 503);
    EXPECT_EQ(exchange.extra_headers, "Retry-After: 2\r\n");
    EXPECT_EQ(exchange.body,
              "{\"error\":{\"message\":\"Later.\",\"type\":\"server_error\",\"param\":null,"
              "\"code\":\"overloaded\"}}\n");
}

}  // namespace
}  // namespace bareflow::http
