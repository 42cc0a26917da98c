// The log probabilities that a request asked for: of the chosen token and of the likeliest ones, as
// the model gave them, before biases, penalties and temperature.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "llama/engine/changed_logits.h"
#include "llama/engine/engine.h"

namespace bareflow::llama {

class LogprobList {
  public:
    // Not wanted: entries() is empty.
    void start(bool wanted, uint32_t top_logprobs);
    [[nodiscard]] bool wanted() const { return wanted_; }
    // Looks at the logits [begin, end) for the greatest one and the likeliest tokens.
    void look_at(const ChangedLogits &logits, uint32_t begin, uint32_t end);
    [[nodiscard]] float greatest() const { return log_max_; }
    // `log_sum`: the logarithm of the sum of exp(logit - greatest()) over all logits.
    void set_log_sum(float log_sum) { log_sum_ = log_sum; }
    // Writes down the choice, and makes log probabilities out of logits.
    void finish(Token chosen, float logit);
    // After finish(): the chosen token, then the likeliest ones, best first.
    [[nodiscard]] std::span<const TokenLogprob> entries() const {
        return std::span(entries_).first(wanted_ ? 1 + top_count_ : 0);
    }

  private:
    void offer(TokenLogprob seen);

    std::array<TokenLogprob, 1 + SamplingParams::kMaxLogprobs> entries_{};
    bool wanted_ = false;
    uint32_t top_limit_ = 0;
    uint32_t top_count_ = 0;
    float log_max_ = 0.0f;
    float log_sum_ = 0.0f;
};

}  // namespace bareflow::llama
