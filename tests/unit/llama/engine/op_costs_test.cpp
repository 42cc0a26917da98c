// Decisions from scripted measurements: pieces, sharing, going singly, trials, and the profile.
#include "llama/engine/op_costs.h"

#include <gtest/gtest.h>

#include <string>

#include "kernel_lib/jit_runtime.h"

namespace bareflow::llama {
namespace {

using DoneBy = OpCosts::DoneBy;

OpCosts make(uint32_t capacity = 4) {
    auto costs = OpCosts::create(capacity);
    EXPECT_TRUE(costs.ok());
    return std::move(costs).value();
}

TEST(OpCostsTest, OneEntryForAName) {
    OpCosts costs = make();
    const uint32_t a = costs.find_or_add("op_costs_test 1x2");
    const std::string same = "op_costs_test 1x2";
    EXPECT_EQ(costs.find_or_add(same), a);
    EXPECT_NE(costs.find_or_add("op_costs_test 1x3"), a);
    EXPECT_EQ(intern_name(same), intern_name("op_costs_test 1x2"));
    EXPECT_NE(intern_name("op_costs_test 1x"), intern_name("op_costs_test 1x2"));
}

TEST(OpCostsTest, AnUnknownCostIsTriedWithOneUnit) {
    OpCosts costs = make();
    const uint32_t op = costs.find_or_add("op_costs_test unknown");
    EXPECT_EQ(costs.units_within(op, 1000, 1u << 30), 1u);
}

TEST(OpCostsTest, UnitsFillTheBudget) {
    OpCosts costs = make();
    const uint32_t op = costs.find_or_add("op_costs_test budget");
    costs.record(op, 10, 1000, 1000, false);  // 100 a unit
    EXPECT_EQ(costs.units_within(op, 1000, 5000), 50u);
    EXPECT_EQ(costs.units_within(op, 30, 5000), 30u);
    EXPECT_EQ(costs.units_within(op, 1000, 0), 1u);
    EXPECT_EQ(costs.units_within(op, 1000, 99), 1u);
    EXPECT_EQ(costs.units_within(op, UINT32_MAX, UINT64_MAX), UINT32_MAX);
    EXPECT_EQ(costs.units_within(op, UINT32_MAX, uint64_t{1} << 47), UINT32_MAX);
}

TEST(OpCostsTest, ARiseIsBelievedAtOnceAFallByAndBy) {
    OpCosts costs = make();
    const uint32_t op = costs.find_or_add("op_costs_test rise");
    costs.record(op, 1, 100, 100, false);
    costs.record(op, 1, 1000, 1100, false);
    EXPECT_EQ(costs.units_within(op, 1000, 10000), 10u);
    costs.record(op, 1, 100, 1200, false);
    EXPECT_EQ(costs.units_within(op, 1000, 10000), 12u);  // 775 a unit
    for (int i = 0; i < 30; ++i) {
        costs.record(op, 1, 100, 1300, false);
    }
    EXPECT_NEAR(costs.units_within(op, 1000, 10000), 100, 3);
}

TEST(OpCostsTest, OddMeasurementsDoNoHarm) {
    OpCosts costs = make();
    const uint32_t op = costs.find_or_add("op_costs_test odd");
    costs.record(op, 100, 0, 0, false);  // faster than the clock
    EXPECT_EQ(costs.units_within(op, 7, 1), 7u);
    costs.record(op, 1, uint64_t{1} << 50, uint64_t{1} << 50, false);  // the machine was suspended
    EXPECT_EQ(costs.units_within(op, UINT32_MAX, 1u << 23), 1u);
    costs.record(op, 1, 1, 1, false);
    EXPECT_GE(costs.units_within(op, UINT32_MAX, 1u << 23), 1u);
}

TEST(OpCostsTest, TheFasterWayIsTaken) {
    using Sharing = OpCosts::Sharing;
    OpCosts costs = make();
    const uint32_t op = costs.find_or_add("op_costs_test shared");
    EXPECT_FALSE(costs.share(op, 1000, 1, Sharing::kAlways));  // nothing is known: alone first
    EXPECT_TRUE(costs.share(op, 1000, 0, Sharing::kAlways));
    costs.record(op, 10, 400, 400, false);
    EXPECT_TRUE(costs.share(op, 1000, 30000, Sharing::kMeasured));  // not tried yet
    EXPECT_TRUE(costs.share(op, 1000, 30000, Sharing::kAlways));
    EXPECT_FALSE(costs.share(op, 1000, 50000, Sharing::kAlways));  // too short
    EXPECT_FALSE(costs.share(op, 1000, 0, Sharing::kNever));
    const auto shared = [&](uint64_t ticks) {
        for (int i = 0; i < 100; ++i) {
            costs.record(op, 10, ticks, 500, false, DoneBy::kSeveral);
        }
        return costs.share(op, 1000, 30000, Sharing::kMeasured);
    };
    EXPECT_TRUE(shared(200));
    EXPECT_FALSE(shared(600));
    EXPECT_TRUE(shared(390));
}

// Otherwise the first batches of four clients would pay for trials that those of two have made.
TEST(OpCostsTest, ALesserClassCountsUntilThisOneIsMeasured) {
    using Sharing = OpCosts::Sharing;
    OpCosts costs = make(OpCosts::kReserved + OpCosts::kEntries);
    const OpCosts::Part part{"op_costs_test classes", 1};
    const uint32_t one = costs.find_or_add_batched({&part, 1});
    const uint32_t four = one + OpCosts::batch_class(4);
    EXPECT_FALSE(costs.share(four, 1000, 30000, Sharing::kMeasured));
    EXPECT_FALSE(costs.share(four, 1000, 30000, Sharing::kAlways));
    costs.record(one, 10, 400, 400, false);
    costs.record(one, 10, 250, 700, false, DoneBy::kSeveral);
    EXPECT_TRUE(costs.share(four, 1000, 30000, Sharing::kMeasured));
    EXPECT_FALSE(costs.share(four, 1000, 50000, Sharing::kMeasured));  // too short
    costs.record(four, 10, 400, 1100, false);
    EXPECT_TRUE(costs.share(four, 1000, 30000, Sharing::kMeasured));
    for (int i = 0; i < 10; ++i) {
        costs.record(four, 10, 800, 2000, false, DoneBy::kSeveral);
    }
    EXPECT_FALSE(costs.share(four, 1000, 30000, Sharing::kMeasured));  // its own, now
    EXPECT_TRUE(costs.share(one, 1000, 30000, Sharing::kMeasured));
    EXPECT_FALSE(costs.share(one + OpCosts::batch_class(9), 1000, 30000, Sharing::kMeasured));
}

TEST(OpCostsTest, WhatIsLongEnoughIsSharedBeforeAnybodyTried) {
    using Sharing = OpCosts::Sharing;
    OpCosts costs = make();
    const uint32_t op = costs.find_or_add("op_costs_test long");
    costs.record(op, 1, 100, 100, false);
    EXPECT_FALSE(costs.share(op, 200, 30000, Sharing::kMeasured));
    EXPECT_TRUE(costs.share(op, 2000, 30000, Sharing::kMeasured));
    for (int i = 0; i < 10; ++i) {
        costs.record(op, 1, 150, 300, false, DoneBy::kSeveral);
    }
    EXPECT_FALSE(costs.share(op, 2000, 30000, Sharing::kMeasured));
}

// The time that one processor has used ends a trial: only the first of many layers are slower.
TEST(OpCostsTest, ATrialOfALongOperationIsShort) {
    using Sharing = OpCosts::Sharing;
    constexpr uint64_t kPart = OpCosts::kTrialTicks / 2 + 1;
    OpCosts costs = make();
    const uint32_t op = costs.find_or_add("op_costs_test trial");
    costs.begin_batch();
    costs.record(op, 10, kPart, kPart, false);
    costs.record(op, 10, kPart / 2, 2 * kPart, false, DoneBy::kSeveral);
    EXPECT_FALSE(costs.share(op, 10, 1, Sharing::kNever));
    costs.record(op, 10, kPart, 3 * kPart, true);
    EXPECT_TRUE(costs.share(op, 10, 1, Sharing::kNever));
    EXPECT_FALSE(costs.share(op, 10, kPart + kPart / 2, Sharing::kNever));  // too short anyway
    costs.begin_batch();
    EXPECT_FALSE(costs.share(op, 10, 1, Sharing::kNever));
}

// The first measurement is of one cold unit.
TEST(OpCostsTest, OneMeasurementThatWasInterruptedChangesNoDecision) {
    OpCosts costs = make();
    const uint32_t op = costs.find_or_add("op_costs_test interrupted");
    constexpr auto kMeasured = OpCosts::Sharing::kMeasured;
    for (uint32_t i = 0; i < 4; ++i) {
        costs.record(op, 10, 1000, 0, true);
        costs.record(op, 10, 2500, 0, true, DoneBy::kSeveral);
    }
    ASSERT_FALSE(costs.share(op, 10, 100, kMeasured));
    costs.record(op, 10, 1'000'000, 0, true);
    EXPECT_FALSE(costs.share(op, 10, 100, kMeasured));
    // An operation that really takes this long shows it again and again.
    for (uint32_t i = 0; i < 16; ++i) {
        costs.record(op, 10, 1'000'000, 0, true);
    }
    EXPECT_TRUE(costs.share(op, 10, 100, kMeasured));
}

// The other processors were asleep and came late: this measures neither way.
TEST(OpCostsTest, WhatWakingTakesIsNoMeasurement) {
    using Sharing = OpCosts::Sharing;
    OpCosts costs = make();
    const uint32_t op = costs.find_or_add("op_costs_test waking");
    costs.record(op, 10, 400, 400, false);
    costs.record(op, 10, 250, 700, false, DoneBy::kSeveral);
    for (int i = 0; i < 100; ++i) {
        costs.record(op, 10, 4000, 5000, false, DoneBy::kWaking);
    }
    EXPECT_TRUE(costs.share(op, 1000, 30000, Sharing::kMeasured));
    EXPECT_FALSE(costs.share(op, 1000, 50000, Sharing::kAlways));  // too short: 40 a unit alone
    EXPECT_EQ(costs.units_within(op, 100, 4000), 10u);             // but pieces are cut by it
}

// A deadline cuts off a short piece. Sharing it costs as much as sharing a whole operation.
TEST(OpCostsTest, PiecesCountByTheirUnits) {
    using Sharing = OpCosts::Sharing;
    OpCosts costs = make();
    const uint32_t op = costs.find_or_add("op_costs_test pieces of one");
    for (int i = 0; i < 20; ++i) {
        costs.record(op, 1000, 40'000, 0, true);
        costs.record(op, 990, 30'000, 0, false, DoneBy::kSeveral);
        costs.record(op, 10, 5'000, 0, true, DoneBy::kSeveral);
    }
    EXPECT_TRUE(costs.share(op, 1000, 30000, Sharing::kMeasured));
}

// One batch in which code was cold or a processor came late, and then a lasting change.
TEST(OpCostsTest, OneBadBatchChangesNoDecisionTwoDo) {
    using Sharing = OpCosts::Sharing;
    OpCosts costs = make();
    const uint32_t op = costs.find_or_add("op_costs_test bad batch");
    const auto batch = [&](uint64_t alone, uint64_t shared) {
        costs.begin_batch();
        for (int i = 0; i < 12; ++i) {
            costs.record(op, 10, alone, 0, true);
            costs.record(op, 10, shared, 0, true, DoneBy::kSeveral);
        }
        return costs.share(op, 1000, 30000, Sharing::kMeasured);
    };
    EXPECT_FALSE(batch(400, 1200));  // cold
    EXPECT_TRUE(batch(400, 250));
    EXPECT_TRUE(batch(400, 900));
    EXPECT_TRUE(batch(400, 250));
    EXPECT_TRUE(batch(400, 900));
    EXPECT_FALSE(batch(400, 900));
}

TEST(OpCostsTest, TheFirstMeasurementIsForgotten) {
    using Sharing = OpCosts::Sharing;
    OpCosts costs = make();
    const uint32_t op = costs.find_or_add("op_costs_test cold");
    costs.record(op, 1, 5000, 5000, false);
    costs.record(op, 10, 400, 6000, false);
    costs.record(op, 10, 600, 7000, false, DoneBy::kSeveral);
    EXPECT_FALSE(costs.share(op, 1000, 30000, Sharing::kMeasured));
}

TEST(OpCostsTest, BothWaysAreTriedAgainAndAgain) {
    using Sharing = OpCosts::Sharing;
    int counts[3] = {};
    for (uint64_t token = 0; token < 1000; ++token) {
        ++counts[static_cast<size_t>(OpCosts::trial(token))];
    }
    EXPECT_NE(OpCosts::trial(0), Sharing::kAlways);
    EXPECT_GT(counts[static_cast<size_t>(Sharing::kAlways)], 10);
    EXPECT_GT(counts[static_cast<size_t>(Sharing::kNever)], 10);
    EXPECT_GT(counts[static_cast<size_t>(Sharing::kMeasured)], 950);
    // A long prompt has few batches: only the first is not shared.
    const uint32_t many = OpCosts::batch_class(8);
    EXPECT_EQ(OpCosts::trial(0, many), Sharing::kMeasured);
    EXPECT_EQ(OpCosts::trial(1, many), Sharing::kAlways);
    for (uint64_t batch = 2; batch < 64; ++batch) {
        EXPECT_EQ(OpCosts::trial(batch, many), Sharing::kMeasured);
    }
    EXPECT_EQ(OpCosts::trial(64, many), Sharing::kNever);
}

TEST(OpCostsTest, SmallBatchesGoSinglyWhereThatIsFaster) {
    OpCosts costs = make(OpCosts::kReserved + OpCosts::kEntries);
    const OpCosts::Part part{"op_costs_test singly", 1};
    const uint32_t op = costs.find_or_add_batched({&part, 1});
    const uint32_t two = OpCosts::batch_class(2);
    const uint32_t singly = OpCosts::singly(op, two);
    const auto measure = [&](uint32_t entry, uint64_t ticks, bool shared = false) {
        for (int i = 0; i < 100; ++i) {
            costs.record(entry, 10, ticks, 500, false, shared ? DoneBy::kSeveral : DoneBy::kOne);
        }
    };
    EXPECT_FALSE(costs.goes_singly(op, two, false));  // nothing is known
    measure(op + two, 400);
    EXPECT_FALSE(costs.goes_singly(op, two, false));  // not tried yet
    measure(singly, 500);
    EXPECT_FALSE(costs.goes_singly(op, two, false));
    measure(singly, 300, true);  // and shared
    EXPECT_TRUE(costs.goes_singly(op, two, false));
    measure(op + two, 200, true);
    EXPECT_FALSE(costs.goes_singly(op, two, false));
    // Nothing is known of four tokens. One token and many have no choice, even in a trial.
    EXPECT_FALSE(costs.goes_singly(op, OpCosts::batch_class(4), false));
    for (const uint32_t tokens : {1u, 8u, 128u}) {
        EXPECT_FALSE(costs.goes_singly(op, OpCosts::batch_class(tokens), true));
    }
}

TEST(OpCostsTest, ATrialOfGoingSinglyIsShort) {
    constexpr uint64_t kPart = OpCosts::kTrialTicks / 2 + 1;
    OpCosts costs = make(OpCosts::kReserved + OpCosts::kEntries);
    const OpCosts::Part part{"op_costs_test singly trial", 1};
    const uint32_t op = costs.find_or_add_batched({&part, 1});
    const uint32_t four = OpCosts::batch_class(4);
    costs.begin_batch();
    costs.record(op + four, 10, 10, 10, true, DoneBy::kSeveral);
    for (const bool shared : {true, false}) {
        EXPECT_TRUE(costs.goes_singly(op, four, true));
        costs.record(OpCosts::singly(op, four), 10, kPart, 3 * kPart, true,
                     shared ? DoneBy::kSeveral : DoneBy::kOne);
    }
    EXPECT_FALSE(costs.goes_singly(op, four, true));
    costs.begin_batch();
    EXPECT_TRUE(costs.goes_singly(op, four, true));
}

TEST(OpCostsTest, GoingSinglyIsTriedInBothWaysOfSharing) {
    for (const uint32_t tokens : {2u, 7u}) {
        const uint32_t batch_class = OpCosts::batch_class(tokens);
        int counts[2][3] = {};
        for (uint64_t batch = 0; batch < 1000; ++batch) {
            ++counts[OpCosts::tries_singly(batch, batch_class)]
                    [static_cast<size_t>(OpCosts::trial(batch, batch_class))];
        }
        for (const auto sharing : {OpCosts::Sharing::kAlways, OpCosts::Sharing::kNever}) {
            EXPECT_GT(counts[0][static_cast<size_t>(sharing)], 10);
            EXPECT_GT(counts[1][static_cast<size_t>(sharing)], 10);
        }
        EXPECT_EQ(counts[1][static_cast<size_t>(OpCosts::Sharing::kMeasured)], 0);
        EXPECT_GT(counts[0][static_cast<size_t>(OpCosts::Sharing::kMeasured)], 900);
    }
    EXPECT_FALSE(OpCosts::tries_singly(5, OpCosts::batch_class(1)));
    EXPECT_FALSE(OpCosts::tries_singly(5, OpCosts::batch_class(8)));
}

TEST(OpCostsTest, PiecesAreOneCallInTheProfile) {
    const uint64_t unbalanced = jit_get_unbalanced_count();
    OpCosts costs = make();
    const char *const name = "op_costs_test pieces";
    const uint32_t op = costs.find_or_add(name);
    costs.record(op, 3, 100, 1100, false);
    costs.record(op, 3, 150, 2000, false);
    EXPECT_EQ(jit_get_call_count(name), 0u);
    costs.record(op, 1, 50, 3000, true);
    EXPECT_EQ(jit_get_call_count(name), 1u);
    EXPECT_EQ(jit_get_avg_cycles(name), 300u);
    costs.record(op, 1, 7000, 11000, false);
    costs.abandon(op);
    costs.record(op, 1, 100, 12000, true);
    EXPECT_EQ(jit_get_call_count(name), 2u);
    EXPECT_EQ(jit_get_avg_cycles(name), 200u);
    EXPECT_EQ(jit_get_unbalanced_count(), unbalanced);
}

TEST(OpCostsTest, ABatchIsClassedByItsTokens) {
    EXPECT_EQ(OpCosts::batch_class(1), 0u);
    EXPECT_EQ(OpCosts::batch_class(2), 1u);
    EXPECT_EQ(OpCosts::batch_class(3), 1u);
    EXPECT_EQ(OpCosts::batch_class(31), 4u);
    EXPECT_EQ(OpCosts::batch_class(32), 5u);
    EXPECT_EQ(OpCosts::batch_class(UINT32_MAX), OpCosts::kBatchClasses - 1);
}

TEST(OpCostsTest, PartsShareTheTime) {
    OpCosts costs = make(OpCosts::kReserved + 2 * OpCosts::kEntries);
    const OpCosts::Part parts[] = {{"op_costs_test part 1", 30}, {"op_costs_test part 2", 10}};
    const uint32_t op = costs.find_or_add_batched(parts);
    EXPECT_EQ(costs.find_or_add_batched(parts), op);
    costs.record(op + 1, 1, 300, 1000, false);
    EXPECT_EQ(costs.units_within(op, 10, 3000), 1u);  // of another class
    EXPECT_EQ(costs.units_within(op + 1, 10, 600), 2u);
    costs.record(op + 1, 1, 100, 1100, true);
    EXPECT_EQ(jit_get_avg_cycles("op_costs_test part 1"), 300u);
    EXPECT_EQ(jit_get_avg_cycles("op_costs_test part 2"), 100u);

    const uint32_t one = costs.find_or_add_batched(std::span(parts).first(1));
    EXPECT_NE(one, op);
    // No more room: the last operation stands for all. find_or_add() still has its reserve.
    EXPECT_EQ(costs.find_or_add_batched(std::span(parts).last(1)), one);
    EXPECT_GT(costs.find_or_add("op_costs_test single"), one);
}

}  // namespace
}  // namespace bareflow::llama
