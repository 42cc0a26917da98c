#include "appliance/timeline.h"

#include <utility>

namespace bareflow {

void Timeline::clear(uint64_t busy_us, uint64_t tokens, uint64_t promotions) {
    count_ = 0;
    step_us_ = kFirstStepUs;
    zero_us_ = begin_us_ = busy_us;
    begin_tokens_ = seen_tokens_ = tokens;
    begin_promotions_ = promotions;
}

void Timeline::advance(uint64_t busy_us, uint64_t tokens, uint64_t promotions) {
    if (tokens < begin_tokens_ || promotions < begin_promotions_) {
        // The counters were cleared.
        clear(busy_us, tokens, promotions);
    }
    // A point ends together with a token, so that it holds whole tokens. A token that takes longer
    // than step_us_ makes its point longer.
    const bool ended = tokens != std::exchange(seen_tokens_, tokens);
    const uint64_t took_us = busy_us - begin_us_;
    if (took_us < step_us_ || !ended) {
        return;
    }
    if (count_ == kMaxPoints) {
        halve();
    }
    points_[count_++] = {.end_s = static_cast<float>(static_cast<double>(busy_us - zero_us_) / 1e6),
                         .took_s = static_cast<float>(static_cast<double>(took_us) / 1e6),
                         .tokens = static_cast<uint32_t>(tokens - begin_tokens_),
                         .promotions = static_cast<uint32_t>(promotions - begin_promotions_)};
    begin_us_ = busy_us;
    begin_tokens_ = tokens;
    begin_promotions_ = promotions;
}

void Timeline::halve() {
    step_us_ *= 2;
    count_ /= 2;
    for (size_t i = 0; i < count_; ++i) {
        const status::TimelinePoint &a = points_[2 * i];
        const status::TimelinePoint &b = points_[2 * i + 1];
        points_[i] = {.end_s = b.end_s,
                      .took_s = a.took_s + b.took_s,
                      .tokens = a.tokens + b.tokens,
                      .promotions = a.promotions + b.promotions};
    }
}

}  // namespace bareflow
