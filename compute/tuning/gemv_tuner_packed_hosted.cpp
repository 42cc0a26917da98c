// The tuner's part for packed weights: candidates of level 3, the copies on which they are compared
// and timed, and moving the matrices when one is put into force.
//
// What must hold: both sides of a comparison run on copies of the same matrices, in pages like the
// model's. The time of a packed candidate includes the unpacking that prompts will need.
#include <algorithm>
#include <utility>

#include "compute/kernels/bindings.h"
#include "compute/kernels/gemv.h"
#include "compute/kernels/packed.h"
#include "compute/kernels/registry.h"
#include "compute/numbers/packing.h"
#include "compute/numbers/quant.h"
#include "compute/tuning/gemv_tuner.h"

namespace bareflow::compute {

uint32_t GemvTuner::Target::packed_candidates() const {
    const WeightPlacement *const placement = owner_->placement_;
    const bool may = placement != nullptr && (is_packed() || placement->may_pack(*binding_));
    return may ? packed_variants(binding_->type).count : 0;
}

std::string_view GemvTuner::Target::packed_name(uint32_t index) const {
    return packed_variants(binding_->type).list[index].name;
}

OptimizationTarget::Prepared GemvTuner::Target::prepare_packed(int level, uint32_t index) {
    if (level != 3) {
        return owner_->copy_some(*binding_, Packing::kFile);
    }
    const GemvVariant variant = packed_variants(binding_->type).list[index];
    if (is_packed() && binding_->packed == variant.kernel) {
        return Prepared::kInForce;
    }
    const Prepared copied = owner_->copy_some(*binding_, Packing::kRows16);
    if (copied == Prepared::kReady) {
        candidate_ = {variant.kernel, 0, kNoRegion, variant.name, Packing::kRows16};
    }
    return copied;
}

// Batches of many tokens unpack all rows. That work is divided among the batches of few tokens and
// done here, on whole strips of some of the blocks, which is as fast per block as on all.
void GemvTuner::charge_unpacking(const KernelBinding &binding, const PlacedWeights &weights,
                                 uint32_t rows) {
    constexpr uint64_t kMostTimes = 4;
    const uint64_t blocks = binding.cols / kBlockElements;
    const uint64_t all = blocks * (rows / kStripRows);
    const uint64_t few = std::max<uint64_t>(binding.few_batches, 1);
    uint64_t left = std::min(kMostTimes * all, (all * binding.many_batches + few - 1) / few);
    while (left != 0) {
        const uint64_t taken = std::min(left, blocks);
        repack_rows(binding.type, static_cast<uint32_t>(taken * kBlockElements), binding.row_bytes,
                    {weights.data + timed_row_ * binding.row_bytes, Packing::kRows16},
                    file_rows_.data(), Packing::kFile, 0, kStripRows);
        left -= taken;
    }
}

OptimizationTarget::Prepared GemvTuner::copy_some(const KernelBinding &binding, Packing packing) {
    using Prepared = OptimizationTarget::Prepared;
    constexpr uint64_t kPieceBytes = 1 << 20;
    if (placement_ == nullptr) {
        return Prepared::kReady;
    }
    if (binding.wanted != Packing::kFile && placement_->has_work()) {
        return Prepared::kMore;
    }
    const auto matrix = [&](uint32_t index) {
        return now(binding.timed[index] != nullptr ? binding.timed[index] : binding.sample);
    };
    if (matrix(0).packing == packing) {
        return Prepared::kReady;
    }
    Trial &t = trial_;
    if (t.pages.data == nullptr || t.binding != &binding || t.from != matrix(0).packing) {
        t.pages.release();
        const uint64_t affordable = placement_->trial_bytes(binding) / 2;
        const uint64_t all = std::min(binding.matrices, KernelBinding::kTimedMatrices);
        const uint64_t rows = affordable / binding.row_bytes / kStripRows * kStripRows;
        t.binding = &binding;
        t.from = matrix(0).packing;
        t.rows = static_cast<uint32_t>(std::min<uint64_t>(rows, binding.rows));
        t.matrices = static_cast<uint32_t>(std::clamp<uint64_t>(rows / binding.rows, 1, all));
        t.copied = 0;
        // Huge pages, as the model has: small ones would make the copies slower.
        constexpr uint64_t kHugePage = 2 << 20;
        t.matrix_bytes = t.rows * binding.row_bytes;
        const uint64_t bytes = 2 * t.matrices * t.matrix_bytes;
        if (t.rows == 0 ||
            !(t.pages.take((bytes + kHugePage - 1) / kHugePage * kHugePage, 2 * affordable) ||
              t.pages.take(bytes))) {
            return Prepared::kUnavailable;
        }
        timed_row_ = timed_matrix_ = 0;
    }
    uint64_t left = kPieceBytes;
    while (t.copied != t.rows * t.matrices) {
        if (left == 0) {
            return Prepared::kMore;
        }
        const uint32_t index = t.copied / t.rows;
        const uint32_t row = t.copied % t.rows;
        for (const Packing as : {Packing::kFile, Packing::kRows16}) {
            repack_rows(binding.type, binding.cols, binding.row_bytes, matrix(index),
                        t.matrix(as, index), as, row, row + kStripRows);
        }
        t.copied += kStripRows;
        left -= std::min(left, kStripRows * binding.row_bytes);
    }
    return Prepared::kReady;
}

const uint8_t *GemvTuner::file_rows(const KernelBinding &binding, uint32_t begin, uint32_t count) {
    const PlacedWeights weights = now(binding.sample);
    if (weights.packing == Packing::kFile) {
        return weights.data + begin * binding.row_bytes;
    }
    for (uint32_t i = 0; i < count; ++i) {
        unpack_row(binding.type, binding.cols, binding.row_bytes, weights, begin + i,
                   file_rows_.data() + i * binding.row_bytes);
    }
    return file_rows_.data();
}

const uint8_t *GemvTuner::place_rows(const KernelBinding &binding, Packing packing, uint32_t begin,
                                     uint32_t count, uint32_t skip, bool at_end) {
    const bool packed = packing != Packing::kFile;
    const uint32_t placed =
        packed ? (skip + count + kStripRows - 1) / kStripRows * kStripRows : count;
    const uint64_t bytes = placed * binding.row_bytes;
    uint8_t *const rows = at_end ? rows_.at_end(bytes) : rows_.data();
    if (!packed) {
        std::copy_n(file_rows(binding, begin, count), bytes, rows);
        return rows - skip * binding.row_bytes;
    }
    const uint32_t first = begin - skip;
    repack_rows(binding.type, binding.cols, binding.row_bytes, now(binding.sample),
                rows - first * binding.row_bytes, packing, first, first + placed);
    return rows;
}

Status GemvTuner::take_rows(uint64_t row_bytes) {
    BF_ASSIGN(rows_, GuardedPages::create(kMaxStripRows * row_bytes));
    BF_ASSIGN(file_rows_, Buffer<uint8_t>::create(kMaxChunkRows * row_bytes));
    return {};
}

// Matrices that were not moved yet still need a kernel for the file's layout; a compiled one is
// good enough. Without memory for moving, the kernel that is in force stays.
void GemvTuner::Target::install_packed() {
    const Candidate won = std::exchange(candidate_, {});
    owner_->trial_.pages.release();
    binding_->packed = won.kernel;
    if (owner_->placement_->want(*binding_, won.packing)) {
        packed_name_ = won.name;
        replace(fallback_);
    }
}

void GemvTuner::Target::as_in_file() {
    owner_->rest();
    if (owner_->placement_ != nullptr) {
        (void)owner_->placement_->want(*binding_, Packing::kFile);
    }
}

PlacedWeights GemvTuner::now(const uint8_t *file) const {
    return placement_ == nullptr ? PlacedWeights{file, Packing::kFile} : placement_->now(file);
}

void GemvTuner::run(const KernelBinding &binding, GemvKernel kernel, Packing packing) {
    const bool copies = trial_.pages.data != nullptr && trial_.binding == &binding;
    const uint32_t all = copies ? trial_.rows : binding.rows;
    uint32_t rows = timed_rows(binding, all);
    if (can_pack(binding.type, binding.rows)) {
        rows = (rows + kStripRows - 1) / kStripRows * kStripRows;
    }
    GemvArgs args = args_for(binding, 0);
    if (timed_row_ + rows > all) {
        timed_row_ = 0;
        timed_matrix_ = (timed_matrix_ + 1) % KernelBinding::kTimedMatrices;
    }
    if (binding.timed[timed_matrix_] == nullptr || (copies && timed_matrix_ >= trial_.matrices)) {
        timed_matrix_ = 0;
    }
    const uint8_t *const file =
        binding.timed[timed_matrix_] != nullptr ? binding.timed[timed_matrix_] : binding.sample;
    const PlacedWeights weights =
        copies ? PlacedWeights{trial_.matrix(packing, timed_matrix_), packing} : now(file);
    const uint32_t end = timed_row_ + rows;
    args.y -= timed_row_;
    if (weights.packing == packing) {
        args.weights = weights.data;
        kernel(args, timed_row_, end);
    } else {
        run_repacked(binding, kernel, weights, packing, args, end);
    }
    if (packing != Packing::kFile && binding.matrix != nullptr) {
        charge_unpacking(binding, weights, rows);
    }
    timed_row_ = end;
}

// The time of such a run does not matter: matrices are being moved, or the reference runs.
void GemvTuner::run_repacked(const KernelBinding &binding, GemvKernel kernel,
                             const PlacedWeights &weights, Packing packing, GemvArgs args,
                             uint32_t end) {
    for (uint32_t row = timed_row_; row < end; row += kStripRows) {
        uint8_t *const base = rows_.data() - row * binding.row_bytes;
        repack_rows(binding.type, binding.cols, binding.row_bytes, weights, base, packing, row,
                    row + kStripRows);
        args.weights = base;
        kernel(args, row, row + kStripRows);
    }
}

}  // namespace bareflow::compute
