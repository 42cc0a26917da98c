#include "kernel_lib/jit/optimize.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "kernel_lib/jit_runtime.h"
#include "kernel_lib/platform/platform.h"
#include "tests/unit/jit/fake_profile.h"

namespace bareflow {
namespace {

using fakes::begin_profile;
using fakes::count_calls;
using fakes::fake_clock;
using fakes::now_ticks;
using fakes::profile;

struct FakeCandidate {
    std::string name;
    uint64_t run_ticks = 1000;
    uint32_t check_steps = 1;
    bool differs = false;
    bool available = true;
    bool faults_in_check = false;
    bool faults_in_run = false;
    bool never_returns = false;
    uint16_t family = 0;  // 0: its own
    std::array<uint8_t, 3> knobs{};
};

// Without frames that a sanitizer would look after.
[[gnu::naked]] void fault() {
    asm("ud2");
}
[[gnu::naked]] void stay() {
    asm("1: jmp 1b");
}

// A function whose candidates cost what they say and are right or wrong as they say.
class FakeTarget final : public OptimizationTarget {
  public:
    explicit FakeTarget(const char *name) : name_(name) {}
    std::vector<FakeCandidate> levels[4];
    uint64_t reference_ticks = 1000;
    const FakeCandidate *in_force = nullptr;
    const FakeCandidate *in_hand = nullptr;
    std::map<std::string, int> prepared;
    uint32_t runs = 0;
    uint32_t slow_runs = 0;  // of a candidate, still to come
    uint32_t installs = 0;
    uint32_t drops = 0;

    const char *name() const override { return name_; }
    uint32_t candidate_count(int level) const override {
        return static_cast<uint32_t>(levels[level].size());
    }
    std::string_view candidate_name(int level, uint32_t index) const override {
        return levels[level][index].name;
    }
    Prepared prepare(int level, uint32_t index) override {
        EXPECT_EQ(in_hand, nullptr);
        const FakeCandidate &candidate = levels[level][index];
        ++prepared[candidate.name];
        if (in_force != nullptr && in_force->name == candidate.name && (level != 1 || index != 0)) {
            return Prepared::kInForce;
        }
        if (!candidate.available) {
            return Prepared::kUnavailable;
        }
        in_hand = &candidate;
        checked_ = 0;
        proved = false;
        return Prepared::kReady;
    }
    Check check_some() override {
        now_ticks += 10;
        if (in_hand->faults_in_check) {
            fault();
        }
        if (in_hand->never_returns) {
            stay();
        }
        seen_.insert(in_hand->name);
        if (++checked_ < in_hand->check_steps) {
            return Check::kMore;
        }
        proved = !in_hand->differs;
        return in_hand->differs ? Check::kDiffers : Check::kEqual;
    }
    void run_candidate() override {
        EXPECT_TRUE(seen_.contains(in_hand->name));
        if (in_hand->faults_in_run) {
            fault();
        }
        ++runs;
        now_ticks += in_hand->run_ticks * (slow_runs != 0 ? 10 : 1);
        slow_runs -= slow_runs != 0 ? 1 : 0;
    }
    void run_current() override {
        ++runs;
        now_ticks += in_force != nullptr ? in_force->run_ticks : reference_ticks;
    }
    uint64_t code_bytes() const override { return 77; }
    void install() override {
        ++installs;
        EXPECT_TRUE(proved);
        in_force = std::exchange(in_hand, nullptr);
    }
    void drop() override {
        ++drops;
        in_hand = nullptr;
    }
    void run_reference() override {
        ++runs;
        now_ticks += reference_ticks;
    }
    // In force without having been measured: the first of level 1, in all modes but kOff.
    bool starts_by_rule = false;
    int start(JitMode mode) override {
        in_force = starts_by_rule && mode != JitMode::kOff ? levels[1].data() : nullptr;
        return in_force != nullptr;
    }
    CandidatePlace candidate_place(int level, uint32_t index) const override {
        const FakeCandidate &candidate = levels[level][index];
        return candidate.family != 0 ? CandidatePlace{candidate.family, candidate.knobs}
                                     : OptimizationTarget::candidate_place(level, index);
    }

