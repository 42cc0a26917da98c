// The guided search on fake candidates whose cost grows with the distance from a known best one.
#include "kernel_lib/jit/field_search.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "tests/unit/jit/fake_target.h"

namespace bareflow {
namespace {

using fakes::count_calls;
using fakes::FakeCandidate;

class FieldSearchTest : public fakes::TargetTest {
  protected:
    // Families by rows x unroll x prefetch; what is far from the best place costs more.
    void make_field(uint16_t families, uint16_t best_family, std::array<uint8_t, 3> best) {
        target_.levels[2].clear();
        for (uint16_t family = 1; family <= families; ++family) {
            for (uint8_t a = 0; a < 4; ++a) {
                for (uint8_t b = 0; b < 3; ++b) {
                    for (uint8_t c = 0; c < 2; ++c) {
                        const int far =
                            std::abs(a - best[0]) + std::abs(b - best[1]) + std::abs(c - best[2]);
                        const uint64_t ticks = 200u + static_cast<uint64_t>(40 * far) +
                                               (family != best_family ? 300 : 0);
                        target_.levels[2].push_back({.name = std::to_string(family) + "/" +
                                                             std::to_string(a) + std::to_string(b) +
                                                             std::to_string(c),
                                                     .run_ticks = ticks,
                                                     .check_steps = 4,
                                                     .family = family,
                                                     .knobs = {a, b, c}});
                    }
                }
            }
        }
    }
};

TEST_F(FieldSearchTest, TheBestIsFoundThroughItsNeighbours) {
    for (const uint16_t family : {1, 2, 4}) {
        for (uint8_t a = 0; a < 4; ++a) {
            optimizer_.remove_all();
            ASSERT_TRUE(optimizer_.add(target_).ok());
            make_field(4, family, {a, 2, 1});
            target_.prepared.clear();
            optimizer_.clear_counters();
            count_calls("f", 100);
            work_all();
            EXPECT_EQ(target_.in_force->name,
                      std::to_string(family) + "/" + std::to_string(a) + "21");
            // Of 96, less than a third was ever made.
            EXPECT_LT(target_.prepared.size(), 32u);
            EXPECT_GT(optimizer_.left_out(), 64u);
            EXPECT_EQ(level("f"), 2);
        }
    }
}

// Every try has one verdict, however often it was timed.
TEST_F(FieldSearchTest, EveryTryIsReportedOnce) {
    make_field(4, 3, {3, 0, 1});
    count_calls("f", 100);
    work_all();
    uint64_t tries = 0;
    for (size_t i = 0; i < kTryVerdicts; ++i) {
        tries += optimizer_.tries(static_cast<TryVerdict>(i));
    }
    EXPECT_EQ(tries, target_.prepared.size());
    EXPECT_EQ(optimizer_.tries(TryVerdict::kWon), 2u);  // the rule of thumb, and the best
}

// The worse half is timed for a moment only.
TEST_F(FieldSearchTest, OnlyTheBetterHalfIsTimedForLonger) {
    target_.levels[2].clear();
    for (int i = 0; i < 8; ++i) {
        target_.levels[2].push_back(
            {.name = std::to_string(i), .run_ticks = 200 + 20 * static_cast<uint64_t>(i)});
    }
    count_calls("f", 100);
    work_all();
    EXPECT_EQ(target_.prepared["0"], 3);  // a moment, longer, judged
    EXPECT_EQ(target_.prepared["3"], 2);
    EXPECT_EQ(target_.prepared["7"], 1);
    EXPECT_EQ(target_.in_force->name, "0");
}

TEST_F(FieldSearchTest, AFamilyWhoseFirstCannotBeUsedHasASecond) {
    target_.levels[2] = {{.name = "a0", .available = false, .family = 1},
                         {.name = "a1", .differs = true, .family = 1, .knobs = {1}},
                         {.name = "a2", .run_ticks = 100, .family = 1, .knobs = {2}},
                         {.name = "b", .run_ticks = 300}};
    count_calls("f", 100);
    work_all();
    EXPECT_EQ(target_.in_force->name, "a2");
    EXPECT_EQ(find_try("a0")->verdict, TryVerdict::kUnavailable);
    EXPECT_EQ(find_try("a1")->verdict, TryVerdict::kDiffered);
}

// What was compared for a moment only is compared to the end before it is put into force.
TEST_F(FieldSearchTest, AWinnerIsProved) {
    make_field(1, 1, {2, 2, 1});
    for (FakeCandidate &candidate : target_.levels[2]) {
        if (candidate.name == "1/221") {
            candidate.differs = true;
        }
    }
    count_calls("f", 100);
    work_all();
    EXPECT_EQ(find_try("1/221")->verdict, TryVerdict::kDiffered);
    EXPECT_EQ(target_.in_force->run_ticks, 240u);  // next to it
}

TEST_F(FieldSearchTest, WhatIsInForceHasNeighboursToo) {
    make_field(1, 1, {0, 0, 0});
    target_.levels[1] = {{.name = "1/000", .run_ticks = 200}};
    count_calls("f", 100);
    work_all();
    EXPECT_EQ(target_.in_force->name, "1/000");
    EXPECT_LT(target_.prepared.size(), 10u);
    EXPECT_EQ(level("f"), 2);
}

}  // namespace
}  // namespace bareflow
