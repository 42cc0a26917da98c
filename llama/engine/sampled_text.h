// What belongs to one text that is being made: its sampling parameters, its random numbers, the
// last tokens, which the penalties look at, and mirostat's limit.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "llama/engine/engine.h"
#include "llama/engine/random_generator.h"
#include "llama/text/token.h"

namespace bareflow::llama {

class SampledText {
  public:
    SampledText() = default;
    // Starts a new text. The end of `prompt` fills the window of the penalties; the sampler adds
    // each token that it chooses.
    void reset(const SamplingParams &params, std::span<const Token> prompt = {});

    [[nodiscard]] const SamplingParams &params() const { return params_; }
    // The last tokens of the text, at most repeat_last_n, in no particular order.
    [[nodiscard]] std::span<const Token> window() const {
        return std::span(window_).first(window_count_);
    }
    void remember(Token token);
    [[nodiscard]] float next_uniform() { return generator_.uniform(); }

    // Mirostat leaves out tokens that surprise more than this; in bits.
    [[nodiscard]] float greatest_surprise() const { return mirostat_mu_; }
    // The chosen token's surprise, in bits, moves the limit towards the wished surprise.
    void learn_surprise(float surprise) {
        mirostat_mu_ = mirostat_mu_ - params_.mirostat_eta * (surprise - params_.mirostat_tau);
    }

  private:
    SamplingParams params_;
    RandomGenerator generator_;
    float mirostat_mu_ = 0.0f;
    std::array<Token, SamplingParams::kMaxWindow> window_{};  // a ring of repeat_last_n tokens
    uint32_t window_count_ = 0;
    uint32_t window_next_ = 0;  // where the next token goes
};

}  // namespace bareflow::llama
