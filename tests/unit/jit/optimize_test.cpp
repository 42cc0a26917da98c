#include "kernel_lib/jit/optimize.h"

#include <gtest/gtest.h>

#include <memory>
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
    uint32_t runs = 0;
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
        if (in_force != nullptr && in_force->name == candidate.name) {
            return Prepared::kInForce;
        }
        if (!candidate.available) {
            return Prepared::kUnavailable;
        }
        in_hand = &candidate;
        checked_ = 0;
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
        if (++checked_ < in_hand->check_steps) {
            return Check::kMore;
        }
        return in_hand->differs ? Check::kDiffers : Check::kEqual;
    }
    void run_candidate() override {
        EXPECT_FALSE(in_hand->differs);
        if (in_hand->faults_in_run) {
            fault();
        }
        ++runs;
        now_ticks += in_hand->run_ticks;
    }
    void run_current() override {
        ++runs;
        now_ticks += in_force != nullptr ? in_force->run_ticks : reference_ticks;
    }
    uint64_t code_bytes() const override { return 77; }
    void install() override {
        ++installs;
        in_force = std::exchange(in_hand, nullptr);
    }
    void drop() override {
        ++drops;
        in_hand = nullptr;
    }
    void uninstall() override { in_force = nullptr; }

  private:
    const char *name_;
    uint32_t checked_ = 0;
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
                             {.name = "noise", .run_ticks = 198}};
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
    EXPECT_EQ(target_.drops, 3u);
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
    // One per cent is noise.
    EXPECT_EQ(find_try("noise")->verdict, TryVerdict::kLost);
    EXPECT_EQ(optimizer_.tries(TryVerdict::kWon), 2u);
    EXPECT_EQ(optimizer_.tries(TryVerdict::kLost), 2u);
    EXPECT_EQ(optimizer_.tries(TryVerdict::kDiffered), 1u);
    EXPECT_EQ(optimizer_.tries(TryVerdict::kUnavailable), 1u);
    EXPECT_EQ(target_.installs, 2u);
    EXPECT_EQ(target_.drops, 3u);
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

TEST_F(OptimizeTest, LoweringTheModeDropsWhatIsInHand) {
    count_calls("f", 100);
    while (target_.in_hand == nullptr || target_.in_hand->name != "slow") {
        ASSERT_TRUE(optimizer_.has_work());
        optimizer_.work(now_ticks + 1);
    }
    optimizer_.set_mode(JitMode::kBaseline);
    EXPECT_EQ(target_.in_hand, nullptr);
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

TunedChoice choice_of(std::string_view function, std::string_view variant, uint8_t level) {
    TunedChoice choice;
    choice.function = function;
    choice.variant = variant;
    choice.level = level;
    return choice;
}

TEST_F(OptimizeTest, ARememberedChoiceIsTriedBeforeAnythingIsHot) {
    (void)profile().key("f");
    optimizer_.recall(choice_of("f", "fast", 2));
    EXPECT_TRUE(optimizer_.has_work());
    EXPECT_EQ(work_all(), 2);
    EXPECT_EQ(level("f"), 2);
    EXPECT_EQ(target_.in_force->name, "fast");
    EXPECT_EQ(optimizer_.recalled(), 1u);
    EXPECT_EQ(optimizer_.recalls_lost(), 0u);
    // Against the rule of thumb, and nothing else was tried.
    ASSERT_EQ(optimizer_.try_count(), 2u);
    EXPECT_EQ(optimizer_.try_at(0).variant(), "rule");
    EXPECT_EQ(optimizer_.try_at(1).variant(), "fast");
    EXPECT_EQ(optimizer_.try_at(1).current_ticks, 500u);
    count_calls("f", 100);
    EXPECT_FALSE(optimizer_.has_work());
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
    EXPECT_EQ(optimizer_.try_count(), 1u);
    EXPECT_EQ(optimizer_.recalled(), 1u);
}

TEST_F(OptimizeTest, AModeForbidsRememberedChoicesToo) {
    optimizer_.set_mode(JitMode::kBaseline);
    (void)profile().key("f");
    optimizer_.recall(choice_of("f", "fast", 2));
    work_all();
    EXPECT_EQ(target_.in_force, nullptr);
    EXPECT_EQ(optimizer_.try_count(), 0u);
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
