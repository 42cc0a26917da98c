// The optimiser: looks at functions that grew hot, tries candidates for them and keeps what wins.
//
// It knows nothing of what a function computes. Whoever owns one registers an OptimizationTarget
// that can make candidates, compare their results with the portable reference bit for bit, run them
// and put one in force. The optimiser decides what to look at and when to stop, takes the time and
// keeps the log of every try, losses included.
//
// The search is guided: of a field of candidates the first of every family is timed for a moment,
// then the neighbours of the best, then the neighbours of what is better; the better half of these
// is timed for longer, and so on, and the last two must beat what is in force. What is not near the
// best is never made.
//
// A candidate may be wrong in every way. Comparing its results and its first run of each work() are
// guarded calls (cpu/guarded_call.h): one that faults, or takes twenty times as long as the
// reference and then eighty times, is dropped like one that differs. So check_some() and
// run_candidate() may be left anywhere inside, and must not allocate; drop() follows.
//
// Work is cut by time: work() returns at its deadline, plus at most a few runs of the function, and
// goes on where it stopped. Boot processor only, between units of work, never from a handler.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernel_lib/base/result.h"
#include "kernel_lib/jit/adaptive.h"
#include "kernel_lib/jit/tuned_choice.h"

namespace bareflow {

// Where a candidate stands in its field. Neighbours are of one family and differ in one step.
struct CandidatePlace {
    uint16_t family = 0;
    std::array<uint8_t, 3> knobs{};  // rows at once, unrolling, ...: what the family varies

    [[nodiscard]] constexpr bool is_neighbour(const CandidatePlace &other) const {
        int differences = 0;
        for (size_t i = 0; i < knobs.size(); ++i) {
            differences += knobs[i] != other.knobs[i];
        }
        return family == other.family && differences == 1;
    }
};

// A function that can be made faster. At most one candidate is in hand at a time: between prepare()
// that gave kReady and the install() or drop() that ends it.
class OptimizationTarget {
  public:
    enum class Prepared : uint8_t {
        kReady,
        kInForce,      // it is what runs now: nothing to try
        kUnavailable,  // cannot be made for this shape, processor or room
        kMore,         // not done yet: call it again, with the same candidate
    };
    enum class Check : uint8_t { kMore, kEqual, kDiffers };

    // As in the profile; static text.
    [[nodiscard]] virtual const char *name() const = 0;
    // How many candidates there are for a level (1..3); 0: the level is of no use here.
    // At most Optimizer::kMaxField are looked at. Of level 1, the first is what start() puts in
    // force and is timed against the reference; the last is the rule of thumb by CPUID.
    [[nodiscard]] virtual uint32_t candidate_count(int level) const = 0;
    // Short, static or owned by the target.
    [[nodiscard]] virtual std::string_view candidate_name(int level, uint32_t index) const = 0;
    // Each is a family of its own unless the target says otherwise.
    [[nodiscard]] virtual CandidatePlace candidate_place(int level, uint32_t index) const {
        return {.family = static_cast<uint16_t>(index + 0 * level)};
    }

    // kInForce never for the first one of level 1.
    [[nodiscard]] virtual Prepared prepare(int level, uint32_t index) = 0;
    // Compares another part of the candidate's results with the reference's; about a millisecond.
    [[nodiscard]] virtual Check check_some() = 0;
    // The same piece of work, by the candidate, by what is in force, and by the portable reference.
    virtual void run_candidate() = 0;
    virtual void run_current() = 0;
    virtual void run_reference() = 0;
    // Of generated code: the candidate's.
    [[nodiscard]] virtual uint64_t code_bytes() const = 0;
    virtual void install() = 0;
    virtual void drop() = 0;
    // Puts into force what runs in this mode before anything was measured, and returns its level:
    // 0, the portable reference, or 1, what a rule names. kOff: the reference.
    virtual int start(JitMode mode) = 0;
    // What start() put in force is right but slower than the reference, which takes its place.
    // Kernels for other work that was not timed may stay. Returns the level.
    virtual int prefer_reference() { return start(JitMode::kOff); }

  protected:
    ~OptimizationTarget() = default;
};

enum class TryVerdict : uint8_t { kWon, kLost, kDiffered, kUnavailable, kFaulted, kOverran };
inline constexpr size_t kTryVerdicts = 6;
// "won", "lost", "differed", "unavailable", "faulted", "overran".
[[nodiscard]] std::string_view verdict_name(TryVerdict verdict);

struct OptimizationTry {
    static constexpr size_t kVariantBytes = 32;

