// Unpacks a block of any supported type into one common layout: small integer weights, an integer
// scale for each sixteen, and one or two f16 factors. The embedding and the portable kernels of the
// rarer types are built on it. The layouts are those of ggml-common.h and `gguf.quants` of the
// reference implementation; tests/golden/test_dequantize.py compares the bits.
//
// No allocation, no errors: shapes and scales are the caller's (checked at load).
#pragma once

#include <cstdint>

#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"
#include "compute/numbers/weight_formats.h"

namespace bareflow::compute {

// The weights that the nibbles of IQ4_NL stand for.
inline constexpr int8_t kNonLinear[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                          1,    13,   25,  38,  53,  69,  89,  113};

// Element i of the block is  (d * scales[i / 16]) * weights[i] - (dmin * minimums[i / 16]),  where
// d and dmin are finite f16. In blocks of 32 all scales are 1 and, if the type has a minimum, all
// minimums are -1. Types without a minimum have dmin = +0.
struct UnpackedBlock {
    uint16_t d;
    uint16_t dmin;
    int8_t scales[kSuperBlockElements / kPartElements];
    int8_t minimums[kSuperBlockElements / kPartElements];
    int8_t weights[kSuperBlockElements];
};

// `type` is a block type.
void unpack_block(TensorType type, const uint8_t *block, UnpackedBlock &out);

// Writes one row of a tensor of any supported type to y[cols] as floats. The contract's
// "Embedding".
void dequantize_row(TensorType type, const uint8_t *row, uint32_t cols, float *y);

}  // namespace bareflow::compute
