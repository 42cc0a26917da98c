// One try of one candidate on a fake target, without an optimiser around it. It covers
// comparisons, pairs of times, interruptions, and candidates that fault or never return.
#include "kernel_lib/jit/candidate_try.h"

#include <gtest/gtest.h>

#include "tests/unit/jit/fake_target.h"

namespace bareflow {
namespace {

using fakes::count_calls;
using fakes::fake_clock;

using Step = CandidateTry::Step;

class CandidateTryTest : public fakes::TargetTest {
  protected:
    // The candidate of level 2 in hand, from its preparation on.
    void start(uint32_t index, const CandidateTry::Terms &terms) {
        ASSERT_EQ(target_.prepare(2, index), OptimizationTarget::Prepared::kReady);
        try_.set_target(target_);
        try_.start({&target_, 2, index}, terms);
    }
    Step finish() {
        Step step = Step::kMore;
        for (int i = 0; i < 100 && step == Step::kMore; ++i) {
            step = try_.step();
        }
        return step;
    }

    CandidateTry try_{fake_clock};
};

TEST_F(CandidateTryTest, AScoreNeedsOnePartialComparisonAndItsPairs) {
    target_.levels[2] = {{.name = "some", .run_ticks = 600, .check_steps = 9}};
    start(0, {.pairs = 2});
    EXPECT_TRUE(try_.is_open());
    EXPECT_EQ(finish(), Step::kScored);
    EXPECT_FALSE(try_.is_open());
    EXPECT_EQ(try_.times().count(), 2u);
    EXPECT_EQ(try_.times().candidate()[0], 600u);
    EXPECT_EQ(try_.times().current()[0], 1000u);
    // The reference for a deadline, two runs to warm up, two pairs.
    EXPECT_EQ(target_.runs, 1u + 2u + 4u);
}

TEST_F(CandidateTryTest, AHopelessCandidateIsScoredByOnePair) {
    target_.levels[2] = {{.name = "slow", .run_ticks = 5000}};
    start(0, {.pairs = 12});
    EXPECT_EQ(finish(), Step::kScored);
    EXPECT_EQ(try_.times().count(), 1u);
}

TEST_F(CandidateTryTest, AWinnerIsComparedToTheEnd) {
    for (const bool differs : {false, true}) {
        target_.levels[2] = {
            {.name = "fast", .run_ticks = 100, .check_steps = 6, .differs = differs}};
        start(0, {.judged = true});
        EXPECT_EQ(finish(), Step::kDecided);
        EXPECT_EQ(try_.verdict(), differs ? TryVerdict::kDiffered : TryVerdict::kWon);
        EXPECT_EQ(try_.times().count() == 0, differs);
        target_.drop();
    }
}

TEST_F(CandidateTryTest, APatientTryTakesAllPairsBeforeItIsLost) {
    target_.levels[2] = {{.name = "slow", .run_ticks = 3000}};
    for (const bool patient : {false, true}) {
        start(0, {.judged = true, .patient = patient});
        EXPECT_EQ(finish(), Step::kDecided);
        EXPECT_EQ(try_.verdict(), TryVerdict::kLost);
        EXPECT_EQ(try_.times().count() == PairedTimes::kMaxPairs, patient);
        target_.drop();
    }
}

TEST_F(CandidateTryTest, RunsAfterAnInterruptionDoNotCount) {
    target_.levels[2] = {{.name = "some", .run_ticks = 600}};
    start(0, {.pairs = 4});
    EXPECT_EQ(try_.step(), Step::kMore);  // compared
    EXPECT_EQ(try_.step(), Step::kMore);  // a pair
    const uint32_t before = target_.runs;
    EXPECT_EQ(try_.step(), Step::kMore);
    EXPECT_EQ(target_.runs, before + 2);
    try_.cool();
    EXPECT_EQ(try_.step(), Step::kMore);
    EXPECT_EQ(target_.runs, before + 2 + 4);
    EXPECT_EQ(try_.times().count(), 3u);
}

// Dropped, logged without times, and the next ones get their chance.
TEST_F(CandidateTryTest, CandidatesThatFaultOrNeverReturnAreDropped) {
    target_.levels[1] = {};
    target_.levels[2] = {{.name = "bad check", .faults_in_check = true},
                         {.name = "bad run", .run_ticks = 1, .faults_in_run = true},
                         {.name = "endless", .never_returns = true},
                         {.name = "good", .run_ticks = 200}};
    count_calls("f", 100);
    work_all();
    EXPECT_EQ(target_.drops, 4u);  // the good one was timed for a moment first
    EXPECT_EQ(target_.in_force->name, "good");
    EXPECT_EQ(find_try("bad check")->verdict, TryVerdict::kFaulted);
    EXPECT_EQ(find_try("bad run")->verdict, TryVerdict::kFaulted);
    EXPECT_EQ(find_try("endless")->verdict, TryVerdict::kOverran);
    EXPECT_EQ(find_try("bad run")->candidate_ticks, 0u);
    EXPECT_EQ(optimizer_.tries(TryVerdict::kFaulted), 2u);
    EXPECT_EQ(optimizer_.tries(TryVerdict::kOverran), 1u);
    EXPECT_EQ(level("f"), 2);
}

}  // namespace
}  // namespace bareflow
