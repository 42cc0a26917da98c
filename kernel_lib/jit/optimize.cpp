#include "kernel_lib/jit/optimize.h"

#include <algorithm>

#include "kernel_lib/cpu/guarded_call.h"
#include "kernel_lib/io/log.h"
#include "kernel_lib/jit_runtime.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow {

namespace {

constinit std::array<OptimizationTry, 128> the_log;

// What jit_optimize_hot_functions() may take.
constexpr uint64_t kCallsPerSecond = 1000 / 30;

// For what takes milliseconds: only a candidate that never returns needs more, on any host.
constexpr uint64_t kGuardSeconds = 1;

GuardedOutcome guarded(GuardedFunction function, void *context) {
    return guarded_call(function, context,
                        platform::ticks() + kGuardSeconds * platform::ticks_per_second());
}

constexpr TryVerdict verdict_of(GuardedOutcome outcome) {
    return outcome == GuardedOutcome::kFaulted ? TryVerdict::kFaulted : TryVerdict::kOverran;
}

}  // namespace

// Made at the first call rather than by the compiler: so its table takes no place in the image.
Optimizer &optimizer() {
    static Optimizer the_optimizer(profiler, platform::ticks, the_log);
    return the_optimizer;
}

void jit_set_mode(JitMode mode) {
    optimizer().set_mode(mode);
}

std::string_view verdict_name(TryVerdict verdict) {
    switch (verdict) {
        case TryVerdict::kWon:
            return "won";
        case TryVerdict::kLost:
            return "lost";
        case TryVerdict::kDiffered:
            return "differed";
        case TryVerdict::kUnavailable:
            return "unavailable";
        case TryVerdict::kFaulted:
            return "faulted";
        case TryVerdict::kOverran:
            return "overran";
    }
    return {};
}

Status Optimizer::add(OptimizationTarget &target) {
    if (entry_count_ == kMaxTargets) {
        return {ErrorCode::kExhausted, "more functions to optimise than the table holds"};
    }
    entries_[entry_count_++].target = &target;
    return {};
}

void Optimizer::remove_all() {
    abandon();
    for (size_t i = 0; i < entry_count_; ++i) {
        take_back(entries_[i]);
        entries_[i] = {};
    }
    entry_count_ = 0;
}

void Optimizer::set_mode(JitMode mode) {
    mode_ = mode;
    const int allowed = max_level(mode);
    if (phase_ != Phase::kNone && level_ > allowed) {
        abandon();
    }
    for (size_t i = 0; i < entry_count_; ++i) {
        Entry &entry = entries_[i];
        if (entry.level > allowed) {
            // The lower level's choice was made against other company: it is made again.
            if (phase_ != Phase::kNone && entry_ == i) {
                abandon();
            }
            take_back(entry);
            entry.considered = 0;
        }
        entry.considered = std::min(entry.considered, allowed);
    }
}

uint64_t Optimizer::calls(const OptimizationTarget &target) {
    return profile_().calls(profile_().find(target.name()));
}

void Optimizer::gave_up(const OptimizationTarget &target, int level) {
    for (size_t i = 0; i < entry_count_; ++i) {
        if (entries_[i].target == &target) {
            set_level(entries_[i], level);
            profile_().set_code_bytes(profile_().find(target.name()), 0);
        }
    }
}

void Optimizer::set_level(Entry &entry, int level) {
    const FunctionId id = profile_().find(entry.target->name());
    profile_().set_level(id, level);
    if (level == 0) {
        profile_().set_code_bytes(id, 0);
    }
    if (entry.level != level) {
        promotions_ += level > entry.level;
        entry.level = level;
        ++changed_;
        ++revision_;
    }
}

