// What a user of the engine asks for and what comes back. A request has its sampling parameters,
// and a sink hears its tokens. There are figures of one request and of all of them. Plain data;
// engine.h says how it is used.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "llama/text/token.h"

namespace bareflow::llama {

struct LogitBias {
    Token token = 0;  // outside the vocabulary: no effect
    float bias = 0.0f;
};

// Applied in this order, which docs/decisions/0001-numeric-contract.md ("Sampling") prescribes.
// With their defaults all but temperature, top_k and top_p do nothing.
struct SamplingParams {
    static constexpr uint32_t kMaxWindow = 256;
    static constexpr uint32_t kMaxBiases = 32;
    static constexpr uint32_t kMaxLogprobs = 20;

    float repeat_penalty = 1.0f;  // of tokens among the last repeat_last_n
    float presence_penalty = 0.0f;
    float frequency_penalty = 0.0f;
    uint32_t repeat_last_n = 64;  // at most kMaxWindow; the prompt's tokens count, too
    uint32_t top_k = 40;          // 0: all
    float typical_p = 1.0f;       // 1: all
    float top_p = 0.95f;          // 1: all
    float min_p = 0.0f;           // 0: all
    float temperature = 0.8f;     // 0: greedy
    bool mirostat = false;        // version 2, instead of top_k, typical_p, top_p and min_p
    float mirostat_tau = 5.0f;
    float mirostat_eta = 0.1f;
    uint64_t seed = 0;
    // Added before everything else.
    std::array<LogitBias, kMaxBiases> logit_biases{};
    uint32_t logit_bias_count = 0;
    // Engine::logprobs() gets the probability that the model itself gave the chosen token, and
    // those of the `top_logprobs` likeliest tokens.
    bool wants_logprobs = false;
    uint32_t top_logprobs = 0;  // at most kMaxLogprobs
};

struct TokenLogprob {
    Token token = kNoToken;
    float logprob = 0.0f;  // natural logarithm
};

struct Request {
    std::span<const Token> prompt;  // with BOS where the model wants it; Engine::start() copies it
    uint32_t max_tokens = 16;       // 1..; the engine lowers it to what the context still holds
    SamplingParams sampling = {};
    Token also_ends = kNoToken;  // one more token that ends the text
};

enum class FinishReason : uint8_t {
    kStop,       // the model ended the text (EOS)
    kLength,     // max_tokens or the context was reached
    kCancelled,  // cancel()
};

struct Usage {
    uint32_t prompt_tokens = 0;
    uint32_t cached_tokens = 0;      // of the prompt: not computed, a slot already had them
    uint32_t completion_tokens = 0;  // EOS not counted
    // platform::ticks() spent in advance() since the request started: until its prompt was
    // computed, and afterwards, which includes choosing the first token. Time that the engine
    // spends on other requests meanwhile is included.
    uint64_t prompt_ticks = 0;
    uint64_t decode_ticks = 0;
};

// All requests together, since create(). Counters only grow.
struct EngineCounters {
    uint64_t batches = 0;        // computed
    uint64_t tokens = 0;         // in them
    uint64_t prompt_tokens = 0;  // of prompts: computed
    uint64_t copied_tokens = 0;  // of prompts: not computed but copied from another slot
    uint64_t prompt_ticks = 0;   // time in advance(), divided among the tokens of a batch
    uint64_t decode_ticks = 0;
};

using SlotId = uint32_t;

// Hears about requests. The engine calls it from inside advance(), and on_finished also from
// cancel(). Both functions may call start(), cancel() and pause().
class TokenSink {
  public:
    virtual void on_token(SlotId slot, Token token) = 0;  // never EOS
    // The last call for this request. Its slot is free again when this is called.
    virtual void on_finished(SlotId slot, FinishReason reason, const Usage &usage) = 0;

  protected:
    ~TokenSink() = default;
};

}  // namespace bareflow::llama
