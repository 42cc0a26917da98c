// Matrix-vector kernels of the rarer block types in 64-bit integers: four products a multiply (see
// "SWAR" in gemv.cpp). Exact, so equal to the portable ones bit for bit. Registered in
// gemv_variants(); called through it only.
#pragma once

#include <cstdint>

#include "compute/kernels/gemv.h"

namespace bareflow::compute {

// All want kFormQuads.
void gemv_swar_q5_0(const GemvArgs &args, uint32_t row_begin, uint32_t row_end);
void gemv_swar_q5_1(const GemvArgs &args, uint32_t row_begin, uint32_t row_end);
void gemv_swar_q2_k(const GemvArgs &args, uint32_t row_begin, uint32_t row_end);
void gemv_swar_q3_k(const GemvArgs &args, uint32_t row_begin, uint32_t row_end);
void gemv_swar_q4_k(const GemvArgs &args, uint32_t row_begin, uint32_t row_end);
void gemv_swar_q5_k(const GemvArgs &args, uint32_t row_begin, uint32_t row_end);
void gemv_swar_q6_k(const GemvArgs &args, uint32_t row_begin, uint32_t row_end);

// No multiplication of several at once (its weights are bytes out of a table), so no form.
void gemv_direct_iq4_nl(const GemvArgs &args, uint32_t row_begin, uint32_t row_end);

}  // namespace bareflow::compute