    const char *function = nullptr;
    std::array<char, kVariantBytes> variant_text{};
    uint8_t variant_len = 0;
    uint8_t level = 0;
    TryVerdict verdict{};
    uint32_t code_bytes = 0;
    // Medians of the runs that were compared; 0 when it was not timed.
    uint64_t candidate_ticks = 0;
    uint64_t current_ticks = 0;
    uint64_t at_ticks = 0;  // when it was decided

    [[nodiscard]] std::string_view variant() const { return {variant_text.data(), variant_len}; }
};

class Optimizer {
  public:
    static constexpr size_t kMaxTargets = 40;
    static constexpr uint32_t kMaxField = 96;  // candidates of a level

    using Clock = uint64_t (*)();
    using ProfileSource = Profiler &(*)();
    // Where calls are counted and levels shown, what time it is, and room for the log (at least one
    // entry); tests give their own.
    Optimizer(ProfileSource profile, Clock clock, std::span<OptimizationTry> log)
        : profile_(profile), clock_(clock), tries_(log) {}
    Optimizer(const Optimizer &) = delete;
    Optimizer &operator=(const Optimizer &) = delete;

    // Puts the target's start into force. It must stay until the end of the program or
    // remove_all(). kExhausted: no place.
    [[nodiscard]] Status add(OptimizationTarget &target);
    // Drops what is in hand, puts the references back and forgets the targets.
    void remove_all();

    // The target's function in the profile; kNoFunction: not registered, or the profile is full.
    [[nodiscard]] FunctionId function_of(const OptimizationTarget &target) const;
    // How often a target's function was called.
    [[nodiscard]] uint64_t calls(const OptimizationTarget &target) const;
    // By a target that had to give up what was in force (its code made room for another's): it runs
    // at `level` now. What was tried for it is not tried again.
    void gave_up(const OptimizationTarget &target, int level);

    // Another mode: everything starts anew, from what that mode puts into force.
    void set_mode(JitMode mode);
    [[nodiscard]] JitMode mode() const { return mode_; }

    // Works until there is nothing to do or the deadline has passed. Returns how many functions
    // changed their level in this call.
    int work(uint64_t deadline_ticks);
    // Whether work() would find something to do.
    [[nodiscard]] bool has_work();

    // A choice of an earlier start: made, compared and timed against what a rule put into force,
    // before any threshold is reached; the rule of thumb follows. One that loses starts the search
    // as if there had been none. Ignored when no target has the name.
    void recall(const TunedChoice &choice);
    // Choices of an earlier start are still to be looked at: work() does these first.
    [[nodiscard]] bool is_recalling() const {
        bool any = recalling_;
        for (size_t i = 0; i < entry_count_; ++i) {
            any |= entries_[i].recall == Recall::kChoice;
        }
        return any;
    }
    // The functions registered so far will be hot as soon as there is work: their rules of thumb
    // (level 1) are made, compared and timed now and not after so many calls.
    void anticipate();
    // What is in force, of every function above level 0; returns how many. At most out.size().
    [[nodiscard]] size_t choices(std::span<TunedChoice> out) const;
    // Grows with every change of choices().
    [[nodiscard]] uint64_t revision() const { return revision_; }
    [[nodiscard]] uint64_t recalled() const { return recalled_; }          // in force again
    [[nodiscard]] uint64_t recalls_lost() const { return recalls_lost_; }  // searched anew
    // Functions that had grown slower and were searched anew.
    [[nodiscard]] uint64_t retunes() const { return retunes_; }

    // How much faster than the reference, and than the rule of thumb, in thousandths, by the runs
    // that were timed; 1000 for what is not a target or was not timed.
    struct Gain {
        uint64_t over_reference = 1000;
        uint64_t over_rule = 1000;
    };
    [[nodiscard]] Gain gain(FunctionId function) const;
    [[nodiscard]] Gain gain(std::string_view function) const {
        for (size_t i = 0; i < entry_count_; ++i) {
            if (entries_[i].target->name() == function) {
                return gain(entries_[i].function);
            }
        }
        return {};
    }

    // The log and the counters, but not what is in force.
    void clear_counters();

    // The log, oldest first; when its room is full the oldest entry makes place.
    [[nodiscard]] size_t try_count() const {
        return logged_ < tries_.size() ? logged_ : tries_.size();
    }
    [[nodiscard]] const OptimizationTry &try_at(size_t index) const;
    // Since the start, for counters.
    [[nodiscard]] uint64_t tries(TryVerdict verdict) const {
        return verdicts_[static_cast<size_t>(verdict)];
    }
    [[nodiscard]] uint64_t spent_ticks() const { return spent_ticks_; }
    // Of spent_ticks(): making candidates.
    [[nodiscard]] uint64_t compile_ticks() const { return compile_ticks_; }
    [[nodiscard]] uint64_t promotions() const { return promotions_; }
    // Candidates that the guided search did not need to try.
    [[nodiscard]] uint64_t left_out() const { return left_out_; }
    // Timings thrown away because something interrupted them.
    [[nodiscard]] uint64_t spoiled() const { return spoiled_; }

