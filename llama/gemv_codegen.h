// Writes the machine code of a matrix-vector kernel for one exact shape. The code is a GemvKernel
// (llama/kernels.h): callable from C++, bit for bit the portable reference's twin. Scalar 64-bit
// integers only (SWAR, two or four products in one multiply), with one conversion and two float
// operations for each group of 256 columns: what an emulator runs best.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernel_lib/base/result.h"
#include "llama/kernels.h"

namespace bareflow::llama {

struct GemvShape {
    TensorType type = TensorType::kQ8_0;
    uint32_t cols = 0;       // a multiple of 32
    uint64_t row_bytes = 0;  // at least what cols needs
};

// How: rows side by side, blocks of 32 columns in a row without a loop, and where the words of
// activations are: in registers, so that one that was loaded serves all rows, or left in memory as
// operands of the multiplications (for one or two rows), which leaves registers for the rest.
struct GemvPlan {
    uint8_t rows = 1;    // 1..kMaxPlanRows; direct: 1 or 2
    uint8_t unroll = 1;  // 1, 2, 4 or 8
    bool direct = false;
};
inline constexpr uint32_t kMaxPlanRows = 4;

// Whether there is a generator for this type and the shape's distances fit into instructions.
[[nodiscard]] bool can_generate(const GemvShape &shape, const GemvPlan &plan);
// Room that is always enough for generate_gemv.
[[nodiscard]] size_t gemv_code_room(const GemvPlan &plan);
// The packings of activations that the code reads.
[[nodiscard]] ActivationForms gemv_code_forms(TensorType type);
// Returns the length of the code. can_generate() must hold. The code reads a table inside the
// program: it is valid in this process only.
[[nodiscard]] Result<size_t> generate_gemv(const GemvShape &shape, const GemvPlan &plan,
                                           std::span<uint8_t> out);

}  // namespace bareflow::llama
