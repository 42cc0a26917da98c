// The table as clients see it.
#include "appliance/routes.h"

#include <gtest/gtest.h>

#include "tests/unit/appliance/scripted_machine.h"

namespace bareflow {
namespace {

using RoutesTest = testing::ApplianceTest;

TEST_F(RoutesTest, EveryAddressAnswers) {
    open();
    texts_.generator.script = {"One"};
    const std::pair<std::string, int> expected[] = {
        {get("/"), 200},
        {get("/favicon.ico"), 204},
        {get("/health"), 200},
        {get("/profile?format=json"), 200},
        {get("/profile?format=html"), 200},
        {post("/profile/optimize", ""), 200},
        {post("/profile/reset", ""), 200},
        {get("/v1/models"), 200},
        {post("/v1/completions", R"({"prompt":"a"})"), 200},
        {post("/v1/chat/completions", R"({"messages":[{"role":"user","content":"a"}]})"), 200},
        {get("/v1/completions"), 405},
        {post("/health", ""), 405},
        {get("/nothing"), 404},
    };
    for (const auto &[request, status] : expected) {
        EXPECT_EQ(ask(request).status, status) << request;
    }
}

}  // namespace
}  // namespace bareflow