// What has just won is in force.
void Optimizer::take_over(Entry &entry) {
    entry.choice.function = std::string_view(entry.target->name());
    entry.choice.variant = entry.target->candidate_name(level_, candidate_);
    entry.choice.ticks = median(times_.candidate());
    entry.choice.rule_ticks = median(times_.current());
    entry.gain = entry.gain * entry.choice.rule_ticks / std::max<uint64_t>(entry.choice.ticks, 1);
    const FunctionId id = profile_().find(entry.target->name());
    entry.drift.restart(profile_().single_calls(id), profile_().single_cycles(id));
    ++revision_;
}

// Back to the reference.
void Optimizer::take_back(Entry &entry) {
    entry.target->uninstall();
    set_level(entry, 0);
    entry.choice = {};
    entry.gain = 1000;
}

void Optimizer::recall(const TunedChoice &choice) {
    for (size_t i = 0; i < entry_count_; ++i) {
        Entry &entry = entries_[i];
        if (entry.target->name() == choice.function.view() && entry.considered == 0) {
            entry.recalled = choice;
            entry.recall = Recall::kRule;
        }
    }
}

void Optimizer::anticipate() {
    for (size_t i = 0; i < entry_count_; ++i) {
        Entry &entry = entries_[i];
        if (entry.considered == 0 && entry.recall == Recall::kNone) {
            entry.recall = Recall::kRule;
        }
    }
}

size_t Optimizer::choices(std::span<TunedChoice> out) const {
    size_t count = 0;
    for (size_t i = 0; i < entry_count_ && count < out.size(); ++i) {
        const Entry &entry = entries_[i];
        if (entry.level > 0) {
            out[count] = entry.choice;
            out[count++].level = static_cast<uint8_t>(entry.level);
        }
    }
    return count;
}

Optimizer::Gain Optimizer::gain(std::string_view function) const {
    for (size_t i = 0; i < entry_count_; ++i) {
        const Entry &entry = entries_[i];
        if (entry.target->name() == function) {
            return {entry.gain, entry.gain * 1000 / std::max<uint64_t>(entry.rule_gain, 1)};
        }
    }
    return {};
}

void Optimizer::clear_counters() {
    logged_ = 0;
    verdicts_ = {};
    spent_ticks_ = 0;
    compile_ticks_ = 0;
    promotions_ = 0;
    recalled_ = 0;
    recalls_lost_ = 0;
    retunes_ = 0;
}

// Gives up what is in hand without a verdict.
void Optimizer::abandon() {
    if (phase_ == Phase::kCheck || phase_ == Phase::kTime) {
        entries_[entry_].target->drop();
    }
    phase_ = Phase::kNone;
    recalling_ = false;
}

bool Optimizer::has_work() {
    return phase_ != Phase::kNone || find_recall() || find_work() || find_drift();
}

void Optimizer::begin(size_t entry, int level, uint32_t first, uint32_t end) {
    entry_ = entry;
    level_ = level;
    candidate_ = first;
    candidate_end_ = end;
    won_ = false;
    kept_ = false;
    phase_ = Phase::kPrepare;
}

// Remembered choices come before everything else: they are the shortest way to what is fast.
bool Optimizer::find_recall() {
    for (size_t i = 0; i < entry_count_; ++i) {
        Entry &entry = entries_[i];
        const OptimizationTarget &target = *entry.target;
        if (entry.recalled.level > max_level(mode_) || max_level(mode_) == 0) {
            entry.recall = Recall::kNone;
        }
        if (entry.recall == Recall::kRule) {
            entry.recall = entry.recalled.level != 0 ? Recall::kChoice : Recall::kNone;
            if (target.candidate_count(1) != 0) {
                begin(i, 1, 0, target.candidate_count(1));
                return true;
            }
        }
        if (entry.recall == Recall::kChoice) {
            entry.recall = Recall::kNone;
            const uint32_t count = target.candidate_count(entry.recalled.level);
            for (uint32_t index = 0; index < count; ++index) {
                if (target.candidate_name(entry.recalled.level, index) ==
                    entry.recalled.variant.view()) {
                    recalling_ = true;
                    begin(i, entry.recalled.level, index, index + 1);
                    return true;
                }
            }
            ++recalls_lost_;
        }
    }
    return false;
}

