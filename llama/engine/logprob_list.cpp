#include "llama/engine/logprob_list.h"

#include <algorithm>

namespace bareflow::llama {

void LogprobList::start(bool wanted, uint32_t top_logprobs) {
    wanted_ = wanted;
    top_limit_ = top_logprobs;
    top_count_ = 0;
    log_max_ = ChangedLogits::kLowest;
}

void LogprobList::look_at(const ChangedLogits &logits, uint32_t begin, uint32_t end) {
    for (uint32_t i = begin; i < end;) {
        if (top_count_ == top_limit_) {
            i = logits.pass_over(i, end, top_count_ == 0 ? log_max_ : entries_[top_count_].logprob);
        }
        for (const uint32_t last = std::min(i + ChangedLogits::kPassed, end); i < last; ++i) {
            const float logit = logits.original(i);
            log_max_ = logit > log_max_ ? logit : log_max_;
            offer({static_cast<Token>(i), logit});
        }
    }
}

// Keeps the list sorted; of two equal tokens the first one seen stays first.
void LogprobList::offer(TokenLogprob seen) {
    uint32_t at = top_count_;
    while (at > 0 && seen.logprob > entries_[at].logprob) {
        --at;
    }
    if (at == top_limit_) {
        return;
    }
    top_count_ = std::min(top_count_ + 1, top_limit_);
    for (uint32_t i = top_count_; i > at + 1; --i) {
        entries_[i] = entries_[i - 1];
    }
    entries_[at + 1] = seen;
}

void LogprobList::finish(Token chosen, float logit) {
    entries_[0] = {chosen, logit};
    for (TokenLogprob &entry : std::span(entries_).first(1 + top_count_)) {
        entry.logprob = (entry.logprob - log_max_) - log_sum_;
    }
}

}  // namespace bareflow::llama
