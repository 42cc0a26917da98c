// The logits of one choice after biases and penalties. Only the few that differ from the model's
// are stored (at most kMaxWindow + kMaxBiases); all others are read where the engine left them. A
// NaN counts as the smallest logit.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <span>

#include "llama/engine/candidate_list.h"
#include "llama/engine/sampled_text.h"

namespace bareflow::llama {

class ChangedLogits {
  public:
    static constexpr float kLowest = -std::numeric_limits<float>::infinity();
    // pass_over() compares this many logits at once.
    static constexpr uint32_t kPassed = 16;

    // Applies the parameters of `text`. `logits` must stay until the choice is made.
    void start(const SampledText &text, std::span<const float> logits);

    [[nodiscard]] uint32_t size() const { return static_cast<uint32_t>(logits_.size()); }
    // The model's own logit. A NaN equals nothing, itself included.
    [[nodiscard]] float original(uint32_t index) const {
        const float logit = logits_[index];
        return logit == logit ? logit : kLowest;
    }
    // The logit after the changes. For reading one after the other: `index` must increase from call
    // to call, and may jump only over indices that pass_over() left out.
    [[nodiscard]] float next(uint32_t index) {
        if (next_change_ < change_count_ && changes_[next_change_].index == index) {
            return changes_[next_change_++].logit;
        }
        return original(index);
    }
    // The same for any index; takes a search.
    [[nodiscard]] float at(uint32_t index) const;
    // The first index in [begin, end) that has to be looked at: the logits before it are unchanged
    // and not greater than `floor`.
    [[nodiscard]] uint32_t pass_over(uint32_t begin, uint32_t end, float floor) const;

  private:
    void add_biases(const SamplingParams &params);
    void add_penalties(const SampledText &text);
    Candidate &change_of(uint32_t index);

    std::span<const float> logits_;
    std::array<Candidate, SamplingParams::kMaxWindow + SamplingParams::kMaxBiases>
        changes_{};  // sorted by index
    uint32_t change_count_ = 0;
    uint32_t next_change_ = 0;  // the first change that next() has not returned
};

}  // namespace bareflow::llama