// What was settled and has grown slower is searched again from level 2 on, the level it has staying
// in force.
bool Optimizer::find_drift() {
    bool any = false;
    for (size_t i = 0; i < entry_count_; ++i) {
        Entry &entry = entries_[i];
        const FunctionId id = profile_().find(entry.target->name());
        if (entry.considered > 1 &&
            entry.drift.observe(profile_().single_calls(id), profile_().single_cycles(id))) {
            entry.considered = 1;
            ++retunes_;
            any = true;
        }
    }
    return any && find_work();
}

// The hottest level first would starve nobody here: tables are small and levels few, so it is the
// order of registration.
bool Optimizer::find_work() {
    for (size_t i = 0; i < entry_count_; ++i) {
        Entry &entry = entries_[i];
        const uint64_t calls = this->calls(*entry.target);
        for (;;) {
            const int level =
                level_to_consider(calls, profile_().thresholds(), entry.considered, mode_);
            if (level == 0) {
                break;
            }
            if (entry.target->candidate_count(level) != 0) {
                begin(i, level, 0, entry.target->candidate_count(level));
                return true;
            }
            entry.considered = level;
        }
    }
    return false;
}

int Optimizer::work(uint64_t deadline_ticks) {
    const uint64_t start = clock_();
    changed_ = 0;
    warm_ = false;
    uint64_t now = start;
    while (now < deadline_ticks && has_work()) {
        step();
        now = clock_();
    }
    spent_ticks_ += now - start;
    return changed_;
}

void Optimizer::step() {
    switch (phase_) {
        case Phase::kNone:
            return;
        case Phase::kPrepare:
            return prepare();
        case Phase::kCheck: {
            struct Call {
                OptimizationTarget *target;
                OptimizationTarget::Check check;
            } call = {entries_[entry_].target, OptimizationTarget::Check::kDiffers};
            const GuardedOutcome outcome = guarded(
                [](void *context) {
                    auto *const c = static_cast<Call *>(context);
                    c->check = c->target->check_some();
                },
                &call);
            if (outcome != GuardedOutcome::kReturned) {
                decide(verdict_of(outcome));
            } else if (call.check == OptimizationTarget::Check::kDiffers) {
                decide(TryVerdict::kDiffered);
            } else if (call.check == OptimizationTarget::Check::kEqual) {
                phase_ = Phase::kTime;
                times_ = {};
                warm_ = false;
            }
            return;
        }
        case Phase::kTime:
            if (!warm_up()) {
                return;
            }
            take_pair();
            switch (judge(times_)) {
                case TimingVerdict::kMore:
                    return;
                case TimingVerdict::kWon:
                    return decide(TryVerdict::kWon);
                case TimingVerdict::kLost:
                    return decide(TryVerdict::kLost);
            }
    }
}

void Optimizer::prepare() {
    OptimizationTarget &target = *entries_[entry_].target;
    if (candidate_ == candidate_end_) {
        finish_level();
        return;
    }
    const uint64_t before = clock_();
    const auto prepared = target.prepare(level_, candidate_);
    compile_ticks_ += clock_() - before;
    switch (prepared) {
        case OptimizationTarget::Prepared::kReady:
            phase_ = Phase::kCheck;
            return;
        case OptimizationTarget::Prepared::kInForce:
            kept_ = true;
            ++candidate_;
            return;
        case OptimizationTarget::Prepared::kUnavailable:
            times_ = {};
            log(TryVerdict::kUnavailable, 0);
            ++candidate_;
            return;
    }
}

// The first runs after an interruption find cold caches and, in an emulator, untranslated code:
// they are not counted. False: the candidate's was its last.
bool Optimizer::warm_up() {
    if (warm_) {
        return true;
    }
    OptimizationTarget *const target = entries_[entry_].target;
    target->run_current();
    const GuardedOutcome outcome = guarded(
        [](void *context) { static_cast<OptimizationTarget *>(context)->run_candidate(); }, target);
    if (outcome != GuardedOutcome::kReturned) {
        decide(verdict_of(outcome));
        return false;
    }
    warm_ = true;
    return true;
}

