#include "status/web_page.h"

#include <gtest/gtest.h>

#include "tests/unit/http/fake_exchange.h"

namespace bareflow::status {
namespace {

// The machine may have no way out: the page loads nothing from elsewhere.
TEST(WebPage, IsWholeAndAsksForNothingElsewhere) {
    http::FakeExchange exchange(http::Method::kGet, "/");
    answer_web_page(exchange);
    EXPECT_EQ(exchange.status, 200);
    EXPECT_EQ(exchange.content_type, "text/html; charset=utf-8");
    EXPECT_TRUE(exchange.body.starts_with("<!DOCTYPE html>"));
    EXPECT_TRUE(exchange.body.ends_with("</html>\n"));
    for (const char *word : {"https:", "src=", "<link", "@import", "url("}) {
        EXPECT_EQ(exchange.body.find(word), std::string::npos) << word;
    }
    for (const char *path : {"/profile", "/health", "/v1/models", "/v1/completions"}) {
        EXPECT_NE(exchange.body.find(path), std::string::npos) << path;
    }
}

TEST(WebPage, TheIconIsEmpty) {
    http::FakeExchange exchange(http::Method::kGet, "/favicon.ico");
    answer_favicon(exchange);
    EXPECT_EQ(exchange.status, 204);
    EXPECT_EQ(exchange.body, "");
}

}  // namespace
}  // namespace bareflow::status
