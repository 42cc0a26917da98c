#include "kernel_lib/jit/optimize.h"

#include <algorithm>

#include "kernel_lib/cpu/guarded_call.h"
#include "kernel_lib/io/log.h"
#include "kernel_lib/jit_runtime.h"
#include "kernel_lib/platform/platform.h"
#include "kernel_lib/platform/ticks.h"

namespace bareflow {

namespace {

constinit std::array<OptimizationTry, 320> the_log;

// What jit_optimize_hot_functions() may take.
constexpr uint64_t kCallMs = 30;

// A field of this size is not worth a search.
constexpr uint32_t kSmallField = 3;
// Pairs of the first timing; twice as many in every round that follows.
constexpr size_t kFirstPairs = 2;
constexpr size_t kMostRoundPairs = 12;
// What is so much slower than what is in force has no chance.
constexpr uint64_t kHopelessPerMille = 1100;
constexpr uint32_t kFinalists = 2;
constexpr uint64_t kNoGain = 1000;  // as fast as the reference
constexpr uint32_t kNone = ~uint32_t{0};

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
    Entry &entry = entries_[entry_count_++];
    entry = {};
    entry.target = &target;
    entry.function = profile_().key(target.name());
    entry.rule_gain = kNoGain;
    return_to_start(entry, mode_);
    return {};
}

void Optimizer::remove_all() {
    abandon();
    for (size_t i = 0; i < entry_count_; ++i) {
        return_to_start(entries_[i], JitMode::kOff);
    }
    entry_count_ = 0;
}

void Optimizer::set_mode(JitMode mode) {
    if (mode == mode_) {
        return;
    }
    abandon();
    mode_ = mode;
    for (size_t i = 0; i < entry_count_; ++i) {
        return_to_start(entries_[i], mode);
        entries_[i].considered = 0;
    }
}

FunctionId Optimizer::function_of(const OptimizationTarget &target) const {
    for (size_t i = 0; i < entry_count_; ++i) {
        if (entries_[i].target == &target) {
            return entries_[i].function;
        }
    }
    return kNoFunction;
}

uint64_t Optimizer::calls(const OptimizationTarget &target) const {
    return profile_().calls(function_of(target));
}

void Optimizer::gave_up(const OptimizationTarget &target, int level) {
    for (size_t i = 0; i < entry_count_; ++i) {
        if (entries_[i].target == &target) {
            set_level(entries_[i], level);
            profile_().set_code_bytes(entries_[i].function, 0);
        }
    }
}

void Optimizer::set_level(Entry &entry, int level) {
    const FunctionId id = entry.function;
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
void Optimizer::record_win(Entry &entry) {
    entry.choice.function = std::string_view(entry.target->name());
    entry.choice.variant = entry.target->candidate_name(level_, candidate_);
    entry.choice.ticks = median(times_.candidate());
    entry.choice.rule_ticks = median(times_.current());
    entry.gain = entry.gain * entry.choice.rule_ticks / std::max<uint64_t>(entry.choice.ticks, 1);
    const FunctionId id = entry.function;
    entry.drift.restart(profile_().single_calls(id), profile_().single_cycles(id));
    ++revision_;
}

// To what runs without having been measured: no promotion.
void Optimizer::return_to_start(Entry &entry, JitMode mode) {
    set_start(entry, entry.target->start(mode));
}

void Optimizer::set_start(Entry &entry, int level) {
    const uint64_t promotions = promotions_;
    entry.start_level = level;
    set_level(entry, entry.start_level);
    promotions_ = promotions;
    entry.choice = {};
    entry.gain = kNoGain;
}

void Optimizer::recall(const TunedChoice &choice) {
    for (size_t i = 0; i < entry_count_; ++i) {
        Entry &entry = entries_[i];
        if (entry.target->name() == choice.function.view() && entry.considered == 0) {
            entry.recalled = choice;
            entry.recall = Recall::kChoice;
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
        if (entry.level > 0 && entry.choice.function.len != 0) {
            out[count] = entry.choice;
            out[count++].level = static_cast<uint8_t>(entry.level);
        }
    }
    return count;
}

Optimizer::Gain Optimizer::gain(FunctionId function) const {
    for (size_t i = 0; i < entry_count_; ++i) {
        const Entry &entry = entries_[i];
        if (entry.function == function && function != kNoFunction) {
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
    left_out_ = 0;
    spoiled_ = 0;
}

// Gives up what is in hand without a verdict.
void Optimizer::abandon() {
    if (phase_ != Phase::kNone && phase_ != Phase::kPrepare) {
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
    candidate_begin_ = first;
    candidate_end_ = std::min(end, kMaxField);
    won_ = false;
    kept_ = false;
    reference_ticks_ = 0;
    phase_ = Phase::kPrepare;
    const bool search = level > 1 && end - first > kSmallField;
    stage_ = search ? Stage::kFamilies : Stage::kJudge;
    round_pairs_ = kFirstPairs;
    for (Score &score : scores_) {
        score = {};
    }
    for (uint32_t i = first; i < candidate_end_ && !search; ++i) {
        scores_[i].in_round = true;
    }
}

// Remembered choices come before everything else: they are the shortest way to what is fast. Then
// the rules of thumb, to know what they are worth.
bool Optimizer::find_recall() {
    for (size_t i = 0; i < entry_count_; ++i) {
        Entry &entry = entries_[i];
        if (entry.recall != Recall::kChoice) {
            continue;
        }
        entry.recall = Recall::kRule;
        int level = entry.recalled.level;
        if (level > max_level(mode_)) {
            continue;
        }
        // Where a level had nothing faster, one of a lower level's is in force.
        for (; level > 0; --level) {
            const uint32_t count = entry.target->candidate_count(level);
            for (uint32_t index = 0; index < count; ++index) {
                if (entry.target->candidate_name(level, index) == entry.recalled.variant.view()) {
                    recalling_ = true;
                    begin(i, level, index, index + 1);
                    return true;
                }
            }
        }
        ++recalls_lost_;
    }
    for (size_t i = 0; i < entry_count_; ++i) {
        Entry &entry = entries_[i];
        const bool due = entry.recall == Recall::kRule && max_level(mode_) > 0;
        entry.recall = Recall::kNone;
        if (const uint32_t count = due ? entry.target->candidate_count(1) : 0; count != 0) {
            begin(i, 1, 0, count);
            return true;
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
        const FunctionId id = entry.function;
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
        const uint64_t calls = profile_().calls(entry.function);
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
        case Phase::kCheck:
        case Phase::kProve:
            return check();
        case Phase::kTime:
            return time();
    }
}

void Optimizer::check() {
    struct Call {
        OptimizationTarget *target;
        OptimizationTarget::Check check;
    } call = {entries_[entry_].target, OptimizationTarget::Check::kDiffers};
    if (!guard(
            [](void *context) {
                auto *const c = static_cast<Call *>(context);
                c->check = c->target->check_some();
            },
            &call)) {
        return;
    }
    if (call.check == OptimizationTarget::Check::kDiffers) {
        return decide(TryVerdict::kDiffered);
    }
    proved_ = call.check == OptimizationTarget::Check::kEqual;
    if (phase_ == Phase::kProve) {
        if (proved_) {
            decide(TryVerdict::kWon);
        }
    } else if (proved_ || !against_reference()) {
        phase_ = Phase::kTime;
    }
}

void Optimizer::time() {
    if (!warm_up()) {
        return;
    }
    take_pair();
    if (stage_ != Stage::kJudge) {
        if (times_.count() >= round_pairs_ ||
            smallest(times_.candidate()) > 2 * smallest(times_.current())) {
            score(times_);
        }
        return;
    }
    switch (judge(times_)) {
        case TimingVerdict::kMore:
            return;
        case TimingVerdict::kWon:
            if (!proved_) {
                phase_ = Phase::kProve;
                return;
            }
            return decide(TryVerdict::kWon);
        case TimingVerdict::kLost:
            // What was found to be the fastest before is not lost to a few bad measurements.
            return recalling_ && times_.count() < PairedTimes::kMaxPairs
                       ? void()
                       : decide(TryVerdict::kLost);
    }
}

// ------------------------------------------------------------------ which is tried

// False: the level is done.
bool Optimizer::choose_next() {
    for (;;) {
        if (stage_ == Stage::kFamilies) {
            if (choose_untried(kNone)) {
                return true;
            }
            stage_ = Stage::kNeighbours;
        } else if (stage_ == Stage::kNeighbours) {
            const uint32_t center =
                lowest([](const Score &s) { return s.standing == Standing::kScored; });
            if (center != kNone && choose_untried(center)) {
                return true;
            }
            next_round();
        } else if (choose_in_round()) {
            return true;
        } else if (stage_ == Stage::kJudge) {
            return false;
        } else {
            next_round();
        }
    }
}

// Without a center: the first of each family; when that cannot be used, the next one. With one: its
// neighbours.
bool Optimizer::choose_untried(uint32_t center) {
    for (candidate_ = candidate_begin_; candidate_ < candidate_end_; ++candidate_) {
        if (scores_[candidate_].standing != Standing::kUntried) {
            continue;
        }
        const CandidatePlace place = place_of(candidate_);
        bool wanted = center == kNone || place.is_neighbour(place_of(center));
        for (uint32_t i = candidate_begin_; i < candidate_ && wanted && center == kNone; ++i) {
            wanted = scores_[i].standing != Standing::kScored || place_of(i).family != place.family;
        }
        if (wanted) {
            return true;
        }
    }
    return false;
}

uint32_t Optimizer::lowest(bool (*wanted)(const Score &)) const {
    uint32_t found = kNone;
    for (uint32_t i = candidate_begin_; i < candidate_end_; ++i) {
        if (wanted(scores_[i]) &&
            (found == kNone || scores_[i].per_mille < scores_[found].per_mille)) {
            found = i;
        }
    }
    return found;
}

// Best first; what has no score yet in the order of the field.
bool Optimizer::choose_in_round() {
    candidate_ = lowest([](const Score &s) { return s.in_round; });
    return candidate_ != kNone;
}

// The better half goes on to a longer timing, or to be judged; the others have lost.
void Optimizer::next_round() {
    const auto undecided = [](const Score &s) {
        return s.standing == Standing::kScored && !s.logged && !s.in_round;
    };
    uint32_t alive = 0;
    for (const Score &s : scores_) {
        alive += undecided(s);
    }
    const uint32_t places = alive <= kFinalists + 1 ? kFinalists : (alive + 1) / 2;
    stage_ = places <= kFinalists ? Stage::kJudge : Stage::kHalve;
    round_pairs_ = std::min(2 * round_pairs_, kMostRoundPairs);
    for (uint32_t taken = 0;; ++taken) {
        const uint32_t next = lowest(undecided);
        if (next == kNone) {
            return;
        }
        Score &s = scores_[next];
        if (taken < places && s.per_mille < kHopelessPerMille) {
            s.in_round = true;
        } else {
            log(next, TryVerdict::kLost, 0, s.candidate_ticks, s.current_ticks);
        }
    }
}

// Timed for the search: nothing is decided yet.
void Optimizer::score(const PairedTimes &times) {
    const auto narrow = [](uint64_t ticks) {
        return static_cast<uint32_t>(std::clamp<uint64_t>(ticks, 1, ~uint32_t{0}));
    };
    Score &s = scores_[candidate_];
    s.standing = Standing::kScored;
    s.candidate_ticks = narrow(smallest(times.candidate()));
    s.current_ticks = narrow(smallest(times.current()));
    s.per_mille = uint64_t{s.candidate_ticks} * 1000 / s.current_ticks;
    spoiled_ += times.spoiled();
    entries_[entry_].target->drop();
    phase_ = Phase::kPrepare;
}

// ------------------------------------------------------------------ one candidate

void Optimizer::prepare() {
    OptimizationTarget &target = *entries_[entry_].target;
    if (!choose_next()) {
        finish_level();
        return;
    }
    const uint64_t before = clock_();
    const auto prepared = target.prepare(level_, candidate_);
    compile_ticks_ += clock_() - before;
    Score &score = scores_[candidate_];
    score.in_round = prepared == OptimizationTarget::Prepared::kMore && score.in_round;
    times_ = {};
    warm_ = false;
    proved_ = false;
    switch (prepared) {
        case OptimizationTarget::Prepared::kReady:
            measure_reference();
            phase_ = stage_ == Stage::kHalve ? Phase::kTime : Phase::kCheck;
            return;
        case OptimizationTarget::Prepared::kInForce:
            // Its neighbours count as any other's.
            kept_ = true;
            score.standing = Standing::kScored;
            score.logged = true;
            score.per_mille = kNoGain;
            return;
        case OptimizationTarget::Prepared::kUnavailable:
            score.standing = Standing::kOut;
            log(candidate_, TryVerdict::kUnavailable, 0, 0, 0);
            return;
        case OptimizationTarget::Prepared::kMore:
            return;
    }
}

// For the deadlines of what is tried.
void Optimizer::measure_reference() {
    if (reference_ticks_ == 0) {
        const uint64_t start = clock_();
        entries_[entry_].target->run_reference();
        reference_ticks_ = std::max<uint64_t>(clock_() - start, 1);
    }
}

// False: the candidate was dropped.
bool Optimizer::guard(void (*function)(void *), void *context) {
    // What is in force already gets all the time there is: a busy machine must not take it away.
    const uint64_t like = against_reference() ? ~uint64_t{0} : reference_ticks_;
    const GuardedOutcome outcome = guarded_call_like(function, context, like);
    if (outcome != GuardedOutcome::kReturned) {
        decide(verdict_of(outcome));
    }
    return outcome == GuardedOutcome::kReturned;
}

// The first runs after an interruption find cold caches and, in an emulator, untranslated code:
// they are not counted. False: the candidate's was its last.
bool Optimizer::warm_up() {
    if (warm_) {
        return true;
    }
    OptimizationTarget *const target = entries_[entry_].target;
    against_reference() ? target->run_reference() : target->run_current();
    warm_ = guard(
        [](void *context) { static_cast<OptimizationTarget *>(context)->run_candidate(); }, target);
    return warm_;
}

// One run of each, the order changing from pair to pair.
void Optimizer::take_pair() {
    OptimizationTarget &target = *entries_[entry_].target;
    const bool candidate_first = (times_.count() + times_.spoiled()) % 2 != 0;
    const auto run = [&](bool candidate) {
        if (candidate) {
            target.run_candidate();
        } else if (against_reference()) {
            target.run_reference();
        } else {
            target.run_current();
        }
    };
    const uint64_t start = clock_();
    run(candidate_first);
    const uint64_t middle = clock_();
    run(!candidate_first);
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
    log(candidate_, verdict, code_bytes, median(times_.candidate()), median(times_.current()));
    spoiled_ += times_.spoiled();
    Entry &entry = entries_[entry_];
    // A remembered choice is in force already, and was timed against what is timed here.
    const bool beside = against_reference() && entry.level > 1;
    if (level_ == 1 && times_.count() != 0) {
        entry.rule_gain = (against_reference() ? kNoGain : entry.gain) * median(times_.current()) /
                          std::max<uint64_t>(median(times_.candidate()), 1);
    }
    if (beside && times_.count() != 0) {
        if (entry.start_level != 0) {
            entry.gain = entry.gain * entry.rule_gain / kNoGain;
        }
        target.drop();
    } else if (verdict == TryVerdict::kWon) {
        target.install();
        record_win(entry);
        won_ = true;
        profile_().set_code_bytes(entry.function, code_bytes);
    } else {
        target.drop();
        if (against_reference() && entry.level != 0) {
            // In force since the start: there it stays if it is no slower. Who asked for the rule
            // of thumb gets it in any case.
            if (verdict != TryVerdict::kLost) {
                return_to_start(entry, JitMode::kOff);
            } else if (!clearly_slower(times_)) {
                record_win(entry);
            } else if (mode_ == JitMode::kBaseline) {
                entry.gain = entry.rule_gain;
            } else {
                set_start(entry, target.prefer_reference());
            }
        }
    }
    scores_[candidate_].standing = Standing::kOut;
    phase_ = Phase::kPrepare;
}

// Level 1 is in force when a candidate was installed, or since the start. A remembered choice that
// lost leaves its level to be searched. From level 2 on, a field that was measured completely has
// its fastest in force, unless that is the reference still.
void Optimizer::finish_level() {
    Entry &entry = entries_[entry_];
    phase_ = Phase::kNone;
    for (uint32_t i = candidate_begin_; i < candidate_end_; ++i) {
        left_out_ += scores_[i].standing == Standing::kUntried;
    }
    if (recalling_) {
        recalling_ = false;
        (won_ || kept_ ? recalled_ : recalls_lost_) += 1;
        if (!won_ && !kept_) {
            return;
        }
        level_ = entry.recalled.level;
        if (kept_) {
            entry.choice = entry.recalled;
        }
    }
    // A rule of thumb that is better than a remembered choice leaves level 2 to be searched.
    entry.considered = won_ ? level_ : std::max(entry.considered, level_);
    if (won_ || (level_ > 1 && entry.level > 0)) {
        set_level(entry, level_);
    }
}

void Optimizer::log(uint32_t candidate, TryVerdict verdict, uint64_t code_bytes,
                    uint64_t candidate_ticks, uint64_t current_ticks) {
    OptimizationTarget &target = *entries_[entry_].target;
    const std::string_view variant = target.candidate_name(level_, candidate);
    scores_[candidate].logged = true;
    OptimizationTry &entry = tries_[logged_++ % tries_.size()];
    entry = {.function = target.name(),
             .level = static_cast<uint8_t>(level_),
             .verdict = verdict,
             .code_bytes = static_cast<uint32_t>(code_bytes),
             .candidate_ticks = candidate_ticks,
             .current_ticks = current_ticks,
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
    return bareflow::optimizer().work(bareflow::platform::ticks() +
                                      bareflow::ms_to_ticks(bareflow::kCallMs));
}
