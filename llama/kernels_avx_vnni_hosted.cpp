// AVX2 with the VEX form of `vpdpbusd`, of processors without AVX-512. See kernels_avx2_body.h.
//
// The target is set for the functions of this file, as in kernels_avx2.cpp.
#include <immintrin.h>

#include "compute/numbers/weight_blocks.h"
#include "llama/kernels_simd.h"

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avxvnni"))), apply_to = function)

namespace bareflow::llama {
namespace {

constexpr bool kVnni = true;
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

GemvVariant avx_vnni_variant(TensorType type) {
    return with_format(type, []<typename Of>(Of) {
        using F = typename Of::Type;
        return GemvVariant{"avx_vnni", kOneVector<F>, 0, gemm<F>, InstructionSet::kAvxVnni};
    });
}

}  // namespace bareflow::llama
