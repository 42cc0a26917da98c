// Choices remembered from an earlier start, on a fake target: when they are tried, believed, kept
// and forgotten.
#include "kernel_lib/jit/optimize.h"

#include <gtest/gtest.h>

#include <array>

#include "tests/unit/jit/fake_target.h"

namespace bareflow {
namespace {

using fakes::count_calls;
using fakes::now_ticks;
using fakes::profile;

class RecallTest : public fakes::TargetTest {};

TunedChoice choice_of(std::string_view function, std::string_view variant, uint8_t level) {
    TunedChoice choice;
    choice.function = function;
    choice.variant = variant;
    choice.level = level;
    return choice;
}

TEST_F(RecallTest, ARememberedChoiceIsTriedBeforeAnythingIsHot) {
    optimizer_.remove_all();
    target_.starts_by_rule = true;
    ASSERT_TRUE(optimizer_.add(target_).ok());
    optimizer_.recall(choice_of("f", "fast", 2));
    EXPECT_TRUE(optimizer_.has_work());
    EXPECT_EQ(work_all(), 1);
    EXPECT_EQ(level("f"), 2);
    EXPECT_EQ(target_.in_force->name, "fast");
    EXPECT_EQ(optimizer_.recalled(), 1u);
    EXPECT_EQ(optimizer_.recalls_lost(), 0u);
    // It comes first, against what is in force at the start; then that against the reference, to
    // know what both are worth. Nothing else was tried.
    ASSERT_EQ(optimizer_.try_count(), 2u);
    EXPECT_EQ(optimizer_.try_at(0).variant(), "fast");
    EXPECT_EQ(optimizer_.try_at(0).current_ticks, 500u);
    EXPECT_EQ(optimizer_.try_at(1).variant(), "rule");
    EXPECT_EQ(optimizer_.try_at(1).current_ticks, 1000u);
    EXPECT_EQ(gain().over_reference, 5000u);
    EXPECT_EQ(gain().over_rule, 2500u);
    count_calls("f", 100);
    EXPECT_FALSE(optimizer_.has_work());
}

// The start was the better rule; what everybody takes is measured against the remembered choice.
TEST_F(RecallTest, ARememberedChoiceIsTimedAgainstTheRuleOfThumbToo) {
    target_.levels[1] = {{.name = "start", .run_ticks = 400}, {.name = "rule", .run_ticks = 800}};
    for (const bool rule_wins : {false, true}) {
        optimizer_.remove_all();
        optimizer_.clear_counters();
        target_.levels[1][1].run_ticks = rule_wins ? 100 : 800;
        target_.starts_by_rule = true;
        ASSERT_TRUE(optimizer_.add(target_).ok());
        optimizer_.recall(choice_of("f", "fast", 2));
        work_all();
        EXPECT_EQ(target_.in_force->name, rule_wins ? "rule" : "fast");
        EXPECT_EQ(level("f"), rule_wins ? 1 : 2);
        EXPECT_EQ(gain().over_reference, rule_wins ? 10000u : 5000u);
        EXPECT_EQ(gain().over_rule, rule_wins ? 1000u : 4000u);
    }
}

TEST_F(RecallTest, WhatWillBeHotGetsItsRuleOfThumbAtOnce) {
    (void)profile().key("f");
    optimizer_.anticipate();
    EXPECT_TRUE(optimizer_.has_work());
    work_all();
    EXPECT_EQ(level("f"), 1);
    EXPECT_EQ(target_.in_force->name, "rule");
    EXPECT_EQ(optimizer_.recalled(), 0u);
    EXPECT_EQ(optimizer_.recalls_lost(), 0u);
    count_calls("f", 100);
    work_all();
    EXPECT_EQ(target_.in_force->name, "fast");
}

TEST_F(RecallTest, NothingIsAnticipatedWhereNothingIsAllowed) {
    (void)profile().key("f");
    optimizer_.set_mode(JitMode::kOff);
    optimizer_.anticipate();
    EXPECT_FALSE(optimizer_.has_work());
    EXPECT_EQ(level("f"), 0);
}

TEST_F(RecallTest, ARememberedChoiceThatLosesStartsTheSearch) {
    (void)profile().key("f");
    optimizer_.recall(choice_of("f", "slow", 2));
    work_all();
    EXPECT_EQ(level("f"), 1);
    EXPECT_EQ(target_.in_force->name, "rule");
    EXPECT_EQ(optimizer_.recalls_lost(), 1u);
    EXPECT_EQ(find_try("slow")->verdict, TryVerdict::kLost);
    count_calls("f", 100);
    work_all();
    EXPECT_EQ(target_.in_force->name, "fast");
    EXPECT_EQ(level("f"), 2);
}

TEST_F(RecallTest, ARememberedChoiceThatIsWrongIsNotBelieved) {
    (void)profile().key("f");
    optimizer_.recall(choice_of("f", "wrong", 2));
    work_all();
    EXPECT_EQ(target_.in_force->name, "rule");
    EXPECT_EQ(find_try("wrong")->verdict, TryVerdict::kDiffered);
    EXPECT_EQ(optimizer_.recalls_lost(), 1u);
}

TEST_F(RecallTest, RememberedChoicesThatNobodyKnowsAreForgotten) {
    (void)profile().key("f");
    optimizer_.recall(choice_of("g", "fast", 2));  // no such function
    EXPECT_FALSE(optimizer_.has_work());
    optimizer_.recall(choice_of("f", "of yesterday", 2));  // no such candidate
    work_all();
    EXPECT_EQ(optimizer_.recalls_lost(), 1u);
    EXPECT_EQ(target_.in_force->name, "rule");
    count_calls("f", 100);
    work_all();
    EXPECT_EQ(target_.in_force->name, "fast");
}

TEST_F(RecallTest, TheRuleOfThumbCanBeRemembered) {
    (void)profile().key("f");
    optimizer_.recall(choice_of("f", "rule", 2));
    work_all();
    EXPECT_EQ(level("f"), 2);
    EXPECT_EQ(target_.in_force->name, "rule");
    EXPECT_EQ(gain().over_reference, 2000u);
    EXPECT_EQ(gain().over_rule, 1000u);
    EXPECT_EQ(optimizer_.recalled(), 1u);
}

// Level 3 had nothing faster than what level 2 had found.
TEST_F(RecallTest, ARememberedChoiceMayBeOfALowerLevelThanItsFunction) {
    target_.levels[3] = {{.name = "no better", .run_ticks = 300}};
    count_calls("f", 1'000'000);
    work_all();
    std::array<TunedChoice, 4> before;
    ASSERT_EQ(optimizer_.choices(before), 1u);
    ASSERT_TRUE(before[0].same_choice(choice_of("f", "fast", 3)));

    optimizer_.remove_all();
    optimizer_.clear_counters();
    profile().clear_counters();
    ASSERT_TRUE(optimizer_.add(target_).ok());
    optimizer_.recall(before[0]);
    work_all();
    EXPECT_EQ(optimizer_.recalled(), 1u);
    EXPECT_EQ(optimizer_.recalls_lost(), 0u);
    EXPECT_EQ(target_.in_force->name, "fast");
    EXPECT_EQ(level("f"), 3);
    count_calls("f", 1'000'000);
    EXPECT_FALSE(optimizer_.has_work());
}

TEST_F(RecallTest, ARememberedChoiceThatIsInForceAlreadyIsKept) {
    optimizer_.remove_all();
    target_.levels[2] = {{.name = "rule", .run_ticks = 500}};
    target_.starts_by_rule = true;
    ASSERT_TRUE(optimizer_.add(target_).ok());
    optimizer_.recall(choice_of("f", "rule", 2));
    work_all();
    EXPECT_EQ(optimizer_.recalled(), 1u);
    std::array<TunedChoice, 4> out;
    ASSERT_EQ(optimizer_.choices(out), 1u);
    EXPECT_TRUE(out[0].same_choice(choice_of("f", "rule", 2)));
}

// A start is a noisy time: the model is being read, memory is new.
TEST_F(RecallTest, ARememberedChoiceIsNotLostToAFewBadMeasurements) {
    optimizer_.remove_all();
    target_.starts_by_rule = true;
    ASSERT_TRUE(optimizer_.add(target_).ok());
    target_.slow_runs = 7;
    optimizer_.recall(choice_of("f", "fast", 2));
    work_all();
    EXPECT_EQ(target_.slow_runs, 0u);
    EXPECT_EQ(target_.in_force->name, "fast");
    EXPECT_EQ(optimizer_.recalls_lost(), 0u);
}

TEST_F(RecallTest, ItSaysWhileThereAreRememberedChoicesToLookAt) {
    EXPECT_FALSE(optimizer_.is_recalling());
    optimizer_.recall(choice_of("f", "fast", 2));
    EXPECT_TRUE(optimizer_.is_recalling());
    optimizer_.work(now_ticks + 1);
    EXPECT_TRUE(optimizer_.is_recalling());
    // Not until the rule of thumb was timed beside it.
    while (optimizer_.is_recalling()) {
        ASSERT_TRUE(optimizer_.has_work());
        optimizer_.work(now_ticks + 1);
    }
    EXPECT_EQ(target_.in_force->name, "fast");
    EXPECT_EQ(find_try("rule"), nullptr);
    optimizer_.recall(choice_of("f", "fast", 2));
    optimizer_.remove_all();
    EXPECT_FALSE(optimizer_.is_recalling());
}

TEST_F(RecallTest, AModeForbidsRememberedChoicesToo) {
    optimizer_.set_mode(JitMode::kBaseline);
    (void)profile().key("f");
    optimizer_.recall(choice_of("f", "fast", 2));
    work_all();
    EXPECT_EQ(target_.in_force->name, "rule");
    EXPECT_EQ(optimizer_.try_count(), 1u);
    optimizer_.set_mode(JitMode::kFull);
    optimizer_.recall(choice_of("f", "fast", 2));
    optimizer_.work(now_ticks + 1);
    optimizer_.set_mode(JitMode::kOff);
    EXPECT_EQ(target_.in_hand, nullptr);
    EXPECT_FALSE(optimizer_.has_work());
}

TEST_F(RecallTest, ChoicesCanBeRememberedAsTheyAre) {
    std::array<TunedChoice, 4> out;
    EXPECT_EQ(optimizer_.choices(out), 0u);
    const uint64_t before = optimizer_.revision();
    count_calls("f", 100);
    work_all();
    EXPECT_NE(optimizer_.revision(), before);
    ASSERT_EQ(optimizer_.choices(out), 1u);
    EXPECT_TRUE(out[0].same_choice(choice_of("f", "fast", 2)));
    EXPECT_EQ(out[0].ticks, 200u);
    EXPECT_EQ(out[0].rule_ticks, 500u);
    const uint64_t after = optimizer_.revision();
    EXPECT_EQ(optimizer_.choices(std::span(out).first(0)), 0u);
    count_calls("f", 100);
    work_all();
    EXPECT_EQ(optimizer_.revision(), after);
    optimizer_.set_mode(JitMode::kOff);
    EXPECT_EQ(optimizer_.choices(out), 0u);
    EXPECT_NE(optimizer_.revision(), after);
}

}  // namespace
}  // namespace bareflow
