// Moves matrices into another packing and back, a strip of rows at a time.
//
// What must hold:
// Between two calls of work(), each matrix is whole where PlacedMatrix::now says.
// The file's memory is written only where it is ours (owned, tight).
// With all matrices back, the file's bytes are what they were.
#include "compute/tuning/weight_placement.h"

#include <algorithm>

#include "compute/kernels/bindings.h"
#include "compute/numbers/packing.h"
#include "kernel_lib/cpu/worker_pool.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow::compute {
namespace {

// Bytes moved between two looks at the clock.
constexpr uint64_t kPieceBytes = 128 << 10;
// Each processor's room for rows unpacked for kernels of several vectors. It holds a strip of the
// longest rows that are packed.
constexpr uint64_t kUnpackBytes = 512 << 10;
// Free memory that is left to the other parts of the program.
constexpr uint64_t kKeptBytes = 1 << 20;
constexpr uint64_t kMostTrialBytes = 64 << 20;

uint64_t matrix_bytes(const KernelBinding &binding) {
    return binding.rows * binding.row_bytes;
}

}  // namespace

bool WeightPlacement::may_pack(const KernelBinding &binding) const {
    const uint64_t needed =
        matrix_bytes(binding) * (mode_ == WeightMode::kMapped ? binding.matrices : 1);
    const uint64_t unpacked = binding.matrix == nullptr ? 0 : kUnpackBytes * worker_pool().size();
    return can_pack(binding.type, binding.rows) && binding.row_bytes * kStripRows <= kUnpackBytes &&
           needed + unpacked <= free_bytes() / (mode_ == WeightMode::kMapped ? 2 : 1) &&
           (mode_ != WeightMode::kMapped || copied_bytes_ + needed <= weight_bytes_ / 2);
}

uint64_t WeightPlacement::trial_bytes(const KernelBinding &binding) const {
    const uint64_t share = free_bytes() / 2;
    return std::min(share, mode_ == WeightMode::kTight
                               ? matrix_bytes(binding)
                               : std::max(kMostTrialBytes, matrix_bytes(binding)));
}

PlacedWeights WeightPlacement::now(const uint8_t *file) const {
    for (const PlacedMatrix &matrix : weights_.matrices) {
        if (matrix.file == file) {
            return matrix.now;
        }
    }
    return {file, Packing::kFile};
}

uint32_t WeightPlacement::packed_matrices(const KernelBinding &binding) const {
    return static_cast<uint32_t>(
        std::ranges::count_if(weights_.matrices, [&](const PlacedMatrix &matrix) {
            return &weights_.bindings[matrix.binding] == &binding &&
                   matrix.now.packing != Packing::kFile;
        }));
}

uint64_t WeightPlacement::extra_bytes() const {
    return copied_bytes_ + (beside_.count + unpacked_.count) * platform::kPageBytes;
}

bool WeightPlacement::want(KernelBinding &binding, Packing packing) {
    if (binding.wanted == packing) {
        return true;
    }
    if (packing != Packing::kFile && binding.matrix != nullptr) {
        const uint32_t processors = worker_pool().size();
        if (!unpacked_.take(kUnpackBytes * processors)) {
            return false;
        }
        *weights_.unpack = {unpacked_.data, kUnpackBytes, processors};
    }
    // Moving back needs the same room as packing, so the room is kept while there is work.
    if (mode_ != WeightMode::kMapped && matrix_ == nullptr &&
        !beside_.take(matrix_bytes(binding))) {
        return false;
    }
    binding.wanted = packing;
    moving_ = true;
    return true;
}

// Chooses the next matrix that is not in the wanted packing. False: there is none, or no room.
bool WeightPlacement::choose() {
    for (PlacedMatrix &matrix : weights_.matrices) {
        KernelBinding &binding = weights_.bindings[matrix.binding];
        if (matrix.now.packing == binding.wanted) {
            continue;
        }
        into_ = binding.wanted;
        row_ = 0;
        matrix_ = &matrix;
        if (mode_ == WeightMode::kMapped && into_ == Packing::kFile) {
            // The file still has the matrix.
            const uint64_t pages = PagesOwner::pages_for(matrix_bytes(binding));
            platform::free_pages(const_cast<uint8_t *>(matrix.now.data), pages);
            copied_bytes_ -= pages * platform::kPageBytes;
            matrix.now.data = matrix.file;
            arrive(matrix, binding);
            return true;
        }
        if (mode_ == WeightMode::kMapped) {
            beside_ = {};
        }
        if (beside_.take(matrix_bytes(binding))) {
            return true;
        }
        binding.wanted = matrix.now.packing;  // no room: it stays as it is
        matrix_ = nullptr;
    }
    moving_ = false;
    beside_.release();
    return false;
}

// The matrix is in its final place, in one packing.
void WeightPlacement::arrive(PlacedMatrix &matrix, const KernelBinding &binding) {
    matrix.now.packing = into_;
    packed_bytes_ += into_ == Packing::kFile ? 0 - matrix_bytes(binding) : matrix_bytes(binding);
    matrix_ = nullptr;
}

void WeightPlacement::step() {
    PlacedMatrix &matrix = *matrix_;
    const KernelBinding &binding = weights_.bindings[matrix.binding];
    const uint64_t strips = std::max<uint64_t>(kPieceBytes / (binding.row_bytes * kStripRows), 1);
    const auto end =
        static_cast<uint32_t>(std::min<uint64_t>(binding.rows, row_ + strips * kStripRows));
    const bool back = matrix.now.data == beside_.data;
    uint8_t *const to = back ? const_cast<uint8_t *>(matrix.file) : beside_.data;
    repack_rows(binding.type, binding.cols, binding.row_bytes, matrix.now, to, into_, row_, end);
    moved_bytes_ += (end - row_) * binding.row_bytes;
    row_ = end;
    if (row_ != binding.rows) {
        return;
    }
    row_ = 0;
    matrix.now = {to, into_};
    if (mode_ == WeightMode::kMapped) {
        copied_bytes_ += beside_.count * platform::kPageBytes;
        beside_ = {};
        arrive(matrix, binding);
    } else if (back) {
        arrive(matrix, binding);
    }
}

bool WeightPlacement::work(uint64_t deadline_ticks) {
    while (moving_) {
        if (matrix_ != nullptr || choose()) {
            if (matrix_ != nullptr) {
                step();
            }
            if (platform::ticks() >= deadline_ticks) {
                return true;
            }
        }
    }
    return false;
}

void WeightPlacement::restore() {
    for (KernelBinding &binding : weights_.bindings) {
        binding.wanted = Packing::kFile;
    }
    moving_ = true;
    work(~uint64_t{0});
    if (weights_.unpack != nullptr) {
        *weights_.unpack = {};
    }
    unpacked_.release();
}

void WeightPlacement::start(const PlaceableWeights &weights, WeightMode mode, bool writable) {
    weights_ = weights;
    uint64_t largest = 0;
    for (const KernelBinding &binding : weights_.bindings) {
        largest = std::max(largest, binding.rows * binding.row_bytes);
        weight_bytes_ += binding.matrices * binding.rows * binding.row_bytes;
    }
    mode_ = !writable                    ? WeightMode::kMapped
            : mode != WeightMode::kAuto  ? mode
            : free_bytes() < 2 * largest ? WeightMode::kTight
                                         : WeightMode::kOwned;
}

uint64_t WeightPlacement::free_bytes() const {
    const uint64_t free = platform::free_memory_bytes();
    return free - std::min(free, kKeptBytes);
}

}  // namespace bareflow::compute
