// AVX2. See kernels_avx2_body.h.
//
// The target is set for the functions of this file, not for the file: an inline function of a
// header that is compiled here must not be the copy that other files are linked with.
#include <immintrin.h>

#include "llama/kernels_simd.h"
#include "llama/weight_blocks.h"

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)

namespace bareflow::llama {
namespace {

constexpr bool kVnni = false;
#include "llama/kernels_avx2_body.h"

// ------------------------------------------------------------------ F32, F16, BF16
// The contract's eight lanes are one register; rows side by side hide the latency of additions.

struct F32 {
    static constexpr uint32_t kBytes = 4;
    static __m256 load(const uint8_t *from) {
        return _mm256_loadu_ps(reinterpret_cast<const float *>(from));
    }
};
struct F16 {
    static constexpr uint32_t kBytes = 2;
    static __m256 load(const uint8_t *from) { return _mm256_cvtph_ps(load128(from)); }
};
struct BF16 {
    static constexpr uint32_t kBytes = 2;
    static __m256 load(const uint8_t *from) {
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load128(from)), 16));
    }
};

inline float fold(__m256 lanes) {
    const __m128 t = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));
    const __m128 u = _mm_add_ps(t, _mm_movehl_ps(t, t));
    return _mm_cvtss_f32(_mm_add_ss(u, _mm_movehdup_ps(u)));
}

constexpr uint32_t kFloatRows = 8;
constexpr uint32_t kFloatLanes = 8;

template <typename F>
void gemv_floats(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    const uint32_t tail = args.cols % kFloatLanes;
    const uint32_t whole = args.cols - tail;
    // What is missing of the last eight are zeros: a product of +0 or -0 changes no lane, as none
    // is ever -0.
    alignas(32) float tail_x[kFloatLanes] = {};
    __builtin_memcpy(tail_x, args.x + whole, tail * sizeof(float));
    for (uint32_t row = row_begin; row < row_end; row += kFloatRows) {
        const uint8_t *w[kFloatRows];
        __m256 lanes[kFloatRows];
        for (uint32_t r = 0; r < kFloatRows; ++r) {
            const uint32_t at = row + r < row_end ? row + r : row_end - 1;
            w[r] = args.weights + at * args.row_bytes;
            lanes[r] = _mm256_setzero_ps();
        }
        const uint64_t ahead = kFloatRows * args.row_bytes;
        uint64_t offset = 0;
        for (uint32_t i = 0; i < whole; i += kFloatLanes) {
            const __m256 x = _mm256_loadu_ps(args.x + i);
            const bool line_begins = offset % 64 == 0;
#pragma clang loop unroll(full)
            for (uint32_t r = 0; r < kFloatRows; ++r) {
                if (line_begins) {
                    _mm_prefetch(reinterpret_cast<const char *>(w[r] + offset + ahead),
                                 _MM_HINT_T1);
                }
                lanes[r] = _mm256_add_ps(lanes[r], _mm256_mul_ps(F::load(w[r] + offset), x));
            }
            offset += kFloatLanes * F::kBytes;
        }
        for (uint32_t r = 0; r < kFloatRows && row + r < row_end; ++r) {
            if (tail != 0) {
                alignas(32) uint8_t last[kFloatLanes * F::kBytes] = {};
                __builtin_memcpy(last, w[r] + offset, tail * F::kBytes);
                lanes[r] =
                    _mm256_add_ps(lanes[r], _mm256_mul_ps(F::load(last), _mm256_load_ps(tail_x)));
            }
            args.y[row + r] = fold(lanes[r]);
        }
    }
}

}  // namespace
}  // namespace bareflow::llama

// What follows runs on any processor.
#pragma clang attribute pop

namespace bareflow::llama {

GemvVariant avx2_variant(TensorType type) {
    constexpr std::string_view kName = "avx2";
    constexpr InstructionSet kNeeds = InstructionSet::kAvx2;
    switch (type) {
        case TensorType::kF32:
            return {kName, gemv_floats<F32>, 0, nullptr, kNeeds};
        case TensorType::kF16:
            return {kName, gemv_floats<F16>, 0, nullptr, kNeeds};
        case TensorType::kBF16:
            return {kName, gemv_floats<BF16>, 0, nullptr, kNeeds};
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
        case TensorType::kQ2_K:
            return {kName, gemv_supers<Q2_K>, 0, nullptr, kNeeds};
        case TensorType::kQ3_K:
            return {kName, gemv_supers<Q3_K>, 0, nullptr, kNeeds};
        case TensorType::kQ4_K:
            return {kName, gemv_supers<Q4_K>, 0, nullptr, kNeeds};
        case TensorType::kQ5_K:
            return {kName, gemv_supers<Q5_K>, 0, nullptr, kNeeds};
        case TensorType::kQ6_K:
            return {kName, gemv_supers<Q6_K>, 0, nullptr, kNeeds};
    }
    return {};
}

}  // namespace bareflow::llama
