#include "kernel_lib/jit/try_log.h"

#include <algorithm>

namespace bareflow {

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

OptimizationTry &TryLog::add(const Candidate &candidate, TryVerdict verdict) {
    const std::string_view variant = candidate.name();
    OptimizationTry &entry = room_[added_++ % room_.size()];
    entry = {.function = candidate.target->name(),
             .level = static_cast<uint8_t>(candidate.level),
             .verdict = verdict,
             .at_ticks = clock_()};
    entry.variant_len =
        static_cast<uint8_t>(std::min(variant.size(), OptimizationTry::kVariantBytes));
    std::copy_n(variant.begin(), entry.variant_len, entry.variant_text.begin());
    ++verdicts_[static_cast<size_t>(verdict)];
    return entry;
}

void TryLog::clear() {
    added_ = 0;
    verdicts_ = {};
}

const OptimizationTry &TryLog::at(size_t index) const {
    return room_[(added_ - count() + index) % room_.size()];
}

}  // namespace bareflow
