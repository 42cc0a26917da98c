// The optimiser's share of the time, with a scripted engine and targets that never come to an end.
#include "appliance/tuning_schedule.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "tests/unit/appliance/scripted_machine.h"

namespace bareflow {
namespace {

using testing::FakeSurroundings;
using testing::ScriptedTexts;
using testing::spend_us;

// One candidate, which is being made for as long as `endless` is set. It wins nothing.
class SlowTarget final : public OptimizationTarget {
  public:
    explicit SlowTarget(const char *name) : name_(name) {}
    bool endless = true;
    uint64_t step_us = 20;  // that a call of prepare() takes
    uint32_t prepared = 0;

    const char *name() const override { return name_; }
    uint32_t candidate_count(int level) const override { return level == 1 ? 1 : 0; }
    std::string_view candidate_name(int, uint32_t) const override { return "slow"; }
    Prepared prepare(int, uint32_t) override {
        ++prepared;
        spend_us(step_us);
        return endless ? Prepared::kMore : Prepared::kUnavailable;
    }
    Check check_some() override { return Check::kEqual; }
    void run_candidate() override {}
    void run_current() override {}
    void run_reference() override {}
    uint64_t code_bytes() const override { return 0; }
    void install() override {}
    void drop() override {}
    int start(JitMode) override { return 0; }

  private:
    const char *name_;
};

class TuningScheduleTest : public ::testing::Test {
  protected:
    TuningScheduleTest() {
        all_.parts.texts = &texts_;
        texts_.slice_us = 500;
    }
    void TearDown() override { optimizer().remove_all(); }

    SlowTarget &make_target(const char *name) {
        targets_.push_back(std::make_unique<SlowTarget>(name));
        return *targets_.back();
    }
    // The target's function is hot from now on.
    static void add(SlowTarget &target) {
        const FunctionId id = profiler().key(target.name());
        for (int i = 0; i < 3000; ++i) {
            profiler().begin(id, 0);
            profiler().end(id, 1);
        }
        ASSERT_TRUE(optimizer().add(target).ok());
        ASSERT_TRUE(optimizer().has_work());
    }
    // Makes texts until the optimiser has worked `pieces` times. Each time it must have had less
    // than its share of the time until then; interruptions of this process count for both.
    void make_texts_within_the_share(const SlowTarget &target, uint32_t pieces) {
        const uint64_t spent_before = optimizer().spent_ticks();
        const uint64_t begin = platform::ticks();
        uint32_t worked = 0;
        for (int slices = 0; slices < 100'000 && worked < pieces; ++slices) {
            const uint32_t prepared = target.prepared;
            const uint64_t spent = optimizer().spent_ticks() - spent_before;
            tuning_.make_texts();
            if (target.prepared != prepared) {
                ++worked;
                const uint64_t passed = platform::ticks() - begin;
                ASSERT_LE(spent, passed / 1000 * TuningSchedule::kPerMille) << slices;
            }
        }
        EXPECT_EQ(worked, pieces) << "it has its share";
    }
    static void recall(const SlowTarget &target) {
        TunedChoice choice;
        choice.function = ShortText<63>(target.name());
        choice.variant = ShortText<32>("slow");
        choice.level = 1;
        optimizer().recall(choice);
    }

