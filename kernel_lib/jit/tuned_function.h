// What the optimiser knows about one target: what is in force, how much faster that is, and what
// has been looked at.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernel_lib/jit/adaptive.h"
#include "kernel_lib/jit/optimization_target.h"
#include "kernel_lib/jit/profile.h"
#include "kernel_lib/jit/tuned_choice.h"

namespace bareflow {

// How much faster a function is than its reference, and than the rule of thumb, in thousandths, by
// the runs that were timed. 1000 for a function that is no target or was not timed.
struct TuningGain {
    uint64_t over_reference = 1000;
    uint64_t over_rule = 1000;
};

struct TunedFunction {
    static constexpr uint64_t kNoGain = 1000;  // as fast as the reference
    // What is tried before any threshold is reached: a remembered choice, then the rule of thumb.
    enum class Recall : uint8_t { kNone, kRule, kChoice };

    OptimizationTarget *target = nullptr;
    FunctionId function = 0;
    int considered = 0;   // the last level that was looked at completely
    int level = 0;        // in force
    int start_level = 0;  // of what start() put into force

    TunedChoice choice{};    // what is in force; empty: it was never timed
    uint64_t gain = 0;       // of what is in force over the reference, in thousandths
    uint64_t rule_gain = 0;  // of the rule of thumb over the reference, in force or not

    Recall recall = Recall::kNone;
    TunedChoice recalled{};
    DriftWatch drift{};

    // Not inlined: the table of functions and every function that is added use it.
    [[gnu::noinline]] TunedFunction() {}

    [[nodiscard]] TuningGain gains() const {
        return {gain, gain * 1000 / std::max<uint64_t>(rule_gain, 1)};
    }
    // The times of a candidate that won against what was in force.
    void take_times(const PairedTimes &times) {
        choice.ticks = median(times.candidate());
        choice.rule_ticks = median(times.current());
        gain = gain * choice.rule_ticks / std::max<uint64_t>(choice.ticks, 1);
    }
    // The times of a candidate of level 1, beside the reference or what is in force.
    void take_rule_times(const PairedTimes &times, bool against_reference) {
        rule_gain = (against_reference ? kNoGain : gain) * median(times.current()) /
                    std::max<uint64_t>(median(times.candidate()), 1);
    }
};

}  // namespace bareflow
