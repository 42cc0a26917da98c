// The optimiser's order of work: remembered choices first, then the functions that reached a
// threshold, then those that have become slower.
//
// What must hold: only a candidate that has won is installed, and a level is considered at most
// once between two changes of mode or of speed.
#include "kernel_lib/jit/optimize.h"

#include <algorithm>
#include <memory>

#include "kernel_lib/io/log.h"
#include "kernel_lib/jit_runtime.h"
#include "kernel_lib/platform/platform.h"
#include "kernel_lib/platform/ticks.h"

namespace bareflow {

namespace {

constinit std::array<OptimizationTry, 320> the_log;

// What jit_optimize_hot_functions() may take.
constexpr uint64_t kCallMs = 30;

}  // namespace

// Made at the first call and not by the compiler, so that its table takes no room in the image.
Optimizer &optimizer() {
    static Optimizer the_optimizer(profiler, platform::ticks, the_log);
    return the_optimizer;
}

void jit_set_mode(JitMode mode) {
    optimizer().set_mode(mode);
}

Status Optimizer::add(OptimizationTarget &target) {
    if (function_count_ == kMaxTargets) {
        return {ErrorCode::kExhausted, "more functions to optimise than the table holds"};
    }
    TunedFunction &function = *std::construct_at(&functions_[function_count_++]);
    function.target = &target;
    function.function = profile_().key(target.name());
    function.rule_gain = TunedFunction::kNoGain;
    return_to_start(function, mode_);
    return {};
}

void Optimizer::remove_all() {
    abandon();
    for (size_t i = 0; i < function_count_; ++i) {
        return_to_start(functions_[i], JitMode::kOff);
    }
    function_count_ = 0;
}

void Optimizer::set_mode(JitMode mode) {
    if (mode == mode_) {
        return;
    }
    abandon();
    mode_ = mode;
    for (size_t i = 0; i < function_count_; ++i) {
        return_to_start(functions_[i], mode);
        functions_[i].considered = 0;
    }
}

// function_count_: it is not registered.
size_t Optimizer::index_of(const OptimizationTarget &target) const {
    size_t index = 0;
    while (index < function_count_ && functions_[index].target != &target) {
        ++index;
    }
    return index;
}

FunctionId Optimizer::function_of(const OptimizationTarget &target) const {
    const size_t index = index_of(target);
    return index == function_count_ ? kNoFunction : functions_[index].function;
}

uint64_t Optimizer::calls(const OptimizationTarget &target) const {
    return profile_().calls(function_of(target));
}

void Optimizer::gave_up(const OptimizationTarget &target, int level) {
    if (const size_t index = index_of(target); index != function_count_) {
        set_level(functions_[index], level);
        profile_().set_code_bytes(functions_[index].function, 0);
    }
}

void Optimizer::recall(const TunedChoice &choice) {
    for (size_t i = 0; i < function_count_; ++i) {
        TunedFunction &function = functions_[i];
        if (choice.function.view() == std::string_view(function.target->name()) &&
            function.considered == 0) {
            function.recalled = choice;
            function.recall = TunedFunction::Recall::kChoice;
        }
    }
}

void Optimizer::anticipate() {
    for (size_t i = 0; i < function_count_; ++i) {
        TunedFunction &function = functions_[i];
        if (function.considered == 0 && function.recall == TunedFunction::Recall::kNone) {
            function.recall = TunedFunction::Recall::kRule;
        }
    }
}

size_t Optimizer::choices(std::span<TunedChoice> out) const {
    size_t count = 0;
    for (size_t i = 0; i < function_count_ && count < out.size(); ++i) {
        const TunedFunction &function = functions_[i];
        if (function.level > 0 && function.choice.function.len != 0) {
            out[count] = function.choice;
            out[count++].level = static_cast<uint8_t>(function.level);
        }
    }
    return count;
}

Optimizer::Gain Optimizer::gain(FunctionId function) const {
    for (size_t i = 0; i < function_count_; ++i) {
        if (functions_[i].function == function && function != kNoFunction) {
            return functions_[i].gains();
        }
    }
    return {};
}

void Optimizer::clear_counters() {
    log_.clear();
    counters_ = {};
}

// ------------------------------------------------------------------ what is in force

void Optimizer::set_level(TunedFunction &function, int level) {
    profile_().set_level(function.function, level);
    if (level == 0) {
        profile_().set_code_bytes(function.function, 0);
    }
    if (function.level != level) {
        counters_.promotions += level > function.level;
        function.level = level;
        ++changed_;
        ++revision_;
    }
}

// The candidate that has just won is in force.
void Optimizer::record_win(TunedFunction &function) {
    function.choice.function = std::string_view(function.target->name());
    function.choice.variant = search_.candidate().name();
    function.take_times(try_.times());
    const FunctionId id = function.function;
    function.drift.restart(profile_().single_calls(id), profile_().single_cycles(id));
    ++revision_;
}

void Optimizer::return_to_start(TunedFunction &function, JitMode mode) {
    set_start(function, function.target->start(mode));
}

// Nothing of this was measured, so it is no promotion.
void Optimizer::set_start(TunedFunction &function, int level) {
    const uint64_t promotions = counters_.promotions;
    function.start_level = level;
    set_level(function, level);
    counters_.promotions = promotions;
    function.choice = {};
    function.gain = TunedFunction::kNoGain;
}

// ------------------------------------------------------------------ what to look at

bool Optimizer::has_work() {
    return now_ != nullptr || find_recall() || find_work() || find_drift();
}

void Optimizer::begin(TunedFunction &function, int level, uint32_t first, uint32_t end) {
    now_ = &function;
    won_ = false;
    kept_ = false;
    search_.start(*function.target, level, first, end);
    try_.set_target(*function.target);
}

// Remembered choices come before everything else: they are the shortest way to a fast program. The
// rules of thumb follow, to know how much faster the choices are.
bool Optimizer::find_recall() {
    for (size_t i = 0; i < function_count_; ++i) {
        TunedFunction &function = functions_[i];
        if (function.recall != TunedFunction::Recall::kChoice) {
            continue;
        }
        function.recall = TunedFunction::Recall::kRule;
        int level = function.recalled.level;
        if (level > max_level(mode_)) {
            continue;
        }
        // Where a level had nothing faster, the choice is a candidate of a lower level.
        for (; level > 0; --level) {
            const uint32_t count = function.target->candidate_count(level);
            for (uint32_t index = 0; index < count; ++index) {
                if (function.target->candidate_name(level, index) ==
                    function.recalled.variant.view()) {
                    recalling_ = true;
                    begin(function, level, index, index + 1);
                    return true;
                }
            }
        }
        ++counters_.recalls_lost;
    }
    for (size_t i = 0; i < function_count_; ++i) {
        TunedFunction &function = functions_[i];
        const bool due = function.recall == TunedFunction::Recall::kRule && max_level(mode_) > 0;
        function.recall = TunedFunction::Recall::kNone;
        if (const uint32_t count = due ? function.target->candidate_count(1) : 0; count != 0) {
            begin(function, 1, 0, count);
            return true;
        }
    }
    return false;
}

// A function that was settled and has become slower is searched again from level 2 on. Meanwhile
// what is in force stays.
bool Optimizer::find_drift() {
    bool any = false;
    for (size_t i = 0; i < function_count_; ++i) {
        TunedFunction &function = functions_[i];
        const FunctionId id = function.function;
        if (function.considered > 1 &&
            function.drift.observe(profile_().single_calls(id), profile_().single_cycles(id))) {
            function.considered = 1;
            ++counters_.retunes;
            any = true;
        }
    }
    return any && find_work();
}

// In the order of registration. Tables are small and levels few, so no function waits long.
bool Optimizer::find_work() {
    for (size_t i = 0; i < function_count_; ++i) {
        TunedFunction &function = functions_[i];
        const uint64_t calls = profile_().calls(function.function);
        for (;;) {
            const int level =
                level_to_consider(calls, profile_().thresholds(), function.considered, mode_);
            if (level == 0) {
                break;
            }
            if (const uint32_t count = function.target->candidate_count(level); count != 0) {
                begin(function, level, 0, count);
                return true;
            }
            function.considered = level;
        }
    }
    return false;
}

// ------------------------------------------------------------------ one level of one function

int Optimizer::work(uint64_t deadline_ticks) {
    const uint64_t start = clock_();
    changed_ = 0;
    try_.cool();
    uint64_t now = start;
    while (now < deadline_ticks && has_work()) {
        step();
        now = clock_();
    }
    counters_.spent_ticks += now - start;
    return changed_;
}

void Optimizer::step() {
    if (!try_.is_open()) {
        return prepare();
    }
    switch (try_.step()) {
        case CandidateTry::Step::kMore:
            return;
        case CandidateTry::Step::kScored:
            search_.set_score(try_.times());
            now_->target->drop();
            break;
        case CandidateTry::Step::kDecided:
            decide(try_.verdict());
            break;
    }
    counters_.spoiled += try_.times().spoiled();
}

void Optimizer::prepare() {
    if (!search_.choose_next(log_)) {
        return finish_level();
    }
    const Candidate &candidate = search_.candidate();
    const uint64_t before = clock_();
    const auto prepared = now_->target->prepare(candidate.level, candidate.index);
    counters_.compile_ticks += clock_() - before;
    search_.set_prepared(prepared == OptimizationTarget::Prepared::kMore);
    switch (prepared) {
        case OptimizationTarget::Prepared::kReady:
            // A remembered choice was the fastest once: a few bad measurements must not end it.
            return try_.start(candidate, {.judged = search_.is_judging(),
                                          .pairs = search_.round_pairs(),
                                          .was_checked = search_.was_checked(),
                                          .patient = recalling_});
        case OptimizationTarget::Prepared::kInForce:
            kept_ = true;
            return search_.set_in_force();
        case OptimizationTarget::Prepared::kUnavailable:
            log_.add(candidate, TryVerdict::kUnavailable);
            return search_.set_decided();
        case OptimizationTarget::Prepared::kMore:
            return;
    }
}

void Optimizer::decide(TryVerdict verdict) {
    const Candidate &candidate = search_.candidate();
    OptimizationTarget &target = *candidate.target;
    TunedFunction &function = *now_;
    const PairedTimes &times = try_.times();
    const uint64_t code_bytes = target.code_bytes();
    if (verdict == TryVerdict::kFaulted || verdict == TryVerdict::kOverran) {
        log_line("jit: ", candidate.name(), " for ", target.name(), " ", verdict_name(verdict),
                 " and is not used");
    }
    OptimizationTry &entry = log_.add(candidate, verdict);
    entry.code_bytes = static_cast<uint32_t>(code_bytes);
    entry.candidate_ticks = median(times.candidate());
    entry.current_ticks = median(times.current());
    search_.set_decided();

    const bool timed = times.count() != 0;
    if (candidate.level == 1 && timed) {
        function.take_rule_times(times, candidate.is_start());
    }
    if (candidate.is_start() && function.level > 1 && timed) {
        // A remembered choice is in force already. It was timed against the start, which was timed
        // against the reference now: so the gain over the reference is known.
        if (function.start_level != 0) {
            function.gain = function.gain * function.rule_gain / TunedFunction::kNoGain;
        }
        target.drop();
    } else if (verdict == TryVerdict::kWon) {
        target.install();
        record_win(function);
        won_ = true;
        profile_().set_code_bytes(function.function, code_bytes);
    } else {
        target.drop();
        if (candidate.is_start() && function.level != 0) {
            judge_start(function, verdict);
        }
    }
}

// The start is in force and did not win against the reference. If it is no slower, it stays.
void Optimizer::judge_start(TunedFunction &function, TryVerdict verdict) {
    if (verdict != TryVerdict::kLost) {
        return_to_start(function, JitMode::kOff);
    } else if (!clearly_slower(try_.times())) {
        record_win(function);
    } else if (mode_ == JitMode::kBaseline) {
        function.gain = function.rule_gain;  // this mode asks for the rule of thumb, fast or not
    } else {
        set_start(function, function.target->prefer_reference());
    }
}

// Level 1 is in force when one of its candidates was installed, or since the start. When a
// remembered choice has lost, its level is still to be searched. From level 2 on, a field that was
// measured completely has its fastest candidate in force, unless that is still the reference.
void Optimizer::finish_level() {
    TunedFunction &function = *now_;
    int level = search_.candidate().level;
    now_ = nullptr;
    counters_.left_out += search_.untried();
    if (recalling_) {
        recalling_ = false;
        (won_ || kept_ ? counters_.recalled : counters_.recalls_lost) += 1;
        if (!won_ && !kept_) {
            return;
        }
        level = function.recalled.level;
        if (kept_) {
            function.choice = function.recalled;
        }
    }
    // When a rule of thumb beats a remembered choice, level 2 is still to be searched.
    function.considered = won_ ? level : std::max(function.considered, level);
    if (won_ || (level > 1 && function.level > 0)) {
        set_level(function, level);
    }
}

// Gives up the level, and the candidate in hand without a verdict.
void Optimizer::abandon() {
    if (try_.is_open()) {
        now_->target->drop();
        try_.close();
    }
    now_ = nullptr;
    recalling_ = false;
}

}  // namespace bareflow

extern "C" int jit_optimize_hot_functions(void) {
    return bareflow::optimizer().work(bareflow::platform::ticks() +
                                      bareflow::ms_to_ticks(bareflow::kCallMs));
}
