// Bare metal links no kernel of packed weights, so no matrix is ever moved.
#include "compute/kernels/bindings.h"
#include "compute/tuning/weight_placement.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow::compute {

// The output matrix is the largest one, except in rare shapes.
void WeightPlacement::start(const PlaceableWeights &weights, WeightMode mode, bool) {
    const KernelBinding &output = weights.bindings.back();
    const bool tight = platform::free_memory_bytes() < 2 * output.rows * output.row_bytes;
    mode_ = mode != WeightMode::kAuto ? mode : tight ? WeightMode::kTight : WeightMode::kOwned;
}

bool WeightPlacement::work(uint64_t) {
    return false;
}

void WeightPlacement::restore() {}

uint32_t WeightPlacement::packed_matrices(const KernelBinding &) const {
    return 0;
}

uint64_t WeightPlacement::extra_bytes() const {
    return 0;
}

}  // namespace bareflow::compute
