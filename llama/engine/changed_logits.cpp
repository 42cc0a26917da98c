#include "llama/engine/changed_logits.h"

#include <algorithm>
#include <bit>

#include "compute/numbers/vec.h"

namespace bareflow::llama {

void ChangedLogits::start(const SampledText &text, std::span<const float> logits) {
    logits_ = logits;
    change_count_ = 0;
    next_change_ = 0;
    add_biases(text.params());
    add_penalties(text);
}

// The entry of this token, made if there is none; its logit is still to be changed.
Candidate &ChangedLogits::change_of(uint32_t index) {
    uint32_t at = change_count_;
    while (at > 0 && changes_[at - 1].index >= index) {
        --at;
    }
    if (at == change_count_ || changes_[at].index != index) {
        for (uint32_t i = change_count_; i > at; --i) {
            changes_[i] = changes_[i - 1];
        }
        ++change_count_;
        changes_[at] = {original(index), index};
    }
    return changes_[at];
}

void ChangedLogits::add_biases(const SamplingParams &params) {
    for (const LogitBias &bias : std::span(params.logit_biases).first(params.logit_bias_count)) {
        if (bias.token >= 0 && static_cast<size_t>(bias.token) < logits_.size()) {
            Candidate &to = change_of(static_cast<uint32_t>(bias.token));
            to.logit = to.logit + bias.bias;
        }
    }
}

void ChangedLogits::add_penalties(const SampledText &text) {
    const SamplingParams &params = text.params();
    if (params.repeat_penalty == 1.0f && params.presence_penalty == 0.0f &&
        params.frequency_penalty == 0.0f) {
        return;
    }
    const std::span<const Token> window = text.window();
    for (size_t i = 0; i < window.size(); ++i) {
        const Token token = window[i];
        if (token < 0 || static_cast<size_t>(token) >= logits_.size() ||
            std::ranges::find(window.first(i), token) != window.first(i).end()) {
            continue;  // each token once
        }
        const auto count = static_cast<uint32_t>(std::ranges::count(window, token));
        Candidate &to = change_of(static_cast<uint32_t>(token));
        to.logit =
            to.logit <= 0.0f ? to.logit * params.repeat_penalty : to.logit / params.repeat_penalty;
        const float often = static_cast<float>(count) * params.frequency_penalty;
        to.logit = to.logit - (often + params.presence_penalty);
    }
}

uint32_t ChangedLogits::pass_over(uint32_t begin, uint32_t end, float floor) const {
    if (next_change_ < change_count_) {
        end = std::min(end, changes_[next_change_].index);
    }
    const compute::F32x4 floors = compute::splat4(floor);
    for (; begin + kPassed <= end; begin += kPassed) {
        const float *const at = logits_.data() + begin;
        const auto above = (compute::load4(at) > floors) | (compute::load4(at + 4) > floors) |
                           (compute::load4(at + 8) > floors) | (compute::load4(at + 12) > floors);
        const auto words = std::bit_cast<std::array<uint64_t, 2>>(above);
        if ((words[0] | words[1]) != 0) {
            break;
        }
    }
    return begin;
}

float ChangedLogits::at(uint32_t index) const {
    const std::span<const Candidate> changes = std::span(changes_).first(change_count_);
    const auto found = std::ranges::lower_bound(changes, index, {}, &Candidate::index);
    return found != changes.end() && found->index == index ? found->logit : original(index);
}

}  // namespace bareflow::llama
