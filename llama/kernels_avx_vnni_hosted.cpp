// AVX2 with the VEX form of `vpdpbusd`, of processors without AVX-512. See kernels_avx2_body.h; the
// types whose sums need more than that instruction are left to AVX2.
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

}  // namespace

GemvVariant avx_vnni_variant(TensorType type) {
    constexpr std::string_view kName = "avx_vnni";
    constexpr InstructionSet kNeeds = InstructionSet::kAvxVnni;
    switch (type) {
        case TensorType::kQ8_0:
            return {kName, gemv_blocks<Q8_0>, 0, nullptr, kNeeds};
        case TensorType::kQ4_0:
            return {kName, gemv_blocks<Q4_0>, 0, nullptr, kNeeds};
        case TensorType::kQ4_1:
            return {kName, gemv_blocks<Q4_1>, 0, nullptr, kNeeds};
        case TensorType::kQ5_0:
            return {kName, gemv_blocks<Q5_0>, 0, nullptr, kNeeds};
        case TensorType::kQ5_1:
            return {kName, gemv_blocks<Q5_1>, 0, nullptr, kNeeds};
        case TensorType::kIQ4_NL:
            return {kName, gemv_blocks<IQ4_NL>, 0, nullptr, kNeeds};
        default:
            return {};
    }
}

}  // namespace bareflow::llama

#pragma clang attribute pop
