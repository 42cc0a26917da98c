// Kernels for matrices in Packing::kRows16 (compute/numbers/packing.h). Each is a GemvKernel whose
// `weights` points at the first strip. It has the bits of the portable reference on the file's
// layout. Hosted only.
#pragma once

#include <array>
#include <span>

#include "compute/kernels/registry.h"
#include "compute/numbers/tensor_types.h"

namespace bareflow::compute {

// The kernels for a type that this processor can run, within limit_instruction_set(). May be empty.
struct PackedVariants {
    static constexpr uint32_t kMost = 4;
    std::array<GemvVariant, kMost> list;
    uint32_t count = 0;
};
[[nodiscard]] PackedVariants packed_variants(TensorType type);

// Kernel number `index` for the type; `kernel` is nullptr if there is none.
[[nodiscard]] GemvVariant avx512_packed_variant(TensorType type, uint32_t index);
[[nodiscard]] GemvVariant scalar_packed_variant(TensorType type, uint32_t index);

}  // namespace bareflow::compute
