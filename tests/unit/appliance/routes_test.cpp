#include "appliance/routes.h"

#include <gtest/gtest.h>

#include "tests/unit/http/fake_exchange.h"
#include "tests/unit/status/fake_snapshot.h"

namespace bareflow {
namespace {

class NoActions final : public status::ProfileActions {
  public:
    int optimize_now() override { return 0; }
    bool optimizer_has_work() override { return false; }
    void clear_profile() override {}
};

struct Address {
    http::Method method;
    const char *path;
    int status;
};

// Without a model, so that no address has to wait for a text.
TEST(Routes, EveryAddressAnswers) {
    status::Awkward source;
    source.state = {status::HealthState::kLoading, "wait"};
    NoActions actions;
    api::CompletionApi *api = *api::CompletionApi::create({});
    Routes routes(source, actions);
    ASSERT_TRUE(routes.open(*api).ok());
    constexpr Address kAddresses[] = {
        {http::Method::kGet, "/", 200},
        {http::Method::kGet, "/favicon.ico", 204},
        {http::Method::kGet, "/health", 503},
        {http::Method::kGet, "/profile", 200},
        {http::Method::kPost, "/profile/optimize", 200},
        {http::Method::kPost, "/profile/reset", 200},
        {http::Method::kGet, "/v1/models", 200},
        {http::Method::kPost, "/v1/completions", 503},
        {http::Method::kPost, "/v1/chat/completions", 503},
        {http::Method::kGet, "/v1/completions", 405},
        {http::Method::kGet, "/v1", 404},
    };
    for (const Address &address : kAddresses) {
        http::FakeExchange exchange(address.method, address.path);
        routes.router().handle(exchange);
        EXPECT_EQ(exchange.status, address.status) << address.path;
    }
    api->destroy();
}

}  // namespace
}  // namespace bareflow
