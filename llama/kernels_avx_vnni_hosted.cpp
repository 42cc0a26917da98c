// AVX2 with the VEX form of `vpdpbusd`, of processors without AVX-512. See kernels_avx2_body.h.
//
// The target is set for the functions of this file, as in kernels_avx2.cpp.
#include <immintrin.h>

#include "llama/kernels_simd.h"
#include "llama/weight_blocks.h"

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

GemvVariant avx_vnni_variant(TensorType type) {
    constexpr std::string_view kName = "avx_vnni";
    constexpr InstructionSet kNeeds = InstructionSet::kAvxVnni;
    switch (type) {
        case TensorType::kQ8_0:
            return {kName, gemv_blocks<Q8_0>, 0, gemm<Q8_0>, kNeeds};
        case TensorType::kQ4_0:
            return {kName, gemv_blocks<Q4_0>, 0, gemm<Q4_0>, kNeeds};
        case TensorType::kQ4_1:
            return {kName, gemv_blocks<Q4_1>, 0, gemm<Q4_1>, kNeeds};
        case TensorType::kQ5_0:
            return {kName, gemv_blocks<Q5_0>, 0, gemm<Q5_0>, kNeeds};
        case TensorType::kQ5_1:
            return {kName, gemv_blocks<Q5_1>, 0, gemm<Q5_1>, kNeeds};
        case TensorType::kIQ4_NL:
            return {kName, gemv_blocks<IQ4_NL>, 0, gemm<IQ4_NL>, kNeeds};
        case TensorType::kQ2_K:
            return {kName, gemv_supers<Q2_K>, 0, gemm<Q2_K>, kNeeds};
        case TensorType::kQ3_K:
            return {kName, gemv_supers<Q3_K>, 0, gemm<Q3_K>, kNeeds};
        case TensorType::kQ4_K:
            return {kName, gemv_supers<Q4_K>, 0, gemm<Q4_K>, kNeeds};
        case TensorType::kQ5_K:
            return {kName, gemv_supers<Q5_K>, 0, gemm<Q5_K>, kNeeds};
        case TensorType::kQ6_K:
            return {kName, gemv_supers<Q6_K>, 0, gemm<Q6_K>, kNeeds};
        default:
            return {};
    }
}

}  // namespace bareflow::llama
