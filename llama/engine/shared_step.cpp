// How one step is run. The cost of a unit says how many units fit before the deadline, and whether
// the step is long enough to be shared. Both ways are tried now and then (OpCosts).
//
// A norm or a quantisation can be done inside the shared products behind it. Then the processor
// that comes first computes it while the others wait inside the job. Which steps gain by that is
// measured (FusedSteps).
#include "llama/engine/shared_step.h"

#include <atomic>

#include "compute/kernels/bindings.h"
#include "kernel_lib/cpu/worker_wait.h"
#include "kernel_lib/platform/platform.h"
#include "llama/engine/operators.h"

namespace bareflow::llama {
namespace {

// A processor takes an equal share of the pieces in this many chunks. So it neither waits long for
// another one's last chunk nor asks for a chunk too often.
constexpr uint32_t kChunksPerProcessor = 4;

// Batches of one token before the fused steps are measured: by then, the separate ones are tuned.
constexpr uint64_t kBatchesBeforeFusing = 48;

// Cost of one unit relative to the same unit in a batch of one token.
uint32_t unit_weight(const StepContext &context, const Step &step) {
    return step.product_count != 0 ? context.batch.count : 1;
}

}  // namespace

void SharedStep::begin_batch(StepContext &context) {
    Batch &batch = context.batch;
    batch.alone = processors() == 1;
    costs_.begin_batch();
    const uint32_t batch_class = OpCosts::batch_class(batch.given);
    const uint64_t earlier = batches_started_[batch_class]++;
    sharing_ =
        min_shared_ticks_ == 0 ? OpCosts::Sharing::kAlways : OpCosts::trial(earlier, batch_class);
    singly_trial_ = OpCosts::tries_singly(earlier, batch_class);
    fused_step_ = nullptr;
    // Every pair of steps occurs at least once in such a batch.
    fused_.begin(batch.given == 1 && batch.wanting_count == 1 && !batch.alone &&
                 sharing_ == OpCosts::Sharing::kMeasured && earlier >= kBatchesBeforeFusing);
    batch.forms = 0;
    has_matrix_ = false;
    for (compute::KernelBinding &binding : context.program.kernel_bindings()) {
        binding.active = binding.kernel;
        has_matrix_ |= binding.matrix != nullptr;
        ++(batch.given > compute::KernelBinding::kFewTokens ? binding.many_batches
                                                            : binding.few_batches);
        batch.forms |= binding.forms;
        batch.forms |= batch.given > 1 ? binding.matrix_forms : 0;
    }
}

uint32_t SharedStep::cost_entry(const StepContext &context, const Step &step) const {
    const uint32_t batch_class = OpCosts::batch_class(context.batch.count);
    return context.batch.singly ? OpCosts::singly(step.cost, batch_class) : step.cost + batch_class;
}

bool SharedStep::postpone(const StepContext &context, const Step &step) {
    if (!operator_of(step).fuses || context.batch.count != 1 || context.batch.alone ||
        !fused_.fuses(step.fused_pair)) {
        return false;
    }
    fused_step_ = &step;
    return true;
}

uint32_t SharedStep::run(StepContext &context, const Step &step, uint32_t done,
                         uint64_t deadline_ticks, uint64_t &now) {
    const Operator &line = operator_of(step);
    Batch &batch = context.batch;
    if (done == 0) {
        batch.singly =
            step.product_count != 0 && has_matrix_ &&
            costs_.goes_singly(step.cost, OpCosts::batch_class(batch.count), singly_trial_);
    }
    const uint32_t left = line.units(context, step) - done;
    const uint32_t until_barrier = line.sharing->until_barrier(context, step, done);
    const uint32_t weight = unit_weight(context, step);
    const uint32_t op = cost_entry(context, step);
    const uint64_t budget = deadline_ticks > now ? deadline_ticks - now : 0;
    uint32_t units = costs_.units_within(op, until_barrier * weight, budget) / weight;
    units = units == 0 ? 1 : units;
    const Step *const fused_step = fused_step_;
    const OpCosts::DoneBy by = run_range(context, step, op, done, done + units);
    const uint64_t after = platform::ticks();
    if (step.fused_pair != FusedSteps::kNone) {
        fused_.add(step.fused_pair, after - now);
    }
    if (fused_step != nullptr) {
        const uint64_t most = after - now;
        const uint64_t took = fused_ticks_ < most ? fused_ticks_ : most;
        now += took;
        costs_.record(cost_entry(context, *fused_step),
                      operator_of(*fused_step).units(context, *fused_step), took, now, true);
    }
    if (line.measured_share != nullptr) {
        costs_.set_last_share(op, line.measured_share(context));
    }
    costs_.record(op, units * weight, after - now, after, units == left, by, batch.count);
    now = after;
    return units;
}

// What the processors that share a range know of it.
struct SharedStep::Job {
    // The first processor to come computes the fused step, the others wait for that.
    enum : uint32_t { kToDo, kInWork, kDone };

    SharedStep &shared;
    StepContext &context;
    const Step &step;
    const SharingRule &rule;
    Pieces pieces;
    std::atomic<uint32_t> fused;
    std::atomic<bool> joined;  // by another processor

    static void task(void *self, uint32_t from, uint32_t to) {
        Job &job = *static_cast<Job *>(self);
        if (platform::processor_index() != 0 && !job.joined.load(std::memory_order_relaxed)) {
            job.joined.store(true, std::memory_order_relaxed);
        }
        while (job.fused.load(std::memory_order_acquire) != kDone) {
            uint32_t expected = kToDo;
            if (job.fused.compare_exchange_strong(expected, kInWork)) {
                job.shared.run_fused_step(job.context);
                job.fused.store(kDone, std::memory_order_release);
            }
            worker_pause();
        }
        job.rule.run(job.context, job.step, job.pieces, from, to);
    }
};

// Runs the units [begin, end), on all processors where that is faster. Says who did it.
OpCosts::DoneBy SharedStep::run_range(StepContext &context, const Step &step, uint32_t op,
                                      uint32_t begin, uint32_t end) {
    const Operator &line = operator_of(step);
    Pieces pieces;
    if (processors() != 1 &&
        costs_.share(op, (end - begin) * unit_weight(context, step), min_shared_ticks_, sharing_)) {
        pieces = line.sharing->cut(context, step, begin, end);
    }
    if (pieces.count <= 1) {
        run_fused_step(context);
        line.run(context, step, begin, end);
        return OpCosts::DoneBy::kOne;
    }
    Job job{*this,         context, step,
            *line.sharing, pieces,  fused_step_ == nullptr ? Job::kDone : Job::kToDo,
            false};
    const uint32_t chunk =
        pieces.in_chunks ? pieces.count / (processors() * kChunksPerProcessor) : 1;
    pool_->run(Job::task, &job, pieces.count, chunk == 0 ? 1 : chunk);
    // In the first operation that another processor joins, it may have come late.
    const bool were_awake = others_awake_;
    others_awake_ = job.joined.load(std::memory_order_relaxed);
    return were_awake && others_awake_ ? OpCosts::DoneBy::kSeveral : OpCosts::DoneBy::kWaking;
}

void SharedStep::run_fused_step(StepContext &context) {
    if (fused_step_ != nullptr) {
        const Operator &line = operator_of(*fused_step_);
        const uint64_t start = platform::ticks();
        line.run(context, *fused_step_, 0, line.units(context, *fused_step_));
        fused_ticks_ = platform::ticks() - start;
        fused_step_ = nullptr;
    }
}

}  // namespace bareflow::llama
