// Writes the machine code of a matrix-vector kernel for one exact shape. The code is a GemvKernel
// (compute/kernels/gemv.h): callable from C++, bit for bit the portable reference's twin. Either
// vector instructions (compute/codegen/vector.h; of 128 bits compute/codegen/narrow.h), or scalar
// 64-bit integers only (SWAR, two or four products in one multiply), with one conversion and two
// float operations for each group of 256 columns: what an emulator runs best.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "compute/kernels/instruction_set.h"
#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"
#include "kernel_lib/base/result.h"
#include "kernel_lib/jit/assembler.h"

namespace bareflow::compute {

struct GemvShape {
    TensorType type = TensorType::kQ8_0;
    uint32_t cols = 0;       // whole blocks
    uint64_t row_bytes = 0;  // at least what cols needs
};

// How: rows side by side, and what of a row stands in line without a loop. SWAR (kSse2): blocks of
// 32 columns; and where the words of activations are: in registers, so that one that was loaded
// serves all rows, or left in memory as operands of the multiplications (for one or two rows),
// which leaves registers for the rest. Vectors: groups of 256 columns, at most eight in all rows,
// whose totals become floats together; and how far ahead weights are prefetched. One row at once
// means two streams of memory (those of the first and of the second half take turns). Narrow ones:
// four rows, one or two blocks of 32 (or eight floats) in line.
struct GemvPlan {
    uint8_t rows = 1;    // SWAR: 1..kMaxPlanRows; direct: 1 or 2; vectors: 1, 2, 4 or 8
    uint8_t unroll = 1;  // 1, 2, 4 or 8
    bool direct = false;
    InstructionSet set = InstructionSet::kSse2;  // or kAvx2, kAvxVnni, kAvx512
    uint16_t ahead = 0;                          // bytes; 0: no prefetch
    bool narrow = false;                         // 128-bit vectors; kSse2 or kSsse3

    [[nodiscard]] constexpr bool swar() const { return set == InstructionSet::kSse2 && !narrow; }
};
inline constexpr uint32_t kMaxPlanRows = 4;

// Whether there is a generator for this type,
[[nodiscard]] bool can_generate_type(TensorType type, const GemvPlan &plan);
// and the shape's distances fit into instructions.
[[nodiscard]] bool can_generate(const GemvShape &shape, const GemvPlan &plan);
// Room that is always enough for generate_gemv.
[[nodiscard]] size_t gemv_code_room(const GemvPlan &plan);
// And for its constants.
[[nodiscard]] size_t gemv_constant_room(const GemvPlan &plan);
// The packings of activations that the code reads.
[[nodiscard]] ActivationForms gemv_code_forms(TensorType type, const GemvPlan &plan);
// Returns the length of the code. can_generate() must hold. The code reads a table inside the
// program: it is valid in this process only. The processor must have the plan's instructions.
[[nodiscard]] Result<size_t> generate_gemv(const GemvShape &shape, const GemvPlan &plan,
                                           std::span<uint8_t> out,
                                           jit::ConstantPool constants = {});

}  // namespace bareflow::compute
