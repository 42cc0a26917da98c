// Every block type of GGUF in one common form: small integer weights, integer scales for each
// sixteen, and one or two f16 factors. What dequantises rows and what the portable kernels of the
// rarer types multiply. Block layouts: ggml-common.h and `gguf.quants` of the reference
// implementation, to whose bits dequantize_row is compared.
//
// No allocation, no errors: shapes and scales are the caller's (checked at load).
#pragma once

#include <cstdint>

#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"
#include "compute/numbers/weight_formats.h"

namespace bareflow::compute {

// What the nibbles of IQ4_NL stand for.
inline constexpr int8_t kNonLinear[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                          1,    13,   25,  38,  53,  69,  89,  113};

// Element i of the block means  (d * scales[i / 16]) * weights[i] - (dmin * minimums[i / 16]),
// d and dmin being finite f16. Blocks of 32 have scales of 1, and minimums of -1 where they have
// one; types without a minimum have dmin = +0.
struct UnpackedBlock {
    uint16_t d;
    uint16_t dmin;
    int8_t scales[kSuperBlockElements / kPartElements];
    int8_t minimums[kSuperBlockElements / kPartElements];
    int8_t weights[kSuperBlockElements];
};

// `type` is a block type.
void unpack_block(TensorType type, const uint8_t *block, UnpackedBlock &out);

// One row of a tensor of any supported type as floats: y[cols]. The contract's "Embedding".
void dequantize_row(TensorType type, const uint8_t *row, uint32_t cols, float *y);

}  // namespace bareflow::compute
