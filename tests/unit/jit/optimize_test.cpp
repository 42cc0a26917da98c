// The optimiser with a fake target and a fake clock: when it tries what, what it installs, what it
// reports, and how modes limit it.
#include "kernel_lib/jit/optimize.h"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <vector>

#include "kernel_lib/jit_runtime.h"
#include "tests/unit/jit/fake_target.h"

namespace bareflow {
namespace {

using fakes::count_calls;
using fakes::FakeTarget;
using fakes::now_ticks;
using fakes::profile;

class OptimizeTest : public fakes::TargetTest {};

TEST_F(OptimizeTest, NothingHappensBelowTheThreshold) {
    count_calls("f", 9);
    EXPECT_FALSE(optimizer_.has_work());
    EXPECT_EQ(work_all(), 0);
    EXPECT_EQ(target_.runs, 0u);
    EXPECT_EQ(optimizer_.try_count(), 0u);
}

TEST_F(OptimizeTest, WarmTakesTheRuleOfThumb) {
    count_calls("f", 10);
    EXPECT_TRUE(optimizer_.has_work());
    EXPECT_EQ(work_all(), 1);
    EXPECT_EQ(level("f"), 1);
    EXPECT_EQ(target_.in_force->name, "rule");
    EXPECT_EQ(profile().profile(profile().find("f")).code_bytes, 77u);
    EXPECT_FALSE(optimizer_.has_work());
    EXPECT_EQ(optimizer_.try_count(), 1u);
    EXPECT_EQ(optimizer_.promotions(), 1u);
    EXPECT_EQ(optimizer_.spent_ticks(), now_ticks);
}

TEST_F(OptimizeTest, HotTakesTheFastestAndReportsEveryTry) {
    count_calls("f", 100);
    EXPECT_EQ(work_all(), 2);  // 0 -> 1 -> 2
    EXPECT_EQ(level("f"), 2);
    EXPECT_EQ(target_.in_force->name, "fast");
    EXPECT_EQ(target_.in_hand, nullptr);
    // "rule" is in force when the field is tried: it is no try again.
    EXPECT_EQ(optimizer_.try_count(), 6u);
    EXPECT_EQ(find_try("rule")->verdict, TryVerdict::kWon);
    EXPECT_EQ(find_try("rule")->level, 1);
    EXPECT_EQ(find_try("slow")->verdict, TryVerdict::kLost);
    EXPECT_EQ(find_try("slow")->candidate_ticks, 3000u);
    EXPECT_EQ(find_try("slow")->current_ticks, 500u);
    EXPECT_EQ(find_try("wrong")->verdict, TryVerdict::kDiffered);
    EXPECT_EQ(find_try("wrong")->candidate_ticks, 0u);
    EXPECT_EQ(find_try("missing")->verdict, TryVerdict::kUnavailable);
    EXPECT_EQ(find_try("fast")->verdict, TryVerdict::kWon);
    EXPECT_EQ(find_try("fast")->code_bytes, 77u);
    EXPECT_STREQ(find_try("fast")->function, "f");
    // So little is noise.
    EXPECT_EQ(find_try("noise")->verdict, TryVerdict::kLost);
    EXPECT_EQ(optimizer_.tries(TryVerdict::kWon), 2u);
    EXPECT_EQ(optimizer_.tries(TryVerdict::kLost), 2u);
    EXPECT_EQ(optimizer_.tries(TryVerdict::kDiffered), 1u);
    EXPECT_EQ(optimizer_.tries(TryVerdict::kUnavailable), 1u);
    EXPECT_EQ(target_.installs, 2u);
    EXPECT_EQ(optimizer_.left_out(), 0u);  // each is a family of its own
    EXPECT_FALSE(optimizer_.has_work());
}

TEST_F(OptimizeTest, ARuleOfThumbThatLosesIsNotInstalled) {
    target_.levels[1][0].run_ticks = 2000;
    count_calls("f", 10);
    EXPECT_EQ(work_all(), 0);
    EXPECT_EQ(level("f"), 0);
    EXPECT_EQ(target_.in_force, nullptr);
    EXPECT_EQ(find_try("rule")->verdict, TryVerdict::kLost);
    EXPECT_FALSE(optimizer_.has_work());  // not again and again
}

TEST_F(OptimizeTest, AFieldOfLosersLeavesTheReference) {
    target_.levels[1].clear();
    target_.levels[2] = {{.name = "slow", .run_ticks = 3000},
                         {.name = "wrong", .run_ticks = 1, .differs = true}};
    count_calls("f", 100);
    EXPECT_EQ(work_all(), 0);
    EXPECT_EQ(level("f"), 0);
    EXPECT_EQ(target_.in_force, nullptr);
}

// The rule of thumb is the fastest: the function has been measured all the same.
TEST_F(OptimizeTest, LevelTwoMayBeTheRuleOfThumb) {
    target_.levels[2] = {{.name = "slow", .run_ticks = 3000}};
    count_calls("f", 100);
    work_all();
    EXPECT_EQ(level("f"), 2);
    EXPECT_EQ(target_.in_force->name, "rule");
}

TEST_F(OptimizeTest, FunctionsWithoutCandidatesStayAtZero) {
    FakeTarget bare("bare");
    ASSERT_TRUE(optimizer_.add(bare).ok());
    count_calls("bare", 5000);
    EXPECT_FALSE(optimizer_.has_work());
    EXPECT_EQ(level("bare"), 0);
}

// A deadline of nothing at all still makes progress, a piece at a time, to the same end.
TEST_F(OptimizeTest, WorkIsCutByTimeAndResumed) {
    count_calls("f", 100);
    int slices = 0;
    int changes = 0;
    while (optimizer_.has_work()) {
        const uint64_t before = now_ticks;
        changes += optimizer_.work(now_ticks + 1);
        // One step: two runs to warm up and a pair, of which none is longer than 3000.
        EXPECT_LE(now_ticks - before, 2 * (3000 + 1000u));
        ASSERT_LT(++slices, 1000);
    }
    EXPECT_GE(slices, 20);
    EXPECT_EQ(changes, 2);
    EXPECT_EQ(target_.in_force->name, "fast");
    EXPECT_EQ(optimizer_.work(now_ticks), 0);  // a deadline that has passed: nothing
}

TEST_F(OptimizeTest, ModesLimitAndTakeBack) {
    optimizer_.set_mode(JitMode::kOff);
    count_calls("f", 100);
    EXPECT_FALSE(optimizer_.has_work());
    optimizer_.set_mode(JitMode::kBaseline);
    work_all();
    EXPECT_EQ(level("f"), 1);
    EXPECT_EQ(target_.in_force->name, "rule");
    optimizer_.set_mode(JitMode::kFull);
    work_all();
    EXPECT_EQ(level("f"), 2);
    EXPECT_EQ(target_.in_force->name, "fast");
    optimizer_.set_mode(JitMode::kBaseline);
    EXPECT_EQ(level("f"), 0);
    EXPECT_EQ(target_.in_force, nullptr);
    EXPECT_EQ(profile().profile(profile().find("f")).code_bytes, 0u);
    work_all();
    EXPECT_EQ(level("f"), 1);
    optimizer_.set_mode(JitMode::kOff);
    EXPECT_EQ(level("f"), 0);
    EXPECT_EQ(target_.in_force, nullptr);
    EXPECT_FALSE(optimizer_.has_work());
}

TEST_F(OptimizeTest, AnotherModeDropsWhatIsInHandAndStartsAnew) {
    count_calls("f", 100);
    while (target_.in_hand == nullptr || target_.in_hand->name != "slow") {
        ASSERT_TRUE(optimizer_.has_work());
        optimizer_.work(now_ticks + 1);
    }
    optimizer_.set_mode(JitMode::kBaseline);
    EXPECT_EQ(target_.in_hand, nullptr);
    EXPECT_EQ(level("f"), 0);
    work_all();
    EXPECT_EQ(target_.in_force->name, "rule");
    EXPECT_EQ(level("f"), 1);
    EXPECT_FALSE(optimizer_.has_work());
}

TEST_F(OptimizeTest, RemovingAllForgetsEverything) {
    count_calls("f", 100);
    optimizer_.work(now_ticks + 1);
    optimizer_.work(now_ticks + 1);
    optimizer_.remove_all();
    EXPECT_EQ(target_.in_hand, nullptr);
    EXPECT_EQ(target_.in_force, nullptr);
    EXPECT_EQ(level("f"), 0);
    EXPECT_FALSE(optimizer_.has_work());
    ASSERT_TRUE(optimizer_.add(target_).ok());
    work_all();
    EXPECT_EQ(target_.in_force->name, "fast");
}

TEST_F(OptimizeTest, GainsAreOverTheReferenceAndTheRuleOfThumb) {
    EXPECT_EQ(gain().over_reference, 1000u);
    count_calls("f", 100);
    work_all();
    EXPECT_EQ(gain().over_reference, 5000u);  // 1000 -> 500 -> 200
    EXPECT_EQ(gain().over_rule, 2500u);
    const FunctionId function = optimizer_.function_of(target_);
    EXPECT_EQ(function, profile().find("f"));
    EXPECT_EQ(optimizer_.gain(function).over_reference, 5000u);
    EXPECT_EQ(optimizer_.gain(function).over_rule, 2500u);
    EXPECT_EQ(optimizer_.gain(profile().key("measured, but no target")).over_reference, 1000u);
    EXPECT_EQ(optimizer_.gain(kNoFunction).over_reference, 1000u);
    const FakeTarget stranger("f");
    EXPECT_EQ(optimizer_.function_of(stranger), kNoFunction);
    // A rule of thumb that is slower than the reference counts as it is.
    optimizer_.remove_all();
    target_.levels[1][0].run_ticks = 2000;
    target_.levels[2] = {{.name = "fast", .run_ticks = 500}};
    ASSERT_TRUE(optimizer_.add(target_).ok());
    work_all();
    EXPECT_EQ(gain().over_reference, 2000u);
    EXPECT_EQ(gain().over_rule, 4000u);
}

TEST_F(OptimizeTest, WhatGrowsSlowerIsSearchedAgain) {
    count_calls("f", 100);
    work_all();
    ASSERT_EQ(target_.in_force->name, "fast");
    const FunctionId id = profile().key("f");
    const auto windows = [&](int count, uint64_t cycles) {
        for (int i = 0; i < count; ++i) {
            for (uint64_t call = 0; call < 2 * DriftWatch::kWindowCalls; ++call) {
                profile().begin(id, 0);
                profile().end(id, cycles);
            }
            if (optimizer_.has_work()) {
                return true;
            }
        }
        return false;
    };
    EXPECT_FALSE(windows(20, 2'000'000));
    EXPECT_EQ(optimizer_.retunes(), 0u);
    // Everything has changed: what was slow is the best now.
    target_.levels[2][1].run_ticks = 50;
    EXPECT_TRUE(windows(20, 4'000'000));
    EXPECT_EQ(optimizer_.retunes(), 1u);
    EXPECT_EQ(level("f"), 2);  // meanwhile
    work_all();
    EXPECT_EQ(target_.in_force->name, "slow");
    EXPECT_EQ(level("f"), 2);
    EXPECT_FALSE(windows(20, 4'000'000));
}

TEST_F(OptimizeTest, CountersCanBeCleared) {
    count_calls("f", 100);
    work_all();
    optimizer_.clear_counters();
    profile().clear_counters();
    EXPECT_EQ(optimizer_.try_count(), 0u);
    EXPECT_EQ(optimizer_.tries(TryVerdict::kWon), 0u);
    EXPECT_EQ(optimizer_.promotions(), 0u);
    EXPECT_EQ(profile().calls(profile().find("f")), 0u);
    EXPECT_EQ(level("f"), 2);
    EXPECT_EQ(target_.in_force->name, "fast");
    EXPECT_FALSE(optimizer_.has_work());
}

TEST_F(OptimizeTest, TargetsAreBounded) {
    std::vector<std::unique_ptr<FakeTarget>> many;
    for (size_t i = 1; i < Optimizer::kMaxTargets; ++i) {
        many.push_back(std::make_unique<FakeTarget>("g"));
        ASSERT_TRUE(optimizer_.add(*many.back()).ok());
    }
    FakeTarget last("g");
    EXPECT_EQ(optimizer_.add(last).code(), ErrorCode::kExhausted);
}

TEST(OptimizeRuntimeTest, TheCNameDrivesTheProgramsOptimiser) {
    EXPECT_EQ(jit_optimize_hot_functions(), 0);
    EXPECT_EQ(optimizer().mode(), JitMode::kFull);
    jit_set_mode(JitMode::kOff);
    EXPECT_EQ(optimizer().mode(), JitMode::kOff);
    jit_set_mode(JitMode::kFull);
}

}  // namespace
}  // namespace bareflow
