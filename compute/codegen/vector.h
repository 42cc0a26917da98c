// Writes matrix-vector kernels of vector instructions for one exact shape: AVX2, AVX-VNNI and
// AVX-512 with VNNI, 16 columns of a block in each 128-bit lane. Called through
// compute/codegen/codegen.h; the code is a GemvKernel and the portable reference's twin, bit for
// bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "compute/codegen/codegen.h"
#include "compute/kernels/instruction_set.h"
#include "compute/numbers/tensor_types.h"
#include "kernel_lib/base/result.h"
#include "kernel_lib/jit/assembler.h"

namespace bareflow::compute {

[[nodiscard]] bool can_generate_vector_type(TensorType type, InstructionSet set);
// Plans whose set is kAvx2, kAvxVnni or kAvx512. The first three as in codegen.h.
[[nodiscard]] bool can_generate_vector(const GemvShape &shape, const GemvPlan &plan);
[[nodiscard]] size_t vector_code_room(const GemvPlan &plan);
inline constexpr size_t kVectorConstantBytes = 640;
[[nodiscard]] Result<size_t> generate_vector(const GemvShape &shape, const GemvPlan &plan,
                                             std::span<uint8_t> out, jit::ConstantPool constants);

}  // namespace bareflow::compute
