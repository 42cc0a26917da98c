// AVX-512 for several vectors, weights of F32, F16 and BF16.
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

constexpr uint32_t kMaxVectors = 64;  // in one pass

// ------------------------------------------------------------------ floats, several vectors
// Two rows in one register, eight lanes each, as the contract wants them. Weights are widened once
// for a chunk of columns; lanes wait in memory while other vectors take their turn.

constexpr uint32_t kFloatLanes = 8;
constexpr uint32_t kRowPairs = 4;
constexpr uint32_t kFloatVectors = 4;
constexpr uint32_t kChunkSteps = 64;  // of eight columns

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
// The first `count` of eight, then zeros: a product of +0 or -0 changes no lane, as none is -0.
template <typename F>
inline __m256 load_some(const uint8_t *from, uint32_t count) {
    alignas(32) uint8_t bytes[kFloatLanes * F::kBytes] = {};
    __builtin_memcpy(bytes, from, count * F::kBytes);
    return F::load(bytes);
}

inline float fold(__m256 lanes) {
    const __m128 t = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));
    const __m128 u = _mm_add_ps(t, _mm_movehl_ps(t, t));
    return _mm_cvtss_f32(_mm_add_ss(u, _mm_movehdup_ps(u)));
}

using FloatSums = __m512[kFloatVectors][kRowPairs];

// sums += wide * x for `steps` times eight columns, x[j] being vector j.
inline void multiply_floats(const __m512 (&wide)[kRowPairs][kChunkSteps], uint32_t steps,
                            const float *const (&x)[kFloatVectors], FloatSums &sums) {
    FloatSums local;
    __builtin_memcpy(local, sums, sizeof(local));
    for (uint32_t i = 0; i < steps; ++i) {
#pragma clang loop unroll(full)
        for (uint32_t j = 0; j < kFloatVectors; ++j) {
            const __m512 value = _mm512_broadcast_f32x8(_mm256_loadu_ps(x[j] + i * kFloatLanes));
#pragma clang loop unroll(full)
            for (uint32_t p = 0; p < kRowPairs; ++p) {
                local[j][p] = _mm512_add_ps(local[j][p], _mm512_mul_ps(wide[p][i], value));
            }
        }
    }
    __builtin_memcpy(sums, local, sizeof(local));
}

// Rows row .. row + 8, of those the ones before `end`, and `count` vectors from `first` on.
template <typename F>
void gemm_float_rows(const GemmArgs &args, uint32_t first, uint32_t count, uint32_t row,
                     uint32_t end) {
    FloatSums sums[kMaxVectors / kFloatVectors];
    __m512 wide[kRowPairs][kChunkSteps];
    const uint32_t turns = (count + kFloatVectors - 1) / kFloatVectors;
    __builtin_memset(sums, 0, turns * sizeof(FloatSums));
    const uint8_t *w[2 * kRowPairs];
    for (uint32_t r = 0; r < 2 * kRowPairs; ++r) {
        const uint32_t at = row + r < end ? row + r : end - 1;
        w[r] = args.weights + at * args.row_bytes;
    }
    for (uint32_t column = 0; column < args.cols;) {
        const uint32_t left = args.cols - column;
        const uint32_t whole = left / kFloatLanes;
        // Whole steps, and at last what is less than one.
        const uint32_t steps = whole < kChunkSteps ? whole : kChunkSteps;
        const uint32_t columns = steps != 0 ? steps * kFloatLanes : left;
        for (uint32_t p = 0; p < kRowPairs; ++p) {
            const uint8_t *const low = w[2 * p] + column * uint64_t{F::kBytes};
            const uint8_t *const high = w[2 * p + 1] + column * uint64_t{F::kBytes};
            for (uint32_t i = 0; i < steps; ++i) {
                const uint32_t at = i * kFloatLanes * F::kBytes;
                wide[p][i] = join_ps(F::load(low + at), F::load(high + at));
            }
            if (steps == 0) {
                wide[p][0] = join_ps(load_some<F>(low, left), load_some<F>(high, left));
            }
        }
        for (uint32_t turn = 0; turn < turns; ++turn) {
            const float *x[kFloatVectors];
            alignas(32) float rest[kFloatVectors][kFloatLanes] = {};
            for (uint32_t j = 0; j < kFloatVectors; ++j) {
                const uint32_t v = turn * kFloatVectors + j;  // beyond the last: that one again
                x[j] = args.x + (first + (v < count ? v : count - 1)) * args.x_stride + column;
                if (steps == 0) {
                    __builtin_memcpy(rest[j], x[j], left * sizeof(float));
                    x[j] = rest[j];
                }
            }
            multiply_floats(wide, steps != 0 ? steps : 1, x, sums[turn]);
        }
        column += columns;
    }
    for (uint32_t v = 0; v < count; ++v) {
        float *const y = args.y + (first + v) * args.y_stride;
        for (uint32_t r = 0; r < 2 * kRowPairs && row + r < end; ++r) {
            const __m512 both = sums[v / kFloatVectors][v % kFloatVectors][r / 2];
            y[row + r] =
                fold(r % 2 == 0 ? _mm512_castps512_ps256(both) : _mm512_extractf32x8_ps(both, 1));
        }
    }
}

template <typename F>
void gemm_floats(const GemmArgs &args, uint32_t row_begin, uint32_t row_end) {
    for (uint32_t row = row_begin; row < row_end; row += 2 * kRowPairs) {
        for (uint32_t first = 0; first < args.batch; first += kMaxVectors) {
            const uint32_t left = args.batch - first;
            gemm_float_rows<F>(args, first, left < kMaxVectors ? left : kMaxVectors, row, row_end);
        }
    }
}

}  // namespace
}  // namespace bareflow::llama

// What follows runs on any processor.
#pragma clang attribute pop

namespace bareflow::llama {

GemmKernel avx512_float_matrix(TensorType type) {
    switch (type) {
        case TensorType::kF32:
            return gemm_floats<F32>;
        case TensorType::kF16:
            return gemm_floats<F16>;
        case TensorType::kBF16:
            return gemm_floats<BF16>;
        default:
            return nullptr;
    }
}

}  // namespace bareflow::llama
