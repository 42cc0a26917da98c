// What must hold: no candidate wins before all of its results were found equal, and none runs
// outside a guarded call before one run of it inside one has returned.
#include "kernel_lib/jit/candidate_try.h"

#include <algorithm>

#include "kernel_lib/cpu/guarded_call.h"

namespace bareflow {

void CandidateTry::set_target(OptimizationTarget &target) {
    target_ = &target;
    reference_ticks_ = 0;
}

void CandidateTry::start(const Candidate &candidate, const Terms &terms) {
    // The deadlines of the guarded calls follow from the time of the reference.
    if (reference_ticks_ == 0) {
        const uint64_t start = clock_();
        target_->run_reference();
        reference_ticks_ = std::max<uint64_t>(clock_() - start, 1);
    }
    terms_ = terms;
    against_reference_ = candidate.is_start();
    warm_ = false;
    proved_ = false;
    times_ = {};
    phase_ = terms.was_checked ? Phase::kTime : Phase::kCheck;
}

CandidateTry::Step CandidateTry::step() {
    return phase_ == Phase::kTime ? time() : check();
}

CandidateTry::Step CandidateTry::decide(TryVerdict verdict) {
    if (verdict != TryVerdict::kWon && verdict != TryVerdict::kLost) {
        times_ = {};
    }
    verdict_ = verdict;
    phase_ = Phase::kNone;
    return Step::kDecided;
}

// False: the candidate faulted or overran, and has its verdict.
bool CandidateTry::guard(void (*function)(void *), void *context) {
    // What may be in force already gets the longest deadline: a busy machine must not make it lose.
    const uint64_t like = against_reference_ ? ~uint64_t{0} : reference_ticks_;
    const GuardedOutcome outcome = guarded_call_like(function, context, like);
    if (outcome == GuardedOutcome::kReturned) {
        return true;
    }
    (void)decide(outcome == GuardedOutcome::kFaulted ? TryVerdict::kFaulted : TryVerdict::kOverran);
    return false;
}

CandidateTry::Step CandidateTry::check() {
    struct Call {
        OptimizationTarget *target;
        OptimizationTarget::Check check;
    } call = {target_, OptimizationTarget::Check::kDiffers};
    if (!guard(
            [](void *context) {
                auto *const c = static_cast<Call *>(context);
                c->check = c->target->check_some();
            },
            &call)) {
        return Step::kDecided;
    }
    if (call.check == OptimizationTarget::Check::kDiffers) {
        return decide(TryVerdict::kDiffered);
    }
    proved_ = call.check == OptimizationTarget::Check::kEqual;
    if (phase_ == Phase::kProve) {
        return proved_ ? decide(TryVerdict::kWon) : Step::kMore;
    }
    // What may be in force already is compared to the end before anything else.
    if (proved_ || !against_reference_) {
        phase_ = Phase::kTime;
    }
    return Step::kMore;
}

CandidateTry::Step CandidateTry::time() {
    if (!warm_ && !warm_up()) {
        return Step::kDecided;
    }
    take_pair();
    if (!terms_.judged) {
        if (times_.count() < terms_.pairs &&
            smallest(times_.candidate()) <= 2 * smallest(times_.current())) {
            return Step::kMore;
        }
        phase_ = Phase::kNone;
        return Step::kScored;
    }
    switch (judge(times_)) {
        case TimingVerdict::kMore:
            return Step::kMore;
        case TimingVerdict::kWon:
            if (proved_) {
                return decide(TryVerdict::kWon);
            }
            phase_ = Phase::kProve;
            return Step::kMore;
        case TimingVerdict::kLost:
            return terms_.patient && times_.count() < PairedTimes::kMaxPairs
                       ? Step::kMore
                       : decide(TryVerdict::kLost);
    }
    return Step::kMore;
}

// What the candidate is compared with.
void CandidateTry::run_other() {
    against_reference_ ? target_->run_reference() : target_->run_current();
}

// The first runs after an interruption find cold caches and, in an emulator, untranslated code:
// they are not counted. False: the candidate has its verdict.
bool CandidateTry::warm_up() {
    run_other();
    warm_ =
        guard([](void *context) { static_cast<OptimizationTarget *>(context)->run_candidate(); },
              target_);
    return warm_;
}

// One run of each. Which side runs first changes from pair to pair.
void CandidateTry::take_pair() {
    const bool candidate_first = (times_.count() + times_.spoiled()) % 2 != 0;
    const auto run = [&](bool candidate) { candidate ? target_->run_candidate() : run_other(); };
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

}  // namespace bareflow