  private:
    const char *name_;
    uint32_t checked_ = 0;
    std::set<std::string> seen_;  // compared once at least
    bool proved = false;
};

class OptimizeTest : public ::testing::Test {
  protected:
    OptimizeTest() {
        begin_profile();
        EXPECT_TRUE(profile().set_thresholds({.warm = 10, .hot = 100, .very_hot = 1000}));
        EXPECT_TRUE(optimizer_.add(target_).ok());
        target_.levels[1] = {{.name = "rule", .run_ticks = 500}};
        target_.levels[2] = {{.name = "rule", .run_ticks = 500},
                             {.name = "slow", .run_ticks = 3000},
                             {.name = "wrong", .run_ticks = 1, .check_steps = 3, .differs = true},
                             {.name = "missing", .available = false},
                             {.name = "fast", .run_ticks = 200},
                             {.name = "noise", .run_ticks = 203}};
    }
    int level(const char *name) { return profile().profile(profile().find(name)).level; }
    int work_all() { return optimizer_.work(~0ull); }
    const OptimizationTry *find_try(std::string_view variant) {
        for (size_t i = 0; i < optimizer_.try_count(); ++i) {
            if (optimizer_.try_at(i).variant() == variant) {
                return &optimizer_.try_at(i);
            }
        }
        return nullptr;
    }

