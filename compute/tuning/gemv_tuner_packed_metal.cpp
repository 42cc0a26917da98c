// The tuner's part for packed weights where no kernel of them is linked: weights always lie as in
// the file.
#include <algorithm>

#include "compute/kernels/bindings.h"
#include "compute/kernels/gemv.h"
#include "compute/numbers/packing.h"
#include "compute/tuning/gemv_tuner.h"

namespace bareflow::compute {

uint32_t GemvTuner::Target::packed_candidates() const {
    return 0;
}

std::string_view GemvTuner::Target::packed_name(uint32_t) const {
    return {};
}

OptimizationTarget::Prepared GemvTuner::Target::prepare_packed(int, uint32_t) {
    return Prepared::kReady;
}

const uint8_t *GemvTuner::file_rows(const KernelBinding &binding, uint32_t begin, uint32_t) {
    return binding.sample + begin * binding.row_bytes;
}

const uint8_t *GemvTuner::place_rows(const KernelBinding &binding, Packing, uint32_t begin,
                                     uint32_t count, uint32_t skip, bool at_end) {
    const uint64_t bytes = count * binding.row_bytes;
    uint8_t *const rows = at_end ? rows_.at_end(bytes) : rows_.data();
    std::copy_n(file_rows(binding, begin, count), bytes, rows);
    return rows - skip * binding.row_bytes;
}

Status GemvTuner::take_rows(uint64_t row_bytes) {
    BF_ASSIGN(rows_, GuardedPages::create(kMaxChunkRows * row_bytes));
    return {};
}

void GemvTuner::Target::install_packed() {}

void GemvTuner::Target::as_in_file() {}

void GemvTuner::run(const KernelBinding &binding, GemvKernel kernel, Packing) {
    const uint32_t rows = timed_rows(binding, binding.rows);
    GemvArgs args = args_for(binding, 0);
    if (timed_row_ + rows > binding.rows) {
        timed_row_ = 0;
        timed_matrix_ = (timed_matrix_ + 1) % KernelBinding::kTimedMatrices;
    }
    if (binding.timed[timed_matrix_] == nullptr) {
        timed_matrix_ = 0;
    }
    if (binding.timed[timed_matrix_] != nullptr) {
        args.weights = binding.timed[timed_matrix_];
    }
    args.y -= timed_row_;
    kernel(args, timed_row_, timed_row_ + rows);
    timed_row_ += rows;
}

}  // namespace bareflow::compute
