// The optimiser: it looks at functions that have become hot, tries candidates for them, and keeps
// those that win.
//
// It knows nothing of what a function computes: the owner of a function registers an
// OptimizationTarget. The optimiser decides what to look at and when to stop. FieldSearch chooses
// the candidates, CandidateTry compares and times them, and TryLog keeps what came of each,
// losses included.
//
// Work is cut by time. work() returns at its deadline or at most a few runs of the function later,
// and the next call goes on where it stopped. Boot processor only, between units of work, never
// from an interrupt handler.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernel_lib/base/result.h"
#include "kernel_lib/jit/adaptive.h"
#include "kernel_lib/jit/candidate_try.h"
#include "kernel_lib/jit/field_search.h"
#include "kernel_lib/jit/optimization_target.h"
#include "kernel_lib/jit/try_log.h"
#include "kernel_lib/jit/tuned_choice.h"
#include "kernel_lib/jit/tuned_function.h"

namespace bareflow {

// What the optimiser has done since the counters were cleared.
struct OptimizerCounters {
    uint64_t spent_ticks = 0;
    uint64_t compile_ticks = 0;  // of spent_ticks: making candidates
    uint64_t promotions = 0;     // a function rose to a higher level
    uint64_t recalled = 0;       // remembered choices that are in force again
    uint64_t recalls_lost = 0;   // remembered choices that did not win: searched anew
    uint64_t retunes = 0;        // functions that had become slower and were searched anew
    uint64_t left_out = 0;       // candidates that the guided search did not need to try
    uint64_t spoiled = 0;        // timings that were thrown away because something interrupted them
};

class Optimizer {
  public:
    static constexpr size_t kMaxTargets = 40;

    using Clock = TickClock;
    using Gain = TuningGain;
    using ProfileSource = Profiler &(*)();
    // Where calls are counted and levels shown, what time it is, and room for the log (at least one
    // entry). Tests give their own.
    Optimizer(ProfileSource profile, Clock clock, std::span<OptimizationTry> log)
        : profile_(profile), clock_(clock), try_(clock), log_(log, clock) {}
    Optimizer(const Optimizer &) = delete;
    Optimizer &operator=(const Optimizer &) = delete;

    // Puts the target's start into force. The target must stay until the end of the program or
    // until remove_all(). kExhausted: the table is full.
    [[nodiscard]] Status add(OptimizationTarget &target);
    // Drops the candidate in hand, puts the references back and forgets the targets.
    void remove_all();

    // The target's function in the profile; kNoFunction: not registered, or the profile is full.
    [[nodiscard]] FunctionId function_of(const OptimizationTarget &target) const;
    // How often a target's function was called.
    [[nodiscard]] uint64_t calls(const OptimizationTarget &target) const;
    // Called by a target whose code had to make room for another's: it runs at `level` now. What
    // was tried for it is not tried again.
    void gave_up(const OptimizationTarget &target, int level);

    // Another mode: every function goes back to what this mode puts into force, and is looked at
    // from the beginning.
    void set_mode(JitMode mode);
    [[nodiscard]] JitMode mode() const { return mode_; }

    // Works until there is nothing to do or the deadline has passed. Returns how many functions
    // changed their level in this call.
    int work(uint64_t deadline_ticks);
    // Whether work() would find something to do.
    [[nodiscard]] bool has_work();

    // A choice of an earlier start. Before any threshold is reached it is made, compared and timed
    // against what a rule put into force; then the rule of thumb is timed as well. A choice that
    // loses starts the search as if it had never been. Ignored when no target has the name.
    void recall(const TunedChoice &choice);
    // Choices of an earlier start are still to be looked at. work() does these first.
    [[nodiscard]] bool is_recalling() const {
        bool any = recalling_;
        for (size_t i = 0; i < function_count_; ++i) {
            any |= functions_[i].recall == TunedFunction::Recall::kChoice;
        }
        return any;
    }
    // The functions registered until now will be hot as soon as there is work. Their rules of thumb
    // (level 1) are made, compared and timed now, without waiting for the threshold.
    void anticipate();
    // What is in force for every function above level 0. Writes and returns at most out.size().
    [[nodiscard]] size_t choices(std::span<TunedChoice> out) const;
    // Grows with every change of choices().
    [[nodiscard]] uint64_t revision() const { return revision_; }

    [[nodiscard]] Gain gain(FunctionId function) const;

    // Clears the log and the counters. What is in force stays.
    void clear_counters();

    [[nodiscard]] size_t try_count() const { return log_.count(); }
    [[nodiscard]] const OptimizationTry &try_at(size_t index) const { return log_.at(index); }
    [[nodiscard]] uint64_t tries(TryVerdict verdict) const { return log_.tries(verdict); }
    [[nodiscard]] uint64_t spent_ticks() const { return counters_.spent_ticks; }
    [[nodiscard]] uint64_t compile_ticks() const { return counters_.compile_ticks; }
    [[nodiscard]] uint64_t promotions() const { return counters_.promotions; }
    [[nodiscard]] uint64_t recalled() const { return counters_.recalled; }
    [[nodiscard]] uint64_t recalls_lost() const { return counters_.recalls_lost; }
    [[nodiscard]] uint64_t retunes() const { return counters_.retunes; }
    [[nodiscard]] uint64_t left_out() const { return counters_.left_out; }
    [[nodiscard]] uint64_t spoiled() const { return counters_.spoiled; }

  private:
    [[nodiscard]] size_t index_of(const OptimizationTarget &target) const;
    bool find_work();
    bool find_recall();
    bool find_drift();
    void begin(TunedFunction &function, int level, uint32_t first, uint32_t end);
    void step();
    void prepare();
    void decide(TryVerdict verdict);
    void judge_start(TunedFunction &function, TryVerdict verdict);
    void finish_level();
    void abandon();
    void record_win(TunedFunction &function);
    void return_to_start(TunedFunction &function, JitMode mode);
    void set_start(TunedFunction &function, int level);
    void set_level(TunedFunction &function, int level);

    ProfileSource profile_;
    Clock clock_;
    std::array<TunedFunction, kMaxTargets> functions_{};
    size_t function_count_ = 0;
    JitMode mode_ = JitMode::kFull;

    TunedFunction *now_ = nullptr;  // whose level is being searched; nullptr: none is
    FieldSearch search_;
    CandidateTry try_;
    bool recalling_ = false;  // the level consists of a remembered choice
    bool kept_ = false;       // a candidate of the level was in force already
    bool won_ = false;        // a candidate of the level was installed

    TryLog log_;
    OptimizerCounters counters_;
    uint64_t revision_ = 0;
    int changed_ = 0;  // levels, in this work()
};

// The program's: profiler() and platform::ticks().
[[nodiscard]] Optimizer &optimizer();
void jit_set_mode(JitMode mode);

}  // namespace bareflow
