// Writes matrix-vector kernels of 128-bit vectors for one exact shape: SSE2 or SSSE3, four rows at
// once, every weight type (IQ4_NL needs SSSE3). Called through compute/codegen/codegen.h; the code
// is a GemvKernel and the portable reference's twin, bit for bit. It needs 448 bytes of stack.
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

// Plans whose `narrow` is set, of kSse2 or kSsse3.
[[nodiscard]] bool can_generate_narrow_type(TensorType type, InstructionSet set);
[[nodiscard]] bool can_generate_narrow(const GemvShape &shape, const GemvPlan &plan);
inline constexpr size_t kNarrowCodeRoom = 12 << 10;
inline constexpr size_t kNarrowConstantBytes = 640;
[[nodiscard]] Result<size_t> generate_narrow(const GemvShape &shape, const GemvPlan &plan,
                                             std::span<uint8_t> out, jit::ConstantPool constants);

}  // namespace bareflow::compute
