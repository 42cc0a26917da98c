// The matrix product behind one seam: a kernel is a function that computes a range of rows. Every
// kernel, compiled or generated at run time, has the bits of the portable reference
// (docs/decisions/0001-numeric-contract.md).
#pragma once

#include <cstdint>

#include "compute/numbers/quant.h"

namespace bareflow::compute {

// y[row] = W[row] . x for one matrix W in the file's layout. Standard layout, because generated
// code reads it. Weights have any alignment (F32: 4); y, x and xq don't overlap.
struct GemvArgs {
    const uint8_t *weights = nullptr;  // row 0
    uint64_t row_bytes = 0;
    uint32_t cols = 0;         // a whole number of blocks
    const float *x = nullptr;  // [cols], for F32, F16 and BF16
    QuantizedActivation xq;    // [cols], for block types, with the forms that the kernel declares
    float *y = nullptr;        // indexed by row
};

// Writes y[row_begin .. row_end) and nothing else. Any range is allowed; ranges are independent.
using GemvKernel = void (*)(const GemvArgs &args, uint32_t row_begin, uint32_t row_end);

// The same for several vectors at once: y[b][row] = W[row] . x[b] for b < batch.
struct GemmArgs {
    const uint8_t *weights = nullptr;  // row 0
    uint64_t row_bytes = 0;
    uint32_t cols = 0;
    uint32_t batch = 0;
    const float *x = nullptr;                 // [batch][cols], for F32, F16 and BF16
    uint64_t x_stride = 0;                    // floats from one vector to the next
    const QuantizedActivation *xq = nullptr;  // [batch], for block types
    float *y = nullptr;                       // [batch], each indexed by row
    uint64_t y_stride = 0;                    // floats from one to the next
};

// Writes y[b][row_begin .. row_end) for every b and nothing else; the bits are those of GemvKernel.
using GemmKernel = void (*)(const GemmArgs &args, uint32_t row_begin, uint32_t row_end);

// One vector: calls `kernel`. Several: calls `matrix`. If that is nullptr, it calls `kernel` for
// one vector after the other, a few rows at a time, so that weights are read from memory once.
void run_gemm(GemvKernel kernel, GemmKernel matrix, const GemmArgs &args, uint32_t row_begin,
              uint32_t row_end);

}  // namespace bareflow::compute
