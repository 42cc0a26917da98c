// The transformer: a batch of tokens in, logits out. The tokens are at positions of several
// sequences; parts of prompts and tokens that are being generated may be mixed. The model was
// compiled into a list of steps when it was loaded (step_program.h). Each step has a number of
// units that can be done in any split, so that advance() can stop between any two.
//
// The arithmetic is docs/decisions/0001-numeric-contract.md, whatever the split, the processors and
// the other sequences in the batch are: the results of a token depend on its sequence alone.
//
// A long step is shared by the processors of a WorkerPool (shared_step.h).
//
// All memory is taken in create(). Not reentrant; one caller.
#pragma once

#include <bit>
#include <cstdint>
#include <span>

#include "kernel_lib/base/result.h"
#include "kernel_lib/cpu/worker_pool.h"
#include "kernel_lib/memory/buffer.h"
#include "kernel_lib/platform/platform.h"
#include "llama/engine/batch.h"
#include "llama/engine/shared_step.h"
#include "llama/engine/step_context.h"
#include "llama/engine/step_program.h"
#include "llama/model/model.h"

namespace bareflow::llama {

class Transformer {
  public:
    static constexpr uint32_t kMaxBatch = 512;

    Transformer() = default;
    // kTooLarge when there is not enough memory or a number is out of range (0 included). The model
    // must outlive this. positions <= max_positions().
    [[nodiscard]] static Result<Transformer> create(const Model &model,
                                                    const TransformerConfig &config);
    // For more positions the units of attention would not fit into 32 bits.
    [[nodiscard]] static uint32_t max_positions(const HyperParameters &parameters) {
        return (1u << 21) / parameters.heads * 8;
    }
    // Bytes that every position of context of one sequence costs.
    [[nodiscard]] static uint64_t position_bytes(const HyperParameters &parameters,
                                                 compute::KvType type);
    // What create() takes besides sequences * positions * position_bytes(), to within a page.
    [[nodiscard]] static uint64_t scratch_bytes(const HyperParameters &parameters,
                                                const TransformerConfig &config);

    // Starts computing `tokens` (1 .. batch; copied). The tokens of one sequence lie side by side,
    // at consecutive increasing positions. Either all earlier positions of the sequence have been
    // computed, or the caller accepts that its context becomes meaningless. At most `sequences`
    // tokens may want logits: a prompt needs them for its last token only. A batch that was not
    // complete is given up.
    void begin(std::span<const BatchToken> tokens);
    // Works until the batch is complete (true) or `deadline_ticks` has passed (false); does at
    // least one unit. Overshoots by one unit, or by the error in a unit's measured cost.
    [[nodiscard]] bool advance(uint64_t deadline_ticks);

    // Logits of the token with this index in the span given to begin(), which wanted them. Valid
    // from the completion of the batch until the next begin().
    [[nodiscard]] std::span<float> logits(uint32_t index);

    // Copies the keys and values of positions [0, positions) from one sequence to another. Works
    // until the deadline, as advance() does: call it with the same numbers until it returns true.
    // Not within a batch.
    [[nodiscard]] bool copy_prefix(uint32_t from, uint32_t to, uint32_t positions,
                                   uint64_t deadline_ticks);

    [[nodiscard]] const TransformerConfig &config() const { return context_.program.config(); }
    [[nodiscard]] uint64_t kv_bytes() const { return context_.kv.size_bytes(); }
    [[nodiscard]] uint64_t scratch_bytes() const {
        return memory_.size() + shared_.costs().size_bytes();
    }
    // The matrix kernels by shape; see KernelBinding for how to replace one.
    [[nodiscard]] std::span<compute::KernelBinding> kernel_bindings() {
        return context_.program.kernel_bindings();
    }
    // Every matrix that is multiplied; WeightPlacement moves them.
    [[nodiscard]] std::span<compute::PlacedMatrix> matrices() {
        return context_.program.matrices();
    }
    // Memory that packed rows are unpacked to for matrix kernels; empty at first.
    [[nodiscard]] compute::UnpackMemory &unpack_memory() { return context_.unpack; }
    // The float operations by shape.
    [[nodiscard]] std::span<compute::FloatBinding> float_bindings() {
        return context_.program.float_bindings();
    }
    [[nodiscard]] OpCosts &costs() { return shared_.costs(); }
    [[nodiscard]] FusedSteps &fused_steps() { return shared_.fused_steps(); }
    // The pool whose processors share the work from now on; nullptr: the caller of advance() does
    // it alone. One processor does the steps that take it less than `min_shared_ticks`. Longer ones
    // are shared if that was measured to be faster; 0: all are shared, for tests. The results are
    // the same to the last bit. The pool must outlive this.
    void use_workers(WorkerPool *pool, uint64_t min_shared_ticks) {
        shared_.use_workers(pool, min_shared_ticks);
    }

    // Drops address translations before each of the next batches, until an emulator's table of them
    // has room for those of all weights. QEMU doubles the table only when translations are dropped
    // while most of it is in use (accel/tcg/cputlb.c, tlb_mmu_resize_locked). It shrinks the table
    // when they are dropped often and little memory was used, which candidates of kernels cause.
    // With too small a table the same kernels took an eighth longer. On hardware this takes a
    // microsecond.
    void make_room_for_translations(uint64_t weight_bytes) {
        translation_drops_ = translation_drops(weight_bytes);
    }
    // How often the table must double from its least size, 64 pages, and once more: not all of it
    // is in use at once.
    [[nodiscard]] static constexpr uint32_t translation_drops(uint64_t weight_bytes) {
        return static_cast<uint32_t>(std::bit_width(weight_bytes / platform::kPageBytes / 64)) + 1;
    }

  private:
    void take(std::span<const BatchToken> tokens);
    void check(std::span<const BatchToken> tokens, uint32_t index) const;
    void plan_attention();

    StepContext context_;
    SharedStep shared_;
    Buffer<uint8_t> memory_;
    Scratch scratch_;                 // what lies in it
    uint32_t translation_drops_ = 0;  // that are still to come

    // The batch being computed.
    uint32_t step_ = 0;
    uint32_t step_end_ = 0;
    uint32_t units_done_ = 0;  // of the step

    // The copy being made.
    struct Copy {
        uint32_t from = 0;
        uint32_t to = 0;
        uint32_t positions = 0;
        uint64_t done = 0;  // pieces
        bool operator==(const Copy &) const = default;
    } copy_;
};

}  // namespace bareflow::llama
