// The kernels that every processor can run: the portable references, whose bits every other kernel
// must have, and faster variants of Q8_0, Q4_0, Q4_1 (SWAR), F16 and BF16.
#pragma once

#include <cstdint>
#include <span>

#include "compute/kernels/gemv.h"
#include "compute/kernels/registry.h"
#include "compute/numbers/tensor_types.h"

namespace bareflow::compute {

// The variants of a type, the portable reference first.
[[nodiscard]] std::span<const GemvVariant> scalar_variants(TensorType type);

// The portable kernel of any block type, following the contract literally.
void gemv_unpacked(TensorType type, const GemvArgs &args, uint32_t row_begin, uint32_t row_end);

// y = W x in the order the contract prescribes, F16 weights widened one by one: the F16 twin of
// dot8 (ops.h).
[[nodiscard]] float dot8_f16(const uint8_t *w, const float *x, uint32_t n);

}  // namespace bareflow::compute
