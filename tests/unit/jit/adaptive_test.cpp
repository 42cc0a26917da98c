// The rules of the optimiser without an optimiser: levels, verdicts over noisy pairs of times, the
// share of time it may use, and drift.
#include "kernel_lib/jit/adaptive.h"

#include <gtest/gtest.h>

#include <algorithm>

#include <vector>

namespace bareflow {
namespace {

constexpr JitThresholds kThresholds = {.warm = 10, .hot = 100, .very_hot = 1000};

TEST(AdaptiveTest, LevelsComeOneAfterTheOther) {
    EXPECT_EQ(level_to_consider(0, kThresholds, 0, JitMode::kFull), 0);
    EXPECT_EQ(level_to_consider(9, kThresholds, 0, JitMode::kFull), 0);
    EXPECT_EQ(level_to_consider(10, kThresholds, 0, JitMode::kFull), 1);
    EXPECT_EQ(level_to_consider(99, kThresholds, 1, JitMode::kFull), 0);
    EXPECT_EQ(level_to_consider(100, kThresholds, 1, JitMode::kFull), 2);
    EXPECT_EQ(level_to_consider(1000, kThresholds, 2, JitMode::kFull), 3);
    EXPECT_EQ(level_to_consider(~0ull, kThresholds, 3, JitMode::kFull), 0);
    // However hot: the rule of thumb first.
    EXPECT_EQ(level_to_consider(~0ull, kThresholds, 0, JitMode::kFull), 1);
}

TEST(AdaptiveTest, TheModeLimitsTheLevel) {
    EXPECT_EQ(level_to_consider(5000, kThresholds, 0, JitMode::kOff), 0);
    EXPECT_EQ(level_to_consider(5000, kThresholds, 0, JitMode::kBaseline), 1);
    EXPECT_EQ(level_to_consider(5000, kThresholds, 1, JitMode::kBaseline), 0);
}

TEST(AdaptiveTest, MedianOfAnyOrder) {
    const auto of = [](std::vector<uint64_t> values) { return median(values); };
    EXPECT_EQ(of({}), 0u);
    EXPECT_EQ(of({7}), 7u);
    EXPECT_EQ(of({9, 1}), 1u);
    EXPECT_EQ(of({3, 1, 2}), 2u);
    EXPECT_EQ(of({5, 5, 5, 1}), 5u);
    EXPECT_EQ(of({4, 1, 3, 2, 1000000}), 3u);
}

// Feeds pairs until there is a verdict; how many it took goes to `pairs`.
TimingVerdict decide(const std::vector<uint64_t> &current, const std::vector<uint64_t> &candidate,
                     size_t *pairs = nullptr) {
    PairedTimes times;
    for (size_t i = 0;; ++i) {
        times.add(current[i % current.size()], candidate[i % candidate.size()]);
        const TimingVerdict verdict = judge(times);
        if (verdict != TimingVerdict::kMore) {
            if (pairs != nullptr) {
                *pairs = times.count();
            }
            return verdict;
        }
        if (i > 2 * PairedTimes::kMaxPairs) {
            ADD_FAILURE() << "no verdict";
            return verdict;
        }
    }
}

TEST(AdaptiveTest, ClearCasesAreSettledEarly) {
    size_t pairs = 0;
    EXPECT_EQ(decide({100000}, {50000}, &pairs), TimingVerdict::kWon);
    EXPECT_EQ(pairs, 3u);
    EXPECT_EQ(decide({100000}, {1000000}, &pairs), TimingVerdict::kLost);
    EXPECT_EQ(pairs, 3u);
}

TEST(AdaptiveTest, AWinMustExceedTheNoise) {
    EXPECT_EQ(decide({100000}, {100000}), TimingVerdict::kLost);
    EXPECT_EQ(decide({100000}, {98000}), TimingVerdict::kLost);
    EXPECT_EQ(decide({100000}, {97000}), TimingVerdict::kLost);
    EXPECT_EQ(decide({100}, {97}), TimingVerdict::kLost);
    EXPECT_EQ(decide({100}, {96}), TimingVerdict::kWon);
    EXPECT_EQ(decide({100000}, {96900}), TimingVerdict::kWon);
    EXPECT_EQ(decide({100000}, {103000}), TimingVerdict::kLost);
    EXPECT_EQ(decide({0}, {0}), TimingVerdict::kLost);
}

// Preemptions hit some runs of either side.
TEST(AdaptiveTest, SpoiledRunsDoNotDecide) {
    EXPECT_EQ(decide({100000, 100500, 9000000, 101000}, {90000, 8000000, 90500, 91000}),
              TimingVerdict::kWon);
    EXPECT_EQ(decide({9000000, 100000, 100500, 8000000, 100200}, {100100, 100000, 100300}),
              TimingVerdict::kLost);
    // One lucky run is no win: the median must agree; nor is one lucky median: so must the minimum.
    EXPECT_EQ(decide({100000}, {50000, 100000, 100000, 100000, 100000, 100000}),
              TimingVerdict::kLost);
    EXPECT_EQ(decide({60000, 100000, 100000}, {80000}), TimingVerdict::kLost);
}

TEST(AdaptiveTest, PairsAreBounded) {
    PairedTimes times;
    for (size_t i = 0; i < 100; ++i) {
        times.add(1, 2);
    }
    EXPECT_EQ(times.count(), PairedTimes::kMaxPairs);
    EXPECT_EQ(times.current().size(), PairedTimes::kMaxPairs);
}

// An interruption shows in one side of a pair: the pair is thrown away, wherever it came.
TEST(AdaptiveTest, PairsThatWereInterruptedAreThrownAway) {
    PairedTimes times;
    times.add(9000, 500);
    times.add(1000, 500);
    EXPECT_EQ(times.count(), 1u);
    EXPECT_EQ(times.spoiled(), 1u);
    times.add(1000, 1501);
    times.add(1001, 510);
    EXPECT_EQ(times.count(), 2u);
    EXPECT_EQ(times.spoiled(), 2u);
    EXPECT_EQ(smallest(times.current()), 1000u);
    EXPECT_EQ(median(times.candidate()), 500u);
    // Three times as long is still a time.
    times.add(3000, 1500);
    EXPECT_EQ(times.count(), 3u);
    // Not for ever: a machine that is always interrupted comes to an end, too.
    for (int i = 0; i < 100; ++i) {
        times.add(i % 2 == 0 ? 100000 : 1000, 500);
    }
    EXPECT_EQ(times.spoiled(), PairedTimes::kMaxSpoiled);
    EXPECT_EQ(times.count(), PairedTimes::kMaxPairs);
}

TEST(AdaptiveTest, TheShareOfTimeIsLimitedUnlessIdle) {
    EXPECT_TRUE(may_optimize(1000000, 0, 50, false));
    EXPECT_TRUE(may_optimize(1000000, 50000, 50, false));
    EXPECT_FALSE(may_optimize(1000000, 50001, 50, false));
    EXPECT_TRUE(may_optimize(1000000, 900000, 50, true));
    EXPECT_TRUE(may_optimize(~0ull, 1ull << 40, 50, false));  // no overflow
}

class DriftTest : public ::testing::Test {
  protected:
    // One window of calls that cost so much each.
    bool window(uint64_t cycles) {
        const uint64_t calls =
            std::max(DriftWatch::kWindowCalls, DriftWatch::kWindowCycles / cycles + 1);
        calls_ += calls;
        cycles_ += calls * cycles;
        return watch_.observe(calls_, cycles_);
    }
    int windows_until_drift(uint64_t cycles, int most) {
        for (int i = 1; i <= most; ++i) {
            if (window(cycles)) {
                return i;
            }
        }
        return 0;
    }