    FakeTarget target_{"f"};
    std::array<OptimizationTry, 8> log_;
    Optimizer optimizer_{profile, fake_clock, log_};
};

// Dropped, logged without times, and the next ones get their chance.
TEST_F(OptimizeTest, CandidatesThatFaultOrNeverReturnAreDropped) {
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

// ------------------------------------------------------------------ what is in force at the start

class StartTest : public OptimizeTest {
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
    EXPECT_EQ(optimizer_.gain("f").over_reference, 2000u);
    EXPECT_EQ(optimizer_.gain("f").over_rule, 1000u);
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
    EXPECT_EQ(optimizer_.gain("f").over_reference, 1000u);
    EXPECT_NEAR(static_cast<double>(optimizer_.gain("f").over_rule), 3000, 5);
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
    EXPECT_EQ(optimizer_.gain("f").over_reference, 990u);
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
    EXPECT_EQ(optimizer_.gain("f").over_reference, 250u);
    EXPECT_EQ(optimizer_.gain("f").over_rule, 1000u);
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
    EXPECT_EQ(optimizer_.gain("f").over_reference, 4000u);
    EXPECT_EQ(optimizer_.gain("f").over_rule, 8000u);
    count_calls("f", 100);
    work_all();
    EXPECT_EQ(optimizer_.gain("f").over_reference, 5000u);
    EXPECT_EQ(optimizer_.gain("f").over_rule, 10000u);
}

TEST_F(StartTest, TheReferenceIsInForceWhereNothingElseIsAllowed) {
    optimizer_.set_mode(JitMode::kOff);
    start_by_rule();
    EXPECT_EQ(target_.in_force, nullptr);
    optimizer_.set_mode(JitMode::kFull);
    EXPECT_EQ(target_.in_force->name, "rule");
    EXPECT_EQ(level("f"), 1);
}

// ------------------------------------------------------------------ the guided search

class SearchTest : public OptimizeTest {
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

TEST_F(SearchTest, TheBestIsFoundThroughItsNeighbours) {
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
TEST_F(SearchTest, EveryTryIsReportedOnce) {
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
TEST_F(SearchTest, OnlyTheBetterHalfIsTimedForLonger) {
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

TEST_F(SearchTest, AFamilyWhoseFirstCannotBeUsedHasASecond) {
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
TEST_F(SearchTest, AWinnerIsProved) {
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

TEST_F(SearchTest, WhatIsInForceHasNeighboursToo) {
    make_field(1, 1, {0, 0, 0});
    target_.levels[1] = {{.name = "1/000", .run_ticks = 200}};
    count_calls("f", 100);
    work_all();
    EXPECT_EQ(target_.in_force->name, "1/000");
    EXPECT_LT(target_.prepared.size(), 10u);
    EXPECT_EQ(level("f"), 2);
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

TunedChoice choice_of(std::string_view function, std::string_view variant, uint8_t level) {
    TunedChoice choice;
    choice.function = function;
    choice.variant = variant;
    choice.level = level;
    return choice;
}

TEST_F(OptimizeTest, ARememberedChoiceIsTriedBeforeAnythingIsHot) {
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
    EXPECT_EQ(optimizer_.gain("f").over_reference, 5000u);
    EXPECT_EQ(optimizer_.gain("f").over_rule, 2500u);
    count_calls("f", 100);
    EXPECT_FALSE(optimizer_.has_work());
}

// The start was the better rule; what everybody takes is measured against the remembered choice.
TEST_F(OptimizeTest, ARememberedChoiceIsTimedAgainstTheRuleOfThumbToo) {
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
        EXPECT_EQ(optimizer_.gain("f").over_reference, rule_wins ? 10000u : 5000u);
        EXPECT_EQ(optimizer_.gain("f").over_rule, rule_wins ? 1000u : 4000u);
    }
}

TEST_F(OptimizeTest, WhatWillBeHotGetsItsRuleOfThumbAtOnce) {
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

TEST_F(OptimizeTest, NothingIsAnticipatedWhereNothingIsAllowed) {
    (void)profile().key("f");
    optimizer_.set_mode(JitMode::kOff);
    optimizer_.anticipate();
    EXPECT_FALSE(optimizer_.has_work());
    EXPECT_EQ(level("f"), 0);
}

TEST_F(OptimizeTest, ARememberedChoiceThatLosesStartsTheSearch) {
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

TEST_F(OptimizeTest, ARememberedChoiceThatIsWrongIsNotBelieved) {
    (void)profile().key("f");
    optimizer_.recall(choice_of("f", "wrong", 2));
    work_all();
    EXPECT_EQ(target_.in_force->name, "rule");
    EXPECT_EQ(find_try("wrong")->verdict, TryVerdict::kDiffered);
    EXPECT_EQ(optimizer_.recalls_lost(), 1u);
}

TEST_F(OptimizeTest, RememberedChoicesThatNobodyKnowsAreForgotten) {
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

TEST_F(OptimizeTest, TheRuleOfThumbCanBeRemembered) {
    (void)profile().key("f");
    optimizer_.recall(choice_of("f", "rule", 2));
    work_all();
    EXPECT_EQ(level("f"), 2);
    EXPECT_EQ(target_.in_force->name, "rule");
    EXPECT_EQ(optimizer_.gain("f").over_reference, 2000u);
    EXPECT_EQ(optimizer_.gain("f").over_rule, 1000u);
    EXPECT_EQ(optimizer_.recalled(), 1u);
}

// Level 3 had nothing faster than what level 2 had found.
TEST_F(OptimizeTest, ARememberedChoiceMayBeOfALowerLevelThanItsFunction) {
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

TEST_F(OptimizeTest, ARememberedChoiceThatIsInForceAlreadyIsKept) {
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
TEST_F(OptimizeTest, ARememberedChoiceIsNotLostToAFewBadMeasurements) {
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

TEST_F(OptimizeTest, ItSaysWhileThereAreRememberedChoicesToLookAt) {
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

TEST_F(OptimizeTest, AModeForbidsRememberedChoicesToo) {
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

TEST_F(OptimizeTest, ChoicesCanBeRememberedAsTheyAre) {
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

TEST_F(OptimizeTest, GainsAreOverTheReferenceAndTheRuleOfThumb) {
    EXPECT_EQ(optimizer_.gain("f").over_reference, 1000u);
    count_calls("f", 100);
    work_all();
    EXPECT_EQ(optimizer_.gain("f").over_reference, 5000u);  // 1000 -> 500 -> 200
    EXPECT_EQ(optimizer_.gain("f").over_rule, 2500u);
    EXPECT_EQ(optimizer_.gain("unknown").over_rule, 1000u);
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
    EXPECT_EQ(optimizer_.gain("f").over_reference, 2000u);
    EXPECT_EQ(optimizer_.gain("f").over_rule, 4000u);
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

TEST_F(OptimizeTest, TheLogIsARing) {
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

TEST(OptimizeRuntimeTest, VerdictsHaveNames) {
    EXPECT_EQ(verdict_name(TryVerdict::kWon), "won");
    EXPECT_EQ(verdict_name(TryVerdict::kLost), "lost");
    EXPECT_EQ(verdict_name(TryVerdict::kDiffered), "differed");
    EXPECT_EQ(verdict_name(TryVerdict::kUnavailable), "unavailable");
    EXPECT_EQ(verdict_name(TryVerdict::kFaulted), "faulted");
    EXPECT_EQ(verdict_name(TryVerdict::kOverran), "overran");
}

}  // namespace
}  // namespace bareflow
