#include "api/token_rate.h"

#include <gtest/gtest.h>

#include "kernel_lib/platform/platform.h"

namespace bareflow::api {
namespace {

TEST(TokenRate, NeedsTwoTokensAndTime) {
    TokenRate rate;
    EXPECT_EQ(rate.per_second(1000), 0);
    rate.note(1000);
    EXPECT_EQ(rate.per_second(2000), 0);
    rate.note(1000);
    EXPECT_EQ(rate.per_second(1000), 0);
    EXPECT_GT(rate.per_second(2000), 0);
}

TEST(TokenRate, IsOverTheLastTokens) {
    const uint64_t second = platform::ticks_per_second();
    TokenRate rate;
    uint64_t now = 0;
    for (int i = 0; i < 1000; ++i) {
        rate.note(now += second);
    }
    EXPECT_NEAR(rate.per_second(now), 1.0, 1e-6);
    for (int i = 0; i < 64; ++i) {
        rate.note(now += second / 10);
    }
    EXPECT_NEAR(rate.per_second(now), 10.0, 1e-3) << "the slow ones are forgotten";
    rate.reset();
    EXPECT_EQ(rate.per_second(now + second), 0);
}

}  // namespace
}  // namespace bareflow::api
