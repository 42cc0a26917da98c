// Runs one step: on one processor or shared by those of a WorkerPool, in pieces that end at a
// deadline. Measures what each operation costs, and decides by that how the next one is run.
//
// Each unit is computed by one processor, with the same code, and no sum runs across units. So the
// result does not depend on the number of processors or on the pieces.
//
// Boot processor only. One batch at a time: begin_batch(), then run() for each step in order.
#pragma once

#include <cstdint>

#include "kernel_lib/cpu/worker_pool.h"
#include "llama/engine/fused_steps.h"
#include "llama/engine/op_costs.h"
#include "llama/engine/step_context.h"

namespace bareflow::llama {

class SharedStep {
  public:
    [[nodiscard]] OpCosts &costs() { return costs_; }
    [[nodiscard]] const OpCosts &costs() const { return costs_; }
    [[nodiscard]] FusedSteps &fused_steps() { return fused_; }
    // See Transformer::use_workers().
    void use_workers(WorkerPool *pool, uint64_t min_shared_ticks) {
        pool_ = pool;
        min_shared_ticks_ = min_shared_ticks;
    }
    [[nodiscard]] uint32_t processors() const { return pool_ == nullptr ? 1 : pool_->size(); }

    // The batch's tokens are known. Chooses its kernels and what is tried in it.
    void begin_batch(StepContext &context);
    // All its steps are done.
    void finish_batch() { fused_.finish(); }
    // The batch is given up within this step: what was measured of the step does not count.
    void abandon(const StepContext &context, const Step &step) {
        costs_.abandon(cost_entry(context, step));
    }

    // True: run() will do this step inside the next one, the products that read its result.
    [[nodiscard]] bool postpone(const StepContext &context, const Step &step);
    // Runs units of the step, of which `done` are done, until it ends or `deadline_ticks` has
    // passed; at least one unit. Returns how many. `now`: the time, in and out.
    [[nodiscard]] uint32_t run(StepContext &context, const Step &step, uint32_t done,
                               uint64_t deadline_ticks, uint64_t &now);

  private:
    struct Job;

    [[nodiscard]] uint32_t cost_entry(const StepContext &context, const Step &step) const;
    OpCosts::DoneBy run_range(StepContext &context, const Step &step, uint32_t op, uint32_t begin,
                              uint32_t end);
    void run_fused_step(StepContext &context);

    OpCosts costs_;
    FusedSteps fused_;
    WorkerPool *pool_ = nullptr;
    uint64_t min_shared_ticks_ = 0;
    bool others_awake_ = false;  // another processor joined the last shared operation
    uint64_t batches_started_[OpCosts::kBatchClasses] = {};

    // Of this batch.
    OpCosts::Sharing sharing_ = OpCosts::Sharing::kMeasured;
    bool singly_trial_ = false;
    bool has_matrix_ = false;           // there is a kernel for several vectors
    const Step *fused_step_ = nullptr;  // to be done inside the next step
    uint64_t fused_ticks_ = 0;          // that it took
};

}  // namespace bareflow::llama
