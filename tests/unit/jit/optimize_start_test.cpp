// What is in force before anything was measured, and what replaces it, on a fake target.
#include "kernel_lib/jit/optimize.h"

#include <gtest/gtest.h>

#include <array>

#include "tests/unit/jit/fake_target.h"

namespace bareflow {
namespace {

using fakes::count_calls;

class StartTest : public fakes::TargetTest {
  protected:
    void start_by_rule() {
        optimizer_.remove_all();
        target_.starts_by_rule = true;
        ASSERT_TRUE(optimizer_.add(target_).ok());
    }
};

TEST_F(StartTest, ARuleIsInForceBeforeAnythingWasMeasured) {
    start_by_rule();
    EXPECT_EQ(target_.in_force->name, "rule");
    EXPECT_EQ(level("f"), 1);
    EXPECT_EQ(optimizer_.promotions(), 0u);
    std::array<TunedChoice, 4> out;
    EXPECT_EQ(optimizer_.choices(out), 0u);  // nothing that was found out
    optimizer_.anticipate();
    work_all();
    EXPECT_EQ(target_.in_force->name, "rule");
    EXPECT_EQ(optimizer_.promotions(), 0u);
    ASSERT_EQ(optimizer_.try_count(), 1u);
    // Against the reference, not against itself.
    EXPECT_EQ(optimizer_.try_at(0).current_ticks, 1000u);
    EXPECT_EQ(optimizer_.try_at(0).candidate_ticks, 500u);
    EXPECT_EQ(gain().over_reference, 2000u);
    EXPECT_EQ(gain().over_rule, 1000u);
    EXPECT_EQ(optimizer_.choices(out), 1u);
    count_calls("f", 100);
    work_all();
    EXPECT_EQ(target_.in_force->name, "fast");
    EXPECT_EQ(optimizer_.promotions(), 1u);
}

TEST_F(StartTest, AStartThatIsSlowerThanTheReferenceIsTakenBack) {
    target_.levels[1][0].run_ticks = 3000;
    start_by_rule();
    optimizer_.anticipate();
    work_all();
    EXPECT_EQ(target_.in_force, nullptr);
    EXPECT_EQ(level("f"), 0);
    EXPECT_EQ(find_try("rule")->verdict, TryVerdict::kLost);
    EXPECT_EQ(gain().over_reference, 1000u);
    EXPECT_NEAR(static_cast<double>(gain().over_rule), 3000, 5);
}

// Where memory is the limit, all are equally fast for a single vector: no reason to leave the
// start.
TEST_F(StartTest, AStartThatIsNoSlowerStays) {
    target_.levels[1][0].run_ticks = 1010;
    start_by_rule();
    optimizer_.anticipate();
    work_all();
    EXPECT_EQ(target_.in_force->name, "rule");
    EXPECT_EQ(level("f"), 1);
    EXPECT_EQ(find_try("rule")->verdict, TryVerdict::kLost);
    EXPECT_EQ(gain().over_reference, 990u);
    std::array<TunedChoice, 4> out;
    ASSERT_EQ(optimizer_.choices(out), 1u);
    EXPECT_EQ(out[0].variant.view(), "rule");
    EXPECT_EQ(optimizer_.promotions(), 0u);
    count_calls("f", 100);
    work_all();
    EXPECT_EQ(target_.in_force->name, "fast");
}

TEST_F(StartTest, BaselineStaysOnTheRuleEvenWhereItIsSlow) {
    target_.levels[1][0].run_ticks = 4000;
    optimizer_.set_mode(JitMode::kBaseline);
    start_by_rule();
    count_calls("f", 5000);
    work_all();
    EXPECT_EQ(target_.in_force->name, "rule");
    EXPECT_EQ(level("f"), 1);
    EXPECT_EQ(find_try("rule")->verdict, TryVerdict::kLost);
    EXPECT_EQ(gain().over_reference, 250u);
    EXPECT_EQ(gain().over_rule, 1000u);
    EXPECT_FALSE(optimizer_.has_work());
}

TEST_F(StartTest, AWrongStartIsTakenBackInEveryMode) {
    for (const JitMode mode : {JitMode::kBaseline, JitMode::kFull}) {
        optimizer_.set_mode(mode);
        target_.levels[1][0].differs = true;
        target_.levels[1][0].check_steps = 5;  // compared to the end before anything else
        start_by_rule();
        optimizer_.anticipate();
        work_all();
        EXPECT_EQ(target_.in_force, nullptr);
        EXPECT_EQ(level("f"), 0);
        EXPECT_EQ(target_.runs, 1u + (mode == JitMode::kFull));  // of the reference, for a deadline
    }
}

// What is in force at first may be better than the rule of thumb: that is timed for comparison.
TEST_F(StartTest, TheRuleOfThumbIsMeasuredBesideABetterStart) {
    target_.levels[1] = {{.name = "start", .run_ticks = 250}, {.name = "rule", .run_ticks = 2000}};
    target_.levels[2] = {{.name = "fast", .run_ticks = 200}};
    start_by_rule();
    optimizer_.anticipate();
    work_all();
    EXPECT_EQ(target_.in_force->name, "start");
    EXPECT_EQ(find_try("rule")->verdict, TryVerdict::kLost);
    EXPECT_EQ(gain().over_reference, 4000u);
    EXPECT_EQ(gain().over_rule, 8000u);
    count_calls("f", 100);
    work_all();
    EXPECT_EQ(gain().over_reference, 5000u);
    EXPECT_EQ(gain().over_rule, 10000u);
}

TEST_F(StartTest, TheReferenceIsInForceWhereNothingElseIsAllowed) {
    optimizer_.set_mode(JitMode::kOff);
    start_by_rule();
    EXPECT_EQ(target_.in_force, nullptr);
    optimizer_.set_mode(JitMode::kFull);
    EXPECT_EQ(target_.in_force->name, "rule");
    EXPECT_EQ(level("f"), 1);
}

}  // namespace
}  // namespace bareflow
