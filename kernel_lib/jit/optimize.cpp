#include "kernel_lib/jit/optimize.h"

#include <algorithm>

#include "kernel_lib/jit_runtime.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow {

namespace {

// Apart from the optimiser, which is not all zeros: the log takes no place in the image.
constinit std::array<OptimizationTry, 128> the_log;
constinit Optimizer the_optimizer(profiler, platform::ticks, the_log);

// What jit_optimize_hot_functions() may take.
constexpr uint64_t kCallsPerSecond = 1000 / 30;

}  // namespace

Optimizer &optimizer() {
    return the_optimizer;
}

void jit_set_mode(JitMode mode) {
    the_optimizer.set_mode(mode);
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
    }
    return {};
}

Status Optimizer::add(OptimizationTarget &target) {
    if (entry_count_ == kMaxTargets) {
        return {ErrorCode::kExhausted, "more functions to optimise than the table holds"};
    }
    entries_[entry_count_++] = {.target = &target};
    return {};
}

void Optimizer::remove_all() {
    abandon();
    for (size_t i = 0; i < entry_count_; ++i) {
        entries_[i].target->uninstall();
        set_level(entries_[i], 0);
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
            entry.target->uninstall();
            entry.considered = 0;
            set_level(entry, 0);
        }
        entry.considered = std::min(entry.considered, allowed);
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
    }
}

// Gives up what is in hand without a verdict.
void Optimizer::abandon() {
    if (phase_ == Phase::kCheck || phase_ == Phase::kTime) {
        entries_[entry_].target->drop();
    }
    phase_ = Phase::kNone;
}

bool Optimizer::has_work() {
    return phase_ != Phase::kNone || find_work();
}

// The hottest level first would starve nobody here: tables are small and levels few, so it is the
// order of registration.
bool Optimizer::find_work() {
    for (size_t i = 0; i < entry_count_; ++i) {
        Entry &entry = entries_[i];
        const uint64_t calls = profile_().calls(profile_().find(entry.target->name()));
        for (;;) {
            const int level =
                level_to_consider(calls, profile_().thresholds(), entry.considered, mode_);
            if (level == 0) {
                break;
            }
            if (entry.target->candidate_count(level) != 0) {
                entry_ = i;
                level_ = level;
                candidate_ = 0;
                won_ = false;
                phase_ = Phase::kPrepare;
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
            const auto check = entries_[entry_].target->check_some();
            if (check == OptimizationTarget::Check::kDiffers) {
                decide(TryVerdict::kDiffered);
            } else if (check == OptimizationTarget::Check::kEqual) {
                phase_ = Phase::kTime;
                times_ = {};
                warm_ = false;
            }
            return;
        }
        case Phase::kTime:
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
    if (candidate_ == target.candidate_count(level_)) {
        finish_level();
        return;
    }
    switch (target.prepare(level_, candidate_)) {
        case OptimizationTarget::Prepared::kReady:
            phase_ = Phase::kCheck;
            return;
        case OptimizationTarget::Prepared::kInForce:
            ++candidate_;
            return;
        case OptimizationTarget::Prepared::kUnavailable:
            times_ = {};
            log(TryVerdict::kUnavailable, 0);
            ++candidate_;
            return;
    }
}

// One run of each, the order changing from pair to pair. The first runs after an interruption find
// cold caches and, in an emulator, untranslated code: they are not counted.
void Optimizer::take_pair() {
    OptimizationTarget &target = *entries_[entry_].target;
    if (!warm_) {
        target.run_current();
        target.run_candidate();
        warm_ = true;
    }
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
    if (verdict == TryVerdict::kDiffered) {
        times_ = {};
    }
    log(verdict, code_bytes);
    if (verdict == TryVerdict::kWon) {
        target.install();
        won_ = true;
        profile_().set_code_bytes(profile_().find(target.name()), code_bytes);
    } else {
        target.drop();
    }
    ++candidate_;
    phase_ = Phase::kPrepare;
}

// Level 1 is in force when its candidate was installed. From level 2 on, a field that was measured
// completely has its fastest in force, unless that is the reference still.
void Optimizer::finish_level() {
    Entry &entry = entries_[entry_];
    entry.considered = level_;
    phase_ = Phase::kNone;
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
    return bareflow::the_optimizer.work(ticks() + bareflow::platform::ticks_per_second() /
                                                      bareflow::kCallsPerSecond);
}
