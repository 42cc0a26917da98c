// AVX2 for several vectors. Apart from kernels_avx2.cpp because the bootable image has no room for
// both.
//
// The target is set for the functions of this file, as in kernels_avx2.cpp.
#include <immintrin.h>

#include "compute/numbers/weight_blocks.h"
#include "llama/kernels_simd.h"

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)

namespace bareflow::llama {
namespace {

constexpr bool kVnni = false;
#include "llama/kernels_avx2_body.h"
#include "llama/kernels_matrix_pack.h"

#include "llama/kernels_avx2_matrix_body.h"

}  // namespace
}  // namespace bareflow::llama

// What follows runs on any processor.
#pragma clang attribute pop

namespace bareflow::llama {

namespace {

#include "llama/kernels_formats_table.h"

}  // namespace

GemmKernel avx2_matrix(TensorType type) {
    return with_format(type, []<typename Of>(Of) { return GemmKernel{gemm<typename Of::Type>}; });
}

}  // namespace bareflow::llama
