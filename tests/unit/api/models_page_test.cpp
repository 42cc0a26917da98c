#include "api/models_page.h"

#include <gtest/gtest.h>

#include "tests/unit/api/fake_generator.h"
#include "tests/unit/http/fake_exchange.h"

namespace bareflow::api {
namespace {

TEST(ModelsPage, IsAnEmptyListUntilThereIsAModel) {
    ModelsPage page;
    http::FakeExchange exchange(http::Method::kGet, "/v1/models");
    page.handle(exchange);
    EXPECT_EQ(exchange.status, 200);
    EXPECT_EQ(exchange.content_type, "application/json");
    EXPECT_EQ(exchange.body, "{\"object\":\"list\",\"data\":[]}\n");
}

TEST(ModelsPage, ListsTheModel) {
    FakeGenerator generator;
    ModelsPage page;
    page.set_generator(generator, 123);
    http::FakeExchange exchange(http::Method::kGet, "/v1/models");
    page.handle(exchange);
    EXPECT_EQ(
        exchange.body,
        "{\"object\":\"list\",\"data\":[{\"id\":\"fake\",\"object\":\"model\",\"created\":123,"
        "\"owned_by\":\"bareflow\",\"context_length\":64}]}\n");
}

}  // namespace
}  // namespace bareflow::api
