// The thresholds of the judgement. Clear cases are settled after a few pairs of runs, close ones
// after all pairs, and a candidate that is not clearly faster in the end has lost.
#include "kernel_lib/jit/adaptive.h"

#include <algorithm>

namespace bareflow {

namespace {

// Pairs before a clear case is settled, and what counts as clear.
constexpr size_t kFewPairs = 3;
constexpr size_t kSomePairs = 7;
constexpr uint64_t kClearPerMille = 200;

// a < b by more than `per_mille` of b (times of runs: far below 2^54).
bool below(uint64_t a, uint64_t b, uint64_t per_mille) {
    return a * 1000 < b * (1000 - per_mille);
}

}  // namespace

int level_to_consider(uint64_t calls, const JitThresholds &thresholds, int considered,
                      JitMode mode) {
    const int allowed = std::min(level_for_calls(calls, thresholds), max_level(mode));
    return considered < allowed ? considered + 1 : 0;
}

uint64_t smallest(std::span<const uint64_t> values) {
    return *std::ranges::min_element(values);
}

void PairedTimes::add(uint64_t current_ticks, uint64_t candidate_ticks) {
    if (count_ == kMaxPairs) {
        return;
    }
    current_[count_] = current_ticks;
    candidate_[count_++] = candidate_ticks;
    const uint64_t most_current = kSpoiledTimes * smallest(current());
    const uint64_t most_candidate = kSpoiledTimes * smallest(candidate());
    for (size_t i = 0; i < count_ && spoiled_ < kMaxSpoiled;) {
        if (current_[i] <= most_current && candidate_[i] <= most_candidate) {
            ++i;
            continue;
        }
        ++spoiled_;
        --count_;
        current_[i] = current_[count_];
        candidate_[i] = candidate_[count_];
    }
}

uint64_t median(std::span<const uint64_t> values) {
    for (const uint64_t value : values) {
        size_t less = 0;
        size_t equal = 0;
        for (const uint64_t other : values) {
            less += other < value;
            equal += other == value;
        }
        const size_t middle = (values.size() - 1) / 2;
        if (less <= middle && middle < less + equal) {
            return value;
        }
    }
    return 0;
}

TimingVerdict judge(const PairedTimes &times) {
    if (times.count() < kFewPairs) {
        return TimingVerdict::kMore;
    }
    const uint64_t current_min = smallest(times.current());
    const uint64_t candidate_min = smallest(times.candidate());
    const uint64_t current_median = median(times.current());
    const uint64_t candidate_median = median(times.candidate());
    const auto wins_by = [&](uint64_t per_mille) {
        return below(candidate_min, current_min, per_mille) &&
               below(candidate_median, current_median, per_mille);
    };
    if (below(current_min, candidate_min, kClearPerMille) &&
        below(current_median, candidate_median, kClearPerMille)) {
        return TimingVerdict::kLost;
    }
    if (wins_by(kClearPerMille)) {
        return TimingVerdict::kWon;
    }
    if (times.count() < kSomePairs) {
        return TimingVerdict::kMore;
    }
    if (candidate_min >= current_min && candidate_median >= current_median) {
        return TimingVerdict::kLost;
    }
    if (times.count() < PairedTimes::kMaxPairs) {
        return TimingVerdict::kMore;
    }
    return wins_by(kNoisePerMille) ? TimingVerdict::kWon : TimingVerdict::kLost;
}

bool clearly_slower(const PairedTimes &times) {
    return below(smallest(times.current()), smallest(times.candidate()), kNoisePerMille) &&
           below(median(times.current()), median(times.candidate()), kNoisePerMille);
}

void DriftWatch::restart(uint64_t calls, uint64_t cycles) {
    window_calls_ = calls;
    window_cycles_ = cycles;
    best_ = 0;
    slow_windows_ = 0;
}

bool DriftWatch::observe(uint64_t calls, uint64_t cycles) {
    if (calls < window_calls_ || cycles < window_cycles_) {
        restart(calls, cycles);  // the counters were cleared
        return false;
    }
    const uint64_t in_window = calls - window_calls_;
    const uint64_t spent = cycles - window_cycles_;
    if (in_window < kWindowCalls || spent < kWindowCycles) {
        return false;
    }
    window_calls_ = calls;
    window_cycles_ = cycles;
    const uint64_t mean = spent / in_window;
    if (best_ == 0 || mean < best_) {
        best_ = mean;
    }
    slow_windows_ = mean > best_ + best_ * kMarginPerMille / 1000 ? slow_windows_ + 1 : 0;
    const uint32_t patience = std::max(patience_, kFirstPatience);
    if (slow_windows_ < patience) {
        return false;
    }
    patience_ = std::min(2 * patience, kMostPatience);
    restart(calls, cycles);
    return true;
}

}  // namespace bareflow
