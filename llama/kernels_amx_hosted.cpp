// AMX, several vectors at once.
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
__attribute__((target("amx-tile,amx-int8"))) void gemm_amx(const GemmArgs &args, uint32_t row_begin,
                                                           uint32_t row_end) {
    static constexpr TileShapes kShapes = tile_shapes<scale_columns<F>()>();
    _tile_loadconfig(&kShapes);
    gemm_rows<F, true>(args, row_begin, row_end);
    _tile_release();
}

}  // namespace
}  // namespace bareflow::llama

// What follows runs on any processor.
#pragma clang attribute pop

namespace bareflow::llama {

static GemmKernel amx_matrix(TensorType type) {
    switch (type) {
        case TensorType::kQ8_0:
            return gemm_amx<Q8_0>;
        case TensorType::kQ4_0:
            return gemm_amx<Q4_0>;
        case TensorType::kQ4_1:
            return gemm_amx<Q4_1>;
        case TensorType::kQ5_0:
            return gemm_amx<Q5_0>;
        case TensorType::kQ5_1:
            return gemm_amx<Q5_1>;
        case TensorType::kIQ4_NL:
            return gemm_amx<IQ4_NL>;
        case TensorType::kQ4_K:
            return gemm_amx<Q4_K>;
        case TensorType::kQ5_K:
            return gemm_amx<Q5_K>;
        default:
            return nullptr;
    }
}

GemvVariant amx_variant(TensorType type) {
    GemvVariant variant = avx512_variant(type);
    variant.name = "amx";
    variant.needs = InstructionSet::kAmx;
    variant.matrix = amx_matrix(type);
    // Floats, and scales for each sixteen: no faster than AVX-512.
    return variant.matrix != nullptr ? variant : GemvVariant{};
}

}  // namespace bareflow::llama
