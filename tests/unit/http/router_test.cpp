#include "http/router.h"

#include <gtest/gtest.h>

#include "tests/unit/http/fake_exchange.h"

namespace bareflow::http {
namespace {

class Named final : public Handler {
  public:
    explicit Named(std::string_view name) : name_(name) {}
    void handle(Exchange &exchange) override { exchange.respond({}, name_); }

  private:
    std::string_view name_;
};

void answer_plainly(Exchange &exchange) {
    exchange.respond({}, "a function");
}

class RouterTest : public ::testing::Test {
  protected:
    FakeExchange ask(Method method, std::string_view path) {
        FakeExchange exchange(method, path);
        router_.handle(exchange);
        EXPECT_EQ(exchange.answers, 1) << path;
        return exchange;
    }

    Named get_{"get"};
    Named post_{"post"};
    const Route routes_[3] = {{Method::kGet, "/a", &get_},
                              {Method::kPost, "/a", &post_},
                              {Method::kGet, "/f", answer_plainly}};
    Router router_{routes_};
};

TEST_F(RouterTest, ObjectsAndFunctionsAnswer) {
    EXPECT_EQ(ask(Method::kGet, "/a").body, "get");
    EXPECT_EQ(ask(Method::kPost, "/a").body, "post");
    EXPECT_EQ(ask(Method::kGet, "/f").body, "a function");
}

TEST_F(RouterTest, HeadIsAnsweredWhereGetIs) {
    EXPECT_EQ(ask(Method::kHead, "/a").body, "get");
    EXPECT_EQ(ask(Method::kHead, "/f").body, "a function");
}

TEST_F(RouterTest, UnknownPathsAreNotFound) {
    for (const std::string_view path : {"/", "/a/", "/A", "/ab", "", "*"}) {
        const FakeExchange answer = ask(Method::kGet, path);
        EXPECT_EQ(answer.status, 404) << path;
        EXPECT_NE(answer.body.find("\"not_found\""), std::string::npos) << path;
    }
}

TEST_F(RouterTest, OtherMethodsAreToldWhichOnesThereAre) {
    FakeExchange answer = ask(Method::kDelete, "/a");
    EXPECT_EQ(answer.status, 405);
    EXPECT_EQ(answer.extra_headers, "Allow: GET, HEAD, POST, OPTIONS\r\n");
    answer = ask(Method::kPost, "/f");
    EXPECT_EQ(answer.status, 405);
    EXPECT_EQ(answer.extra_headers, "Allow: GET, HEAD, OPTIONS\r\n");
    EXPECT_EQ(ask(Method::kOther, "/f").status, 405);
}

TEST_F(RouterTest, OptionsOfAPathAndOfTheServer) {
    FakeExchange answer = ask(Method::kOptions, "/f");
    EXPECT_EQ(answer.status, 204);
    EXPECT_EQ(answer.extra_headers, "Allow: GET, HEAD, OPTIONS\r\n");
    answer = ask(Method::kOptions, "*");
    EXPECT_EQ(answer.status, 204);
    EXPECT_EQ(answer.extra_headers, "Allow: GET, HEAD, POST, OPTIONS\r\n");
    EXPECT_EQ(ask(Method::kOptions, "/none").status, 404);
}

TEST(Router, AnEmptyTableFindsNothing) {
    Router router({});
    FakeExchange exchange(Method::kGet, "/");
    router.handle(exchange);
    EXPECT_EQ(exchange.status, 404);
}

}  // namespace
}  // namespace bareflow::http
