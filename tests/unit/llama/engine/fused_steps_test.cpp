#include "llama/engine/fused_steps.h"

#include <gtest/gtest.h>

namespace bareflow::llama {
namespace {

// One token: the pair takes `fused` ticks where it is fused, else `separate`.
void token(FusedSteps &steps, uint8_t pair, uint64_t separate, uint64_t fused,
           bool measurable = true) {
    steps.begin(measurable);
    steps.add(pair, steps.fuses(pair) ? fused : separate);
    steps.finish();
}

TEST(FusedStepsTest, WhatIsFasterStays) {
    FusedSteps steps;
    steps.fusing = Fusing::kMeasured;
    const uint8_t faster = steps.find_or_add("faster");
    for (uint32_t i = 0; i < 40; ++i) {
        token(steps, faster, 1000, 900);
    }
    ASSERT_EQ(steps.try_count(), 1u);
    const OptimizationTry &one = steps.try_at(0);
    EXPECT_STREQ(one.function, "faster");
    EXPECT_EQ(one.variant(), "fed in one step");
    EXPECT_EQ(one.level, 3);
    EXPECT_EQ(one.verdict, TryVerdict::kWon);
    EXPECT_EQ(one.candidate_ticks, 900u);
    EXPECT_EQ(one.current_ticks, 1000u);
    EXPECT_TRUE(steps.fuses(faster));
}

TEST(FusedStepsTest, WhatIsNoFasterIsLeftAlone) {
    for (const uint64_t fused : {990u, 1000u, 1200u}) {
        FusedSteps steps;
        steps.fusing = Fusing::kMeasured;
        const uint8_t pair = steps.find_or_add("pair");
        for (uint32_t i = 0; i < 40; ++i) {
            token(steps, pair, 1000, fused);
        }
        ASSERT_EQ(steps.try_count(), 1u) << fused;
        EXPECT_EQ(steps.try_at(0).verdict, TryVerdict::kLost) << fused;
        EXPECT_FALSE(steps.fuses(pair)) << fused;
    }
}

TEST(FusedStepsTest, EachPairHasAVerdictOfItsOwn) {
    FusedSteps steps;
    steps.fusing = Fusing::kMeasured;
    const char *const slow = "slow";
    const uint8_t first = steps.find_or_add("fast");
    const uint8_t second = steps.find_or_add(slow);
    EXPECT_EQ(steps.find_or_add(slow), second);
    for (uint32_t i = 0; i < 40; ++i) {
        steps.begin(true);
        steps.add(first, steps.fuses(first) ? 500 : 1000);
        steps.add(second, steps.fuses(second) ? 1500 : 1000);
        steps.finish();
    }
    EXPECT_EQ(steps.try_count(), 2u);
    EXPECT_EQ(steps.tries(TryVerdict::kWon), 1u);
    EXPECT_EQ(steps.tries(TryVerdict::kLost), 1u);
    steps.clear_tries();
    EXPECT_EQ(steps.try_count(), 0u);
    for (uint32_t i = 0; i < 40; ++i) {
        token(steps, second, 1000, 100);
    }
    EXPECT_EQ(steps.try_count(), 0u);  // what is decided stays
    EXPECT_TRUE(steps.fuses(first));
    EXPECT_FALSE(steps.fuses(second));
}

TEST(FusedStepsTest, NothingIsMeasuredUnasked) {
    for (const Fusing fusing : {Fusing::kNever, Fusing::kAlways, Fusing::kMeasured}) {
        FusedSteps steps;
        steps.fusing = fusing;
        const uint8_t pair = steps.find_or_add("pair");
        for (uint32_t i = 0; i < 40; ++i) {
            token(steps, pair, 1000, 500, fusing != Fusing::kMeasured);
            EXPECT_EQ(steps.fuses(pair), fusing == Fusing::kAlways);
        }
        EXPECT_EQ(steps.try_count(), 0u);
        EXPECT_FALSE(steps.fuses(FusedSteps::kNone));
    }
}

TEST(FusedStepsTest, TooManyPairsAreLeftSeparate) {
    FusedSteps steps;
    steps.fusing = Fusing::kAlways;
    static constexpr char kNames[FusedSteps::kMaxPairs + 1] = {};
    for (uint32_t i = 0; i < FusedSteps::kMaxPairs; ++i) {
        EXPECT_EQ(steps.find_or_add(kNames + i), i + 1);
    }
    EXPECT_EQ(steps.find_or_add(kNames + FusedSteps::kMaxPairs), FusedSteps::kNone);
}

}  // namespace
}  // namespace bareflow::llama
