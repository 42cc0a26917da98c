#include "kernel_lib/jit/try_log.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "tests/unit/jit/fake_target.h"

namespace bareflow {
namespace {

using fakes::count_calls;
using fakes::fake_clock;
using fakes::now_ticks;

class TryLogTest : public fakes::TargetTest {};

TEST_F(TryLogTest, AnEntrySaysWhatWasTriedAndWhen) {
    target_.levels[2] = {{.name = "a variant with a name of more than 32 bytes"}};
    std::array<OptimizationTry, 2> room;
    TryLog log(room, fake_clock);
    EXPECT_EQ(log.count(), 0u);
    now_ticks = 77;
    log.add({&target_, 2, 0}, TryVerdict::kDiffered).code_bytes = 5;
    ASSERT_EQ(log.count(), 1u);
    EXPECT_STREQ(log.at(0).function, "f");
    EXPECT_EQ(log.at(0).variant(), "a variant with a name of more th");
    EXPECT_EQ(log.at(0).level, 2);
    EXPECT_EQ(log.at(0).verdict, TryVerdict::kDiffered);
    EXPECT_EQ(log.at(0).code_bytes, 5u);
    EXPECT_EQ(log.at(0).candidate_ticks, 0u);
    EXPECT_EQ(log.at(0).at_ticks, 77u);
}

TEST_F(TryLogTest, VerdictsAreCountedBeyondTheRoom) {
    std::array<OptimizationTry, 2> room;
    TryLog log(room, fake_clock);
    for (int i = 0; i < 5; ++i) {
        log.add({&target_, 1, 0}, TryVerdict::kLost);
    }
    EXPECT_EQ(log.count(), 2u);
    EXPECT_EQ(log.tries(TryVerdict::kLost), 5u);
    EXPECT_EQ(log.tries(TryVerdict::kWon), 0u);
    log.clear();
    EXPECT_EQ(log.count(), 0u);
    EXPECT_EQ(log.tries(TryVerdict::kLost), 0u);
}

TEST_F(TryLogTest, TheLogIsARing) {
    target_.levels[2].clear();
    for (int i = 0; i < 20; ++i) {
        target_.levels[2].push_back({.name = "slow " + std::to_string(i), .run_ticks = 9000});
    }
    count_calls("f", 100);
    work_all();
    ASSERT_EQ(optimizer_.try_count(), 8u);
    EXPECT_EQ(optimizer_.try_at(0).variant(), "slow 12");
    EXPECT_EQ(optimizer_.try_at(7).variant(), "slow 19");
    EXPECT_EQ(optimizer_.tries(TryVerdict::kLost), 20u);
    EXPECT_LE(optimizer_.try_at(6).at_ticks, optimizer_.try_at(7).at_ticks);
}

TEST(TryVerdictTest, VerdictsHaveNames) {
    EXPECT_EQ(verdict_name(TryVerdict::kWon), "won");
    EXPECT_EQ(verdict_name(TryVerdict::kLost), "lost");
    EXPECT_EQ(verdict_name(TryVerdict::kDiffered), "differed");
    EXPECT_EQ(verdict_name(TryVerdict::kUnavailable), "unavailable");
    EXPECT_EQ(verdict_name(TryVerdict::kFaulted), "faulted");
    EXPECT_EQ(verdict_name(TryVerdict::kOverran), "overran");
}

}  // namespace
}  // namespace bareflow
