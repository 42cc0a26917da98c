#include "llama/engine/fused_steps.h"

#include "kernel_lib/platform/platform.h"

namespace bareflow::llama {
namespace {

constexpr std::string_view kVariant = "fed in one step";  // as the profile shows it
constexpr uint8_t kLevel = 3;

}  // namespace

uint8_t FusedSteps::find_or_add(const char *name) {
    for (uint32_t i = 0; i < count_; ++i) {
        if (pairs_[i].name == name) {
            return static_cast<uint8_t>(i + 1);
        }
    }
    if (count_ == kMaxPairs) {
        return kNone;
    }
    pairs_[count_].name = name;
    return static_cast<uint8_t>(++count_);
}

void FusedSteps::begin(bool measurable) {
    measuring_ = measurable && fusing == Fusing::kMeasured && decided_ != count_;
    // Separate, fused, fused, separate: a cost that grows with the context favours neither way.
    fused_now_ = measuring_ && (tokens_ % 4 == 1 || tokens_ % 4 == 2);
    for (Pair &pair : pairs_) {
        pair.now = 0;
    }
}

bool FusedSteps::fuses(uint8_t pair) const {
    if (pair == kNone || fusing != Fusing::kMeasured) {
        return pair != kNone && fusing == Fusing::kAlways;
    }
    const Pair &of = pairs_[pair - 1];
    return of.decided ? of.fused : fused_now_;
}

uint64_t FusedSteps::tries(TryVerdict verdict) const {
    uint64_t found = 0;
    for (uint32_t i = 0; i < tried_; ++i) {
        found += tries_[i].verdict == verdict;
    }
    return found;
}

void FusedSteps::finish() {
    if (!measuring_) {
        return;
    }
    measuring_ = false;
    for (uint32_t i = 0; i < count_; ++i) {
        Pair &pair = pairs_[i];
        if (tokens_ % 2 == 0) {
            pair.before = pair.now;
        } else if (!pair.decided && pair.now != 0 && pair.before != 0) {
            pair.times.add(fused_now_ ? pair.before : pair.now,
                           fused_now_ ? pair.now : pair.before);
            const TimingVerdict verdict = judge(pair.times);
            if (verdict != TimingVerdict::kMore) {
                decide(pair, verdict == TimingVerdict::kWon ? TryVerdict::kWon : TryVerdict::kLost);
            }
        }
    }
    ++tokens_;
}

void FusedSteps::decide(Pair &pair, TryVerdict verdict) {
    pair.decided = true;
    ++decided_;
    pair.fused = verdict == TryVerdict::kWon;
    OptimizationTry &entry = tries_[tried_++];
    entry.function = pair.name;
    entry.variant_len = static_cast<uint8_t>(kVariant.size());
    __builtin_memcpy(entry.variant_text.data(), kVariant.data(), kVariant.size());
    entry.level = kLevel;
    entry.verdict = verdict;
    entry.candidate_ticks = median(pair.times.candidate());
    entry.current_ticks = median(pair.times.current());
    entry.at_ticks = platform::ticks();
}

}  // namespace bareflow::llama
