#include <algorithm>

#include "compute/tuning/gemv_tuner.h"
#include "kernel_lib/platform/platform.h"
#include "llama/engine/transformer.h"

// No kernel of packed weights is linked here, so nothing is ever moved.
namespace bareflow::llama {

// The output matrix is the largest, but for rare shapes.
void WeightPlacement::start(Engine &engine, WeightMode mode, bool) {
    const KernelSlot &output = engine.kernel_slots().back();
    const bool tight = platform::free_memory_bytes() < 2 * output.rows * output.row_bytes;
    mode_ = mode != WeightMode::kAuto ? mode : tight ? WeightMode::kTight : WeightMode::kOwned;
}

bool WeightPlacement::work(uint64_t) {
    return false;
}

void WeightPlacement::restore() {}

uint32_t WeightPlacement::packed_matrices(const KernelSlot &) const {
    return 0;
}

uint64_t WeightPlacement::extra_bytes() const {
    return 0;
}

uint32_t GemvJit::Target::packed_candidates() const {
    return 0;
}

std::string_view GemvJit::Target::packed_name(uint32_t) const {
    return {};
}

OptimizationTarget::Prepared GemvJit::Target::prepare_packed(int, uint32_t) {
    return Prepared::kReady;
}

void PagesOwner::release() {}

const uint8_t *GemvJit::file_rows(const KernelSlot &slot, uint32_t begin, uint32_t) {
    return slot.sample + begin * slot.row_bytes;
}

const uint8_t *GemvJit::place_rows(const KernelSlot &slot, Packing, uint32_t begin, uint32_t count,
                                   uint32_t skip, bool at_end) {
    const uint64_t bytes = count * slot.row_bytes;
    uint8_t *const rows = at_end ? rows_.at_end(bytes) : rows_.data();
    std::copy_n(file_rows(slot, begin, count), bytes, rows);
    return rows - skip * slot.row_bytes;
}

Status GemvJit::take_rows(uint64_t row_bytes) {
    BF_ASSIGN(rows_, GuardedPages::create(kMaxChunkRows * row_bytes));
    return {};
}

void GemvJit::Target::install_packed() {}

void GemvJit::Target::as_in_file() {}

void GemvJit::run(const KernelSlot &slot, GemvKernel kernel, Packing) {
    const uint32_t rows = timed_rows(slot, slot.rows);
    GemvArgs args = args_for(slot, 0);
    if (timed_row_ + rows > slot.rows) {
        timed_row_ = 0;
        timed_matrix_ = (timed_matrix_ + 1) % KernelSlot::kTimedMatrices;
    }
    if (slot.timed[timed_matrix_] == nullptr) {
        timed_matrix_ = 0;
    }
    if (slot.timed[timed_matrix_] != nullptr) {
        args.weights = slot.timed[timed_matrix_];
    }
    args.y -= timed_row_;
    kernel(args, timed_row_, timed_row_ + rows);
    timed_row_ += rows;
}

const uint8_t *Transformer::embedding_row(uint32_t token, uint8_t *) const {
    return model_->token_embedding().row(token);
}

void Transformer::place(Product &) {}

void Transformer::multiply_placed(const KernelSlot &slot, const Product &, const GemmArgs &args,
                                  uint32_t begin, uint32_t end) const {
    run_gemm(slot.active, in_turns_ ? nullptr : slot.matrix, args, begin, end);
}

}  // namespace bareflow::llama