    std::vector<std::unique_ptr<SlowTarget>> targets_;
    FakeSurroundings surroundings_;
    ScriptedTexts texts_;
    testing::Assembly &all_ = testing::keep(new testing::Assembly({}, surroundings_));
    TuningSchedule &tuning_ = all_.tuning;
};

TEST_F(TuningScheduleTest, WhileTextsAreMadeTheOptimizerHasATwentieth) {
    SlowTarget &target = make_target("tuning_schedule_test share");
    add(target);
    make_texts_within_the_share(target, 5);
    EXPECT_TRUE(tuning_.optimizer_has_work());
}

TEST_F(TuningScheduleTest, WhileNobodyWaitsAllTimeIsTheOptimizers) {
    EXPECT_FALSE(tuning_.use_idle_time(true)) << "nothing to do";
    SlowTarget &target = make_target("tuning_schedule_test idle");
    add(target);
    const uint64_t spent_before = optimizer().spent_ticks();
    const uint64_t begin = platform::ticks();
    for (int i = 0; i < 10; ++i) {
        EXPECT_TRUE(tuning_.use_idle_time(false));
    }
    const uint64_t took = platform::ticks() - begin;
    EXPECT_GT(optimizer().spent_ticks() - spent_before, took / 2);
    EXPECT_GE(took, ms_to_ticks(kSliceMs) * 10);
    target.endless = false;
    while (tuning_.use_idle_time(false)) {
    }
    EXPECT_FALSE(tuning_.optimizer_has_work());
}

TEST_F(TuningScheduleTest, AfterTuningRoomIsMadeForTranslationsOnce) {
    tuning_.make_texts();
    EXPECT_EQ(texts_.rooms_made, 0u) << "nothing was tuned";
    SlowTarget &target = make_target("tuning_schedule_test room");
    target.endless = false;
    add(target);
    EXPECT_TRUE(tuning_.use_idle_time(false));
    while (tuning_.use_idle_time(false)) {
    }
    tuning_.make_texts();
    tuning_.make_texts();
    EXPECT_EQ(texts_.rooms_made, 1u);
}

// Time in which the optimiser had nothing to do is not saved up.
TEST_F(TuningScheduleTest, TheShareBeginsWhenThereIsWork) {
    for (int i = 0; i < 100; ++i) {
        tuning_.make_texts();
    }
    SlowTarget &target = make_target("tuning_schedule_test saved up");
    add(target);
    make_texts_within_the_share(target, 2);
}

TEST_F(TuningScheduleTest, RestoringChoicesEndsAndTheNetworkIsServedMeanwhile) {
    SlowTarget &target = make_target("tuning_schedule_test restore");
    ASSERT_TRUE(optimizer().add(target).ok());
    recall(target);
    ASSERT_TRUE(optimizer().is_recalling());
    const uint64_t begin = platform::ticks();
    tuning_.restore_choices();
    const uint64_t took = platform::ticks() - begin;
    EXPECT_GE(took, ms_to_ticks(500)) << "it never comes to an end";
    EXPECT_LT(took, ms_to_ticks(10'000));
    EXPECT_GE(surroundings_.polls, 20u);
    EXPECT_EQ(texts_.slices, 0u);
}

TEST_F(TuningScheduleTest, RestoredChoicesWereTheFirstTokensTime) {
    SlowTarget &target = make_target("tuning_schedule_test charged");
    target.endless = false;
    target.step_us = 50'000;
    ASSERT_TRUE(optimizer().add(target).ok());
    recall(target);
    tuning_.restore_choices();
    ASSERT_FALSE(optimizer().is_recalling());
    target.endless = true;
    optimizer().remove_all();
    add(target);
    const uint32_t prepared = target.prepared;
    tuning_.make_texts();
    EXPECT_EQ(target.prepared, prepared) << "its share of the first slices is spent";
}

TEST_F(TuningScheduleTest, WithoutTunersNothingIsKept) {
    tuning_.tend_profile();
    EXPECT_EQ(tuning_.deadline(), ~uint64_t{0});
    EXPECT_TRUE(tuning_.profile_keeper().place().empty());
}

TEST_F(TuningScheduleTest, ClearingTheProfileKeepsTheNames) {
    const FunctionId id = profiler().key("tuning_schedule_test cleared");
    profiler().begin(id, 0);
    profiler().end(id, 1);
    EXPECT_GT(profiler().calls(id), 0u);
    tuning_.clear_profile();
    EXPECT_EQ(profiler().calls(id), 0u);
    EXPECT_EQ(profiler().find("tuning_schedule_test cleared"), id);
    EXPECT_TRUE(tuning_.timeline().points().empty());
    EXPECT_EQ(optimizer().spent_ticks(), 0u);
}

}  // namespace
}  // namespace bareflow
