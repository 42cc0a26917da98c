// One step of the `llama` architecture: a token in, logits out, compiled at load into a flat list
// of operations. Each operation has a number of units (rows, groups, heads times positions) that
// can be done in any split, so that advance() can stop between any two; the arithmetic is
// docs/decisions/0001-numeric-contract.md whatever the split.
//
// A long operation is shared by the processors of a WorkerPool. Each unit is computed by one of
// them, by the same code, and no sum runs across units that are apart, so the result does not
// depend on how many there are.
//
// All memory is taken in create(). Not reentrant; one caller.
#pragma once

#include <cstdint>
#include <span>

#include "kernel_lib/base/result.h"
#include "kernel_lib/cpu/worker_pool.h"
#include "kernel_lib/memory/buffer.h"
#include "llama/kernels.h"
#include "llama/kv_cache.h"
#include "llama/model.h"
#include "llama/op_costs.h"
#include "llama/ops.h"
#include "llama/quant.h"
#include "llama/token.h"

namespace bareflow::llama {

class Transformer {
  public:
    Transformer() = default;
    // Memory for `positions` positions; kTooLarge when there is not enough. The model must outlive
    // this. positions <= max_positions().
    [[nodiscard]] static Result<Transformer> create(const Model &model, uint32_t positions);
    // What 32-bit counts of units can hold: heads * positions < 2^31.
    [[nodiscard]] static uint32_t max_positions(const HyperParameters &parameters) {
        return (1u << 31) / parameters.heads - 1;
    }
    // Bytes that every position of context costs.
    [[nodiscard]] static uint64_t position_bytes(const HyperParameters &parameters);

    // Starts computing `token` at `position` (all earlier ones were computed, or the context is
    // theirs to spoil). Without `want_logits` the output matrix is left out: a prompt needs it for
    // its last token only.
    void begin(Token token, uint32_t position, bool want_logits);
    // Works until the step is complete (true) or `deadline_ticks` has passed (false); does at least
    // one unit. Overshoots by one unit, or by what the cost of a unit was underestimated.
    [[nodiscard]] bool advance(uint64_t deadline_ticks);

    [[nodiscard]] std::span<const float> logits() const { return logits_.span(); }
    [[nodiscard]] std::span<float> logits() { return logits_.span(); }
    [[nodiscard]] uint64_t kv_bytes() const { return kv_.size_bytes(); }
    [[nodiscard]] uint64_t scratch_bytes() const;
    // The matrix-vector kernels by shape; see KernelSlot for how to replace one.
    [[nodiscard]] std::span<KernelSlot> kernel_slots() { return slots_.span().first(slot_count_); }
    [[nodiscard]] OpCosts &costs() { return costs_; }
    // Whose processors share the work from now on; nullptr: the caller of advance() does it alone.
    // Operations that take one processor less than `min_shared_ticks` stay on one, longer ones are
    // shared if that was measured to be faster; 0: all are shared, for tests. What is computed
    // is the same to the last bit. The pool must outlive this.
    void use_workers(WorkerPool *pool, uint64_t min_shared_ticks) {
        pool_ = pool;
        min_shared_ticks_ = min_shared_ticks;
    }

  private:
    enum class StepKind : uint8_t {
        kEmbed,            // 1: y[n] = row `token` of the embedding, and RoPE's angles
        kRmsNorm,          // 1: y[n] = norm of x[n] with w
        kQuantize,         // groups of 256: activation_ = q8(x[n])
        kGemv,             // rows: y = W x, or W activation_
        kRope,             // heads, then KV heads: q_ and the new key
        kAttentionScores,  // heads * positions: scores_ and their maxima
        kSoftmax,          // heads * positions: exponentials and their sums
        kAttentionMix,     // heads * positions: probabilities, and the values they weigh
        kSiluMul,          // groups of 256: gate_ = silu(gate_) * up_
        kAdd,              // 1: x[n] += y[n]
    };
    struct Step {
        StepKind kind = StepKind::kEmbed;
        uint16_t op = 0;     // in costs_
        uint16_t slot = 0;   // kGemv: in slots_
        uint32_t layer = 0;  // attention: whose cache
        uint32_t n = 0;      // length of the vectors, see StepKind
        uint32_t units = 0;  // 0: heads * positions
        const float *x = nullptr;
        const uint8_t *w = nullptr;  // kGemv: the matrix; kRmsNorm: f32 weights
        float *y = nullptr;
        uint64_t y_stride = 0;  // y moves by this for each position (keys, values: their cache)
    };
    class Builder;

    [[nodiscard]] uint32_t units_of(const Step &step) const;
    void run(const Step &step, uint32_t begin, uint32_t end);
    // How many units of a step belong together: one processor must do them in order (attention), or
    // had better (rows of y that share a cache line).
    [[nodiscard]] uint32_t grain_of(const Step &step) const;
    // The same as run(), by all processors. False: it was done by one.
    bool run_shared(const Step &step, uint32_t begin, uint32_t end);
    void run_attention(const Step &step, uint32_t begin, uint32_t end);
    void embed(float *y);

    const Model *model_ = nullptr;
    HyperParameters parameters_;
    uint32_t max_positions_ = 0;
    float score_scale_ = 0.0f;  // 1 / sqrt(head_size)

    Buffer<Step> steps_;
    uint32_t step_count_ = 0;
    uint32_t logits_steps_ = 0;  // how many of the last ones make the logits
    Buffer<KernelSlot> slots_;
    uint32_t slot_count_ = 0;
    OpCosts costs_;
    WorkerPool *pool_ = nullptr;
    uint64_t min_shared_ticks_ = 0;
    OpCosts::Sharing sharing_ = OpCosts::Sharing::kMeasured;  // for this token
    uint64_t tokens_begun_ = 0;

    KvCache kv_;
    Buffer<float> x_;               // [dim] residual stream
    Buffer<float> normed_;          // [dim]
    Buffer<float> q_;               // [q_dim]
    Buffer<float> mixed_;           // [q_dim] attention output
    Buffer<float> projected_;       // [dim]
    Buffer<float> gate_;            // [hidden]
    Buffer<float> up_;              // [hidden]
    Buffer<float> scores_;          // [heads][positions]
    Buffer<float> logits_;          // [vocab]
    Buffer<float> cos_sin_;         // [rope_dim]
    Buffer<double> inv_freq_;       // [rope_dim / 2]
    Buffer<SoftmaxState> softmax_;  // [heads]
    ActivationBuffer activation_;
    ActivationForms forms_ = 0;  // what the kernels in use want

    // The step being computed.
    Token token_ = 0;
    uint32_t position_ = 0;
    uint32_t step_ = 0;
    uint32_t step_end_ = 0;
    uint32_t units_done_ = 0;
};

}  // namespace bareflow::llama
