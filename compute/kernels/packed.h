// Kernels of matrices in Packing::kRows16 (compute/numbers/packing.h): a GemvKernel each, `weights`
// being the first strip, equal to the portable reference on the file's layout bit for bit. Hosted
// only.
#pragma once

#include <array>
#include <span>

#include "compute/kernels/registry.h"
#include "compute/numbers/tensor_types.h"

namespace bareflow::compute {

// Those that this processor can run, within limit_instruction_set(); empty: there is none.
struct PackedVariants {
    static constexpr uint32_t kMost = 4;
    std::array<GemvVariant, kMost> list;
    uint32_t count = 0;
};
[[nodiscard]] PackedVariants packed_variants(TensorType type);

// Number `index` for the type, with `kernel` nullptr where there is none.
[[nodiscard]] GemvVariant avx512_packed_variant(TensorType type, uint32_t index);
[[nodiscard]] GemvVariant scalar_packed_variant(TensorType type, uint32_t index);

}  // namespace bareflow::compute
