// The engine: a model that was checked, and a number of slots, each with a text that is being made,
// its KV cache, its random numbers and its limits. All slots go forward together, one batch of
// tokens at a time: a new request joins at the next batch, a finished one leaves. What a text says
// does not depend on what else is being made.
//
// Knows no network, no console, no device. Work is done only inside advance(), in slices bounded
// by time down to row ranges inside one operation, so that a caller can poll the network meanwhile.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernel_lib/base/result.h"
#include "kernel_lib/cpu/worker_pool.h"
#include "llama/engine/fused_steps.h"
#include "llama/engine/kv_cache.h"
#include "llama/text/token.h"

namespace bareflow::compute {

struct FloatBinding;   // compute/kernels/float_ops.h
struct KernelBinding;  // compute/kernels/bindings.h
struct PlaceableWeights;

}  // namespace bareflow::compute

namespace bareflow::llama {

struct LogitBias {
    Token token = 0;  // outside the vocabulary: no effect
    float bias = 0.0f;
};

// Applied in this order, as docs/decisions/0001-numeric-contract.md ("Sampling") has them. The
// defaults of all but temperature, top_k and top_p do nothing.
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
    bool mirostat = false;        // version 2, in the place of top_k, typical_p, top_p and min_p
    float mirostat_tau = 5.0f;
    float mirostat_eta = 0.1f;
    uint64_t seed = 0;
    // Before everything else.
    std::array<LogitBias, kMaxBiases> logit_biases{};
    uint32_t logit_bias_count = 0;
    // How the model itself saw the token chosen, and so many of the likeliest.
    bool wants_logprobs = false;
    uint32_t top_logprobs = 0;  // at most kMaxLogprobs
};

struct TokenLogprob {
    Token token = kNoToken;
    float logprob = 0.0f;  // natural logarithm
};

struct Request {
    std::span<const Token> prompt;  // BOS included where the model wants it; copied by start()
    uint32_t max_tokens = 16;       // 1..; cut to what the context still holds
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
    uint32_t cached_tokens = 0;      // of the prompt: not computed, another text had them
    uint32_t completion_tokens = 0;  // EOS not counted
    // platform::ticks() spent in advance() since the request began: until its prompt was computed,
    // and on the tokens after it, choosing the first included. Other requests share that time.
    uint64_t prompt_ticks = 0;
    uint64_t decode_ticks = 0;
};

// All requests together, since create(). Counters only grow.
struct EngineCounters {
    uint64_t steps = 0;          // batches computed
    uint64_t rows = 0;           // tokens in them
    uint64_t prompt_tokens = 0;  // of prompts: computed
    uint64_t cached_tokens = 0;  // and those that were there already,
    uint64_t copied_tokens = 0;  // of them copied from another slot
    uint64_t prompt_ticks = 0;   // time in advance(), divided by the tokens of a batch
    uint64_t decode_ticks = 0;
};

using SlotId = uint32_t;

// Hears about requests. Called from inside advance() (on_finished also from cancel()); may call
// start(), cancel() and pause().
class TokenSink {
  public:
    virtual void on_token(SlotId slot, Token token) = 0;  // never EOS
    // Last call for this request; its slot is free again when it is made.
    virtual void on_finished(SlotId slot, FinishReason reason, const Usage &usage) = 0;

  protected:
    ~TokenSink() = default;
};

struct EngineConfig {
    static constexpr uint32_t kMaxSlots = 16;

    uint32_t slots = 1;           // 1 to kMaxSlots
    uint32_t context_length = 0;  // tokens of one slot; 0: the file's own
    uint32_t batch = 32;          // tokens computed together; not below slots
    compute::KvType kv_type = compute::KvType::kF16;
};

struct EngineMemory {
    uint64_t model_bytes = 0;
    uint64_t kv_bytes = 0;
    uint64_t scratch_bytes = 0;
};

class Model;  // llama/model/model.h: a checked view of a GGUF file
struct HyperParameters;

