// The engine: a model that was checked, and a number of slots, each with a text that is being made,
// its KV cache, its random numbers and its limits. All slots go forward together, one batch of
// tokens at a time: a new request joins at the next batch, a finished one leaves. What a text says
// does not depend on the texts in other slots.
//
// The engine knows no network, no console and no device. It works only inside advance(), in slices
// that end at a deadline, if necessary in the middle of one operation. So a caller can poll the
// network between two slices.
#pragma once

#include <cstdint>
#include <span>

#include "kernel_lib/base/result.h"
#include "kernel_lib/cpu/worker_pool.h"
#include "llama/engine/fused_steps.h"
#include "llama/engine/kv_cache.h"
#include "llama/engine/request.h"

namespace bareflow::compute {

struct FloatBinding;   // compute/kernels/float_ops.h
struct KernelBinding;  // compute/kernels/bindings.h
struct PlaceableWeights;

}  // namespace bareflow::compute

namespace bareflow::llama {

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
    // What create() takes beside the KV cache, approximately.
    [[nodiscard]] static uint64_t scratch_bytes(const HyperParameters &parameters,
                                                const EngineConfig &config);
    // How many tokens to compute together if there is memory for it: many if this processor starts
    // with matrix kernels, fewer if not.
    [[nodiscard]] static uint32_t good_batch(const Model &model);

    [[nodiscard]] const Model &model() const;
    [[nodiscard]] uint32_t slot_count() const;
    [[nodiscard]] uint32_t context_length() const;  // of one slot
    [[nodiscard]] EngineMemory memory() const;
    [[nodiscard]] const EngineCounters &counters() const;

    // kExhausted: no slot is free. kInvalid: empty prompt, token out of range, prompt not shorter
    // than the context, max_tokens 0. Does no work yet.
    //
    // Takes the free slot whose last text shares the longest prefix with the prompt, and computes
    // only the tokens behind it. A longer prefix in another slot is copied.
    [[nodiscard]] Result<SlotId> start(const Request &request, TokenSink &sink);
    // The slot is free when this returns. Nothing happens to a free slot.
    void cancel(SlotId slot);
    // A paused text makes no tokens, except for one that is being computed already; the other texts
    // go on. The pause ends with the request.
    void pause(SlotId slot, bool paused);

    // A request is being worked on, paused or not.
    [[nodiscard]] bool busy() const;
    // advance() has something to do.
    [[nodiscard]] bool can_advance() const;
    // Works until there is nothing more to do or `deadline_ticks` (platform::ticks()) has passed;
    // returns at most about 2 ms after it.
    void advance(uint64_t deadline_ticks);

    // The matrix-vector kernels in use, one binding for each shape of weights; see KernelBinding
    // for how to replace a kernel.
    [[nodiscard]] std::span<compute::KernelBinding> kernel_bindings();
    // The matrices themselves: for WeightPlacement.
    [[nodiscard]] compute::PlaceableWeights placeable_weights();
    // The float operations, one binding for each shape.
    [[nodiscard]] std::span<compute::FloatBinding> float_bindings();
    [[nodiscard]] FusedSteps &fused_steps();

    // From inside TokenSink::on_token(), where the request wants them: first of the chosen token,
    // then of the likeliest ones, best first.
    [[nodiscard]] std::span<const TokenLogprob> logprobs() const;

    // The pool whose processors share the work; nullptr: the caller of advance() does it alone. At
    // first worker_pool(). Operations shorter than `min_shared_ticks` stay on one processor (see
    // SharedStep). Not while busy. Text and logits do not depend on it.
    void use_workers(WorkerPool *pool, uint64_t min_shared_ticks = kMinSharedTicks);
    // See Transformer. Call it after something has dropped address translations for a long time.
    void make_room_for_translations();
    // About 10 us: handing out work and the barrier cost about 1 us on hardware, 5 us emulated.
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
