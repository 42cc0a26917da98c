// A target of the optimiser whose candidates cost what they say, and are right or wrong as they
// say; and a fixture with one of these and an optimiser.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernel_lib/jit/optimize.h"
#include "tests/unit/jit/fake_profile.h"

namespace bareflow::fakes {

struct FakeCandidate {
    std::string name;
    uint64_t run_ticks = 1000;
    uint32_t check_steps = 1;
    bool differs = false;
    bool available = true;
    bool faults_in_check = false;
    bool faults_in_run = false;
    bool never_returns = false;
    uint16_t family = 0;  // 0: a family of its own
    std::array<uint8_t, 3> knobs{};
};

// Naked: a sanitizer would look for the frames of functions that are left this way.
[[gnu::naked]] inline void fault() {
    asm("ud2");
}
[[gnu::naked]] inline void stay() {
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

// One target "f" with candidates at levels 1 and 2, and an optimiser that knows it.
class TargetTest : public ::testing::Test {
  protected:
    TargetTest() {
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
    Optimizer::Gain gain() { return optimizer_.gain(profile().find("f")); }
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

}  // namespace bareflow::fakes