class Engine {
  public:
    // Takes all memory it will ever use. The model must outlive the engine. Errors say what is
    // wrong, in one sentence.
    [[nodiscard]] static Result<Engine *> create(const Model &model, const EngineConfig &config);
    void destroy();
    // What create() takes beside the KV cache, about.
    [[nodiscard]] static uint64_t scratch_bytes(const HyperParameters &parameters,
                                                const EngineConfig &config);
    // How many tokens to compute together if there is memory for it: many with the matrix kernels
    // that this processor starts with, fewer without. A batch that has texts which go on in it is
    // no larger than kRowsBesideTexts, so that a long prompt does not hold them up.
    [[nodiscard]] static uint32_t good_batch(const Model &model);
    static constexpr uint32_t kRowsBesideTexts = 32;
    // Rows of the next batch of an engine with several slots: `batch`, or half of it, and so on,
    // but no fewer than kRowsBesideTexts, so that it is done in kLongestStepSeconds: a request that
    // comes waits for the batch under way. `row_ticks`: what a row has taken; 0: not known.
    [[nodiscard]] static uint32_t rows_of_batch(uint32_t batch, bool beside_texts,
                                                uint64_t row_ticks, uint64_t ticks_per_second);
    static constexpr uint64_t kLongestStepSeconds = 2;

    [[nodiscard]] const Model &model() const;
    [[nodiscard]] uint32_t slot_count() const;
    [[nodiscard]] uint32_t context_length() const;  // of one slot
    [[nodiscard]] EngineMemory memory() const;
    [[nodiscard]] const EngineCounters &counters() const;

    // kExhausted: no slot is free. kInvalid: empty prompt, token out of range, prompt not shorter
    // than the context, max_tokens 0. Does no work yet.
    //
    // Takes the free slot whose last text has the longest beginning in common with the prompt, and
    // computes only the rest; what another slot has of it is copied.
    [[nodiscard]] Result<SlotId> start(const Request &request, TokenSink &sink);
    // The slot is free when this returns. Nothing happens to a free slot.
    void cancel(SlotId slot);
    // A text that waits makes no tokens, except for one that is on its way; the others go on.
    // Forgotten when the request ends.
    void pause(SlotId slot, bool paused);

    // A request is being worked on, paused or not.
    [[nodiscard]] bool busy() const;
    // advance() has something to do.
    [[nodiscard]] bool can_advance() const;
    // Works until there is nothing left to do or `deadline_ticks` (platform::ticks()) has passed;
    // returns at most about 2 ms after it.
    void advance(uint64_t deadline_ticks);

    // The matrix-vector kernels in use, one slot for each shape of weights; see KernelBinding for
    // how to replace one.
    [[nodiscard]] std::span<compute::KernelBinding> kernel_bindings();
    // The matrices themselves: for WeightPlacement.
    [[nodiscard]] compute::PlaceableWeights placeable_weights();
    // The float operations, likewise.
    [[nodiscard]] std::span<compute::FloatBinding> float_bindings();
    [[nodiscard]] FusedSteps &fused_steps();

    // From inside TokenSink::on_token(), where the request wants them: of the token, then of the
    // likeliest ones, best first.
    [[nodiscard]] std::span<const TokenLogprob> logprobs() const;

    // Whose processors share the work; nullptr: the caller of advance() does it alone. At first
    // worker_pool(). Operations shorter than `min_shared_ticks` stay on one processor (see
    // Transformer). Not while busy. Text and logits do not depend on it.
    void use_workers(WorkerPool *pool, uint64_t min_shared_ticks = kMinSharedTicks);
    // See Transformer: for the next steps, after whatever dropped address translations for long.
    void make_room_for_translations();
    // Some 10 us: handing out work and the barrier cost about 1 us on hardware, 5 us emulated.
    static constexpr uint64_t kMinSharedTicks = 25'000;

    // The logits that the last token was chosen from, vocabulary long; until advance() is called
    // again. For tests and tools.
    [[nodiscard]] std::span<const float> logits() const;

  private:
    Engine() = default;
    ~Engine() = default;
    struct State;
    State *state_ = nullptr;
};

}  // namespace bareflow::llama