// One run of each, the order changing from pair to pair.
void Optimizer::take_pair() {
    OptimizationTarget &target = *entries_[entry_].target;
    const bool candidate_first = times_.count() % 2 != 0;
    const uint64_t start = clock_();
    candidate_first ? target.run_candidate() : target.run_current();
    const uint64_t middle = clock_();
    candidate_first ? target.run_current() : target.run_candidate();
    const uint64_t end = clock_();
    if (candidate_first) {
        times_.add(end - middle, middle - start);
    } else {
        times_.add(middle - start, end - middle);
    }
}

void Optimizer::decide(TryVerdict verdict) {
    OptimizationTarget &target = *entries_[entry_].target;
    const uint64_t code_bytes = target.code_bytes();
    if (verdict != TryVerdict::kWon && verdict != TryVerdict::kLost) {
        times_ = {};
    }
    if (verdict == TryVerdict::kFaulted || verdict == TryVerdict::kOverran) {
        log_line("jit: ", target.candidate_name(level_, candidate_), " for ", target.name(), " ",
                 verdict_name(verdict), " and is not used");
    }
    log(verdict, code_bytes);
    Entry &entry = entries_[entry_];
    if (level_ == 1 && times_.count() != 0) {
        entry.rule_gain = entry.gain * median(times_.current()) /
                          std::max<uint64_t>(median(times_.candidate()), 1);
    }
    if (verdict == TryVerdict::kWon) {
        target.install();
        take_over(entry);
        won_ = true;
        profile_().set_code_bytes(profile_().find(target.name()), code_bytes);
    } else {
        target.drop();
    }
    ++candidate_;
    phase_ = Phase::kPrepare;
}

// Level 1 is in force when its candidate was installed. A remembered choice that lost leaves its
// level to be searched. From level 2 on, a field that was measured
// completely has its fastest in force, unless that is the reference still.
void Optimizer::finish_level() {
    Entry &entry = entries_[entry_];
    phase_ = Phase::kNone;
    if (recalling_) {
        recalling_ = false;
        (won_ || kept_ ? recalled_ : recalls_lost_) += 1;
        if (!won_ && !kept_) {
            return;
        }
    }
    entry.considered = level_;
    if (won_ || (level_ > 1 && entry.level > 0)) {
        set_level(entry, level_);
    }
}

void Optimizer::log(TryVerdict verdict, uint64_t code_bytes) {
    OptimizationTarget &target = *entries_[entry_].target;
    const std::string_view variant = target.candidate_name(level_, candidate_);
    OptimizationTry &entry = tries_[logged_++ % tries_.size()];
    entry = {.function = target.name(),
             .level = static_cast<uint8_t>(level_),
             .verdict = verdict,
             .code_bytes = static_cast<uint32_t>(code_bytes),
             .candidate_ticks = median(times_.candidate()),
             .current_ticks = median(times_.current()),
             .at_ticks = clock_()};
    entry.variant_len =
        static_cast<uint8_t>(std::min(variant.size(), OptimizationTry::kVariantBytes));
    std::copy_n(variant.begin(), entry.variant_len, entry.variant_text.begin());
    ++verdicts_[static_cast<size_t>(verdict)];
}

const OptimizationTry &Optimizer::try_at(size_t index) const {
    const uint64_t oldest = logged_ - try_count();
    return tries_[(oldest + index) % tries_.size()];
}

}  // namespace bareflow

extern "C" int jit_optimize_hot_functions(void) {
    using bareflow::platform::ticks;
    return bareflow::optimizer().work(ticks() + bareflow::platform::ticks_per_second() /
                                                    bareflow::kCallsPerSecond);
}