    DriftWatch watch_;
    uint64_t calls_ = 0;
    uint64_t cycles_ = 0;
};

TEST_F(DriftTest, NoiseIsNotDrift) {
    for (int i = 0; i < 1000; ++i) {
        ASSERT_FALSE(window(1000 + 397 * i % 499));
    }
    // Slow for a while, and then not: an interruption.
    for (int i = 0; i < 100; ++i) {
        ASSERT_EQ(windows_until_drift(3000, DriftWatch::kFirstPatience - 1), 0);
        ASSERT_FALSE(window(1000));
    }
}

TEST_F(DriftTest, SlowForGoodIsDriftOnce) {
    EXPECT_EQ(windows_until_drift(1000, 10), 0);
    EXPECT_EQ(windows_until_drift(1600, 10), static_cast<int>(DriftWatch::kFirstPatience));
    // The new cost is the measure now.
    EXPECT_EQ(windows_until_drift(1600, 100), 0);
    // The second time takes more to believe.
    EXPECT_EQ(windows_until_drift(3000, 100), static_cast<int>(2 * DriftWatch::kFirstPatience));
}

TEST_F(DriftTest, GettingFasterMovesTheMeasure) {
    EXPECT_EQ(windows_until_drift(3000, 10), 0);
    EXPECT_EQ(windows_until_drift(1000, 10), 0);
    EXPECT_NE(windows_until_drift(2000, 10), 0);
}

TEST_F(DriftTest, ClearedCountersAndShortWindowsSayNothing) {
    EXPECT_EQ(windows_until_drift(1000, 10), 0);
    EXPECT_FALSE(watch_.observe(0, 0));
    for (uint64_t call = 1; call < DriftWatch::kWindowCalls; ++call) {
        EXPECT_FALSE(watch_.observe(call, call * DriftWatch::kWindowCycles));
    }
    calls_ = cycles_ = 0;
    watch_.restart(0, 0);
    EXPECT_EQ(windows_until_drift(9000, 10), 0);
}

}  // namespace
}  // namespace bareflow
