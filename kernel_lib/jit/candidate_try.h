// One candidate in hand: it is compared with the reference and timed, a piece at a time.
//
// A candidate may be wrong in every way. Comparing its results and its first run of each work() are
// guarded calls: one that faults is dropped like one that differs. So is one that takes twenty
// times as long as the reference, and again when it is given eighty times.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernel_lib/jit/adaptive.h"
#include "kernel_lib/jit/optimization_target.h"
#include "kernel_lib/jit/try_log.h"

namespace bareflow {

class CandidateTry {
  public:
    enum class Step : uint8_t { kMore, kScored, kDecided };
    struct Terms {
        bool judged = false;       // until it has won or lost; otherwise for `pairs` pairs
        size_t pairs = 0;          // of runs
        bool was_checked = false;  // an earlier try compared its results
        bool patient = false;      // it loses by the greatest number of pairs only
    };

    explicit CandidateTry(TickClock clock) : clock_(clock) {}

    // The next tries are about candidates of this target.
    void set_target(OptimizationTarget &target);
    // The candidate is the one that the target has just prepared.
    void start(const Candidate &candidate, const Terms &terms);
    [[nodiscard]] bool is_open() const { return phase_ != Phase::kNone; }
    // One comparison or one pair of runs. Scored or decided: the try is closed, and the caller
    // installs or drops the candidate.
    [[nodiscard]] Step step();
    void close() { phase_ = Phase::kNone; }
    // Something else ran in between: the next runs find cold caches and do not count.
    void cool() { warm_ = false; }

    [[nodiscard]] TryVerdict verdict() const { return verdict_; }
    // Empty for a verdict that is not by time.
    [[nodiscard]] const PairedTimes &times() const { return times_; }

  private:
    // kCheck: compared for a moment before it is timed; kProve: compared to the end before it is
    // put into force.
    enum class Phase : uint8_t { kNone, kCheck, kTime, kProve };

    Step check();
    Step time();
    Step decide(TryVerdict verdict);
    [[nodiscard]] bool guard(void (*function)(void *), void *context);
    [[nodiscard]] bool warm_up();
    void run_other();
    void take_pair();

    TickClock clock_;
    OptimizationTarget *target_ = nullptr;
    uint64_t reference_ticks_ = 0;  // of a run; 0: not measured yet
    Phase phase_ = Phase::kNone;
    Terms terms_;
    bool against_reference_ = false;
    bool warm_ = false;    // both sides have run since cool()
    bool proved_ = false;  // all its results are equal
    TryVerdict verdict_{};
    PairedTimes times_;
};

}  // namespace bareflow
