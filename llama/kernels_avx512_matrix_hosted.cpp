// AVX-512 with VNNI, several vectors at once.
//
// The target is set for the functions of this file, as in kernels_avx512_hosted.cpp.
#include <immintrin.h>

#include "llama/kernels_simd.h"
#include "llama/weight_blocks.h"

#pragma clang attribute push(                                                      \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,f16c"))), \
    apply_to = function)

namespace bareflow::llama {
namespace {

#include "llama/kernels_avx512_formats.h"
#include "llama/kernels_matrix_pack.h"

#include "llama/kernels_avx512_matrix_body.h"

template <typename F>
void gemm(const GemmArgs &args, uint32_t row_begin, uint32_t row_end) {
    gemm_rows<F, false>(args, row_begin, row_end);
}

}  // namespace
}  // namespace bareflow::llama

// What follows runs on any processor.
#pragma clang attribute pop

namespace bareflow::llama {

GemmKernel avx512_matrix(TensorType type) {
    switch (type) {
        case TensorType::kQ8_0:
            return gemm<Q8_0>;
        case TensorType::kQ4_0:
            return gemm<Q4_0>;
        case TensorType::kQ4_1:
            return gemm<Q4_1>;
        case TensorType::kQ5_0:
            return gemm<Q5_0>;
        case TensorType::kQ5_1:
            return gemm<Q5_1>;
        case TensorType::kIQ4_NL:
            return gemm<IQ4_NL>;
        case TensorType::kQ2_K:
            return gemm<Q2_K>;
        case TensorType::kQ3_K:
            return gemm<Q3_K>;
        case TensorType::kQ4_K:
            return gemm<Q4_K>;
        case TensorType::kQ5_K:
            return gemm<Q5_K>;
        case TensorType::kQ6_K:
            return gemm<Q6_K>;
        default:
            return nullptr;
    }
}

}  // namespace bareflow::llama
