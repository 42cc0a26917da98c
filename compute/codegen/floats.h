// Writes matrix-vector kernels of AVX2 (F16 with F16C, which every processor with AVX2 has) for
// F32, F16 and BF16 and one exact shape: the contract's eight lanes of a row in one vector, rows of
// one to eight parts of the range in turns. Called through compute/codegen/codegen.h; the code is a
// GemvKernel and the portable reference's twin, bit for bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "compute/codegen/codegen.h"
#include "compute/kernels/instruction_set.h"
#include "compute/numbers/tensor_types.h"
#include "kernel_lib/base/result.h"

namespace bareflow::compute {

// Bare metal has none: the image is small, and in emulators SSE2 is faster.
[[nodiscard]] bool can_generate_float_type(TensorType type, InstructionSet set);
[[nodiscard]] bool can_generate_float(const GemvShape &shape, const GemvPlan &plan);
[[nodiscard]] Result<size_t> generate_float(const GemvShape &shape, const GemvPlan &plan,
                                            std::span<uint8_t> out, jit::ConstantPool constants);

}  // namespace bareflow::compute
