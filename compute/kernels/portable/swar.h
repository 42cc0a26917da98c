// Matrix-vector kernels of the rarer block types in 64-bit integers: four products in one multiply
// (see "SWAR" in gemv.cpp). They are exact, so they have the bits of the reference. They are called
// through scalar_variants() only.
#pragma once

#include <cstdint>

#include "compute/kernels/gemv.h"

namespace bareflow::compute {

// These read kFormQuads.
void gemv_swar_q5_0(const GemvArgs &args, uint32_t row_begin, uint32_t row_end);
void gemv_swar_q5_1(const GemvArgs &args, uint32_t row_begin, uint32_t row_end);
void gemv_swar_q2_k(const GemvArgs &args, uint32_t row_begin, uint32_t row_end);
void gemv_swar_q3_k(const GemvArgs &args, uint32_t row_begin, uint32_t row_end);
void gemv_swar_q4_k(const GemvArgs &args, uint32_t row_begin, uint32_t row_end);
void gemv_swar_q5_k(const GemvArgs &args, uint32_t row_begin, uint32_t row_end);
void gemv_swar_q6_k(const GemvArgs &args, uint32_t row_begin, uint32_t row_end);

// One product in a multiply, because its weights are bytes from a table. It reads no form.
void gemv_direct_iq4_nl(const GemvArgs &args, uint32_t row_begin, uint32_t row_end);

}  // namespace bareflow::compute
