#include "llama/engine/sampled_text.h"

#include <algorithm>

namespace bareflow::llama {

void SampledText::reset(const SamplingParams &params, std::span<const Token> prompt) {
    params_ = params;
    params_.repeat_last_n = std::min(params.repeat_last_n, SamplingParams::kMaxWindow);
    params_.logit_bias_count = std::min(params.logit_bias_count, SamplingParams::kMaxBiases);
    params_.top_logprobs = std::min(params.top_logprobs, SamplingParams::kMaxLogprobs);
    generator_ = RandomGenerator(params.seed);
    mirostat_mu_ = 2.0f * params.mirostat_tau;
    window_count_ = 0;
    window_next_ = 0;
    for (const Token token : prompt.last(std::min<size_t>(prompt.size(), params_.repeat_last_n))) {
        remember(token);
    }
}

void SampledText::remember(Token token) {
    if (params_.repeat_last_n == 0) {
        return;
    }
    window_[window_next_] = token;
    window_next_ = (window_next_ + 1) % params_.repeat_last_n;
    window_count_ = std::min(window_count_ + 1, params_.repeat_last_n);
}

}  // namespace bareflow::llama