  private:
    // kCheck: compared for a moment before it is timed; kProve: to the end, before it is put into
    // force.
    enum class Phase : uint8_t { kNone, kPrepare, kCheck, kTime, kProve };
    // kFamilies to kHalve score candidates; kJudge holds them against what is in force.
    enum class Stage : uint8_t { kFamilies, kNeighbours, kHalve, kJudge };
    enum class Standing : uint8_t { kUntried, kScored, kOut };
    struct Score {
        Standing standing = Standing::kUntried;
        bool in_round = false;  // to be timed (again) in this stage
        bool logged = false;    // what came of it
        uint32_t candidate_ticks = 0;
        uint32_t current_ticks = 0;
        uint64_t per_mille = 0;
    };
    // What is to be tried before any threshold: a remembered choice, then the rule of thumb.
    enum class Recall : uint8_t { kNone, kRule, kChoice };
    struct Entry {
        OptimizationTarget *target = nullptr;
        FunctionId function = kNoFunction;
        int considered = 0;  // the last level that was looked at completely
        int level = 0;       // in force
        int start_level = 0;

        // Of what is in force, when level > 0.
        TunedChoice choice{};
        uint64_t gain = 0;       // over the reference, in thousandths
        uint64_t rule_gain = 0;  // of the rule of thumb, whether in force or not

        Recall recall = Recall::kNone;
        TunedChoice recalled{};
        DriftWatch drift{};
    };

    bool find_work();
    bool find_recall();
    bool find_drift();
    void begin(size_t entry, int level, uint32_t first, uint32_t end);
    void record_win(Entry &entry);
    void return_to_start(Entry &entry, JitMode mode);
    void set_start(Entry &entry, int level);
    void step();
    void check();
    void time();
    bool choose_next();
    bool choose_untried(uint32_t center);
    [[nodiscard]] CandidatePlace place_of(uint32_t candidate) const {
        return entries_[entry_].target->candidate_place(level_, candidate);
    }
    bool choose_in_round();
    void next_round();
    // Of the candidates wanted, the one with the lowest score, kNone without any.
    [[nodiscard]] uint32_t lowest(bool (*wanted)(const Score &)) const;
    void score(const PairedTimes &times);
    void prepare();
    void measure_reference();
    bool warm_up();
    bool guard(void (*function)(void *), void *context);
    void take_pair();
    void decide(TryVerdict verdict);
    void finish_level();
    void set_level(Entry &entry, int level);
    void abandon();
    void log(uint32_t candidate, TryVerdict verdict, uint64_t code_bytes, uint64_t candidate_ticks,
             uint64_t current_ticks);
    // The first candidate of level 1 may be in force already, so it is timed against the reference.
    [[nodiscard]] bool against_reference() const { return level_ == 1 && candidate_ == 0; }

    ProfileSource profile_;
    Clock clock_;
    std::array<Entry, kMaxTargets> entries_{};
    size_t entry_count_ = 0;
    JitMode mode_ = JitMode::kFull;

    // What is being worked on.
    Phase phase_ = Phase::kNone;
    size_t entry_ = 0;
    int level_ = 0;
    uint32_t candidate_ = 0;
    uint32_t candidate_begin_ = 0;
    uint32_t candidate_end_ = 0;
    Stage stage_ = Stage::kJudge;
    size_t round_pairs_ = 0;
    std::array<Score, kMaxField> scores_{};
    uint64_t reference_ticks_ = 0;  // of a run; 0: not measured yet
    bool recalling_ = false;
    bool kept_ = false;  // the candidate was in force already
    bool won_ = false;   // a candidate of this level was installed
    bool warm_ = false;  // both sides ran since work() was entered
    bool proved_ = false;
    PairedTimes times_;

    std::span<OptimizationTry> tries_;
    uint64_t logged_ = 0;
    std::array<uint64_t, kTryVerdicts> verdicts_{};
    uint64_t spent_ticks_ = 0;
    uint64_t compile_ticks_ = 0;
    uint64_t promotions_ = 0;
    uint64_t revision_ = 0;
    uint64_t recalled_ = 0;
    uint64_t recalls_lost_ = 0;
    uint64_t retunes_ = 0;
    uint64_t left_out_ = 0;
    uint64_t spoiled_ = 0;
    int changed_ = 0;
};

// The program's: profiler() and platform::ticks().
[[nodiscard]] Optimizer &optimizer();
void jit_set_mode(JitMode mode);

}  // namespace bareflow
