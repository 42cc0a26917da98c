// AVX-512, several vectors, weights of F32, F16 and BF16: weights are widened once for all vectors.

#include "compute/kernels/gemv.h"
#include "compute/kernels/registry.h"
#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"
#include "compute/numbers/weight_blocks.h"
#include "compute/numbers/weight_formats.h"

#include "compute/kernels/avx512/target_inl.h"

namespace bareflow::compute {
namespace {

#include "compute/kernels/avx512/formats_inl.h"

constexpr uint32_t kMaxVectors = 64;  // in one pass

// ------------------------------------------------------------------ floats, several vectors
// A register has the contract's eight lanes of two rows. The weights of a chunk of columns are
// widened once. Then kFloatVectors vectors at a time are multiplied with them; the lanes of the
// other vectors wait in memory.

constexpr uint32_t kFloatLanes = 8;
constexpr uint32_t kRowPairs = 4;
constexpr uint32_t kFloatVectors = 4;
constexpr uint32_t kChunkSteps = 64;  // of eight columns

#include "compute/kernels/per_target/float_formats_inl.h"

// The first `count` of eight, then zeros: a product of +0 or -0 changes no lane, because no lane is
// ever -0.
template <typename F>
inline __m256 load_some(const uint8_t *from, uint32_t count) {
    alignas(32) uint8_t bytes[kFloatLanes * F::kBytes] = {};
    __builtin_memcpy(bytes, from, count * F::kBytes);
    return F::load(bytes);
}

constexpr uint32_t kRows = 2 * kRowPairs;
using FloatSums = __m512[kFloatVectors][kRowPairs];

// t_j = lane[j] + lane[j + 4], u_j = t_j + t_{j + 2}: of row r of eight u_0, u_1 and of row r + 4
// u_0, u_1 in 128-bit lane r.
inline __m512 fold_to_pairs(const __m512 (&rows)[kRowPairs]) {
    const auto halves = [](__m512 a, __m512 b) {
        return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
    };
    const __m512 low = halves(rows[0], rows[1]);
    const __m512 high = halves(rows[2], rows[3]);
    return _mm512_add_ps(_mm512_shuffle_ps(low, high, 0x44), _mm512_shuffle_ps(low, high, 0xee));
}

// The sums of eight rows: of vector a, then of vector b.
inline __m512 fold_two(const __m512 (&a)[kRowPairs], const __m512 (&b)[kRowPairs]) {
    const __m512 first = fold_to_pairs(a);
    const __m512 second = fold_to_pairs(b);
    const __m512 sums = _mm512_add_ps(_mm512_shuffle_ps(first, second, 0x88),
                                      _mm512_shuffle_ps(first, second, 0xdd));
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_permutexvar_ps(order, sums);
}

// Prefetches the next weights while the present ones are multiplied. Reading them without that adds
// a sixth to the time of the multiplications.
struct Ahead {
    const uint8_t *rows[kRows];
    uint32_t lines;  // of each row
    uint32_t at;

    void fetch(uint32_t count) {
        for (; count != 0 && at < kRows * lines; --count, ++at) {
            _mm_prefetch(rows[at / lines] + at % lines * 64, _MM_HINT_T1);
        }
    }
};
constexpr uint32_t kStepsBetween = 4;

// sums += wide * x for `steps` times eight columns, where x[j] is vector j. `fresh`: the sums start
// from +0. `lines` cache lines of `ahead` are prefetched every kStepsBetween steps.
inline void multiply_floats(const __m512 (&wide)[kRowPairs][kChunkSteps], uint32_t steps,
                            const float *const (&x)[kFloatVectors], FloatSums &sums, bool fresh,
                            Ahead &ahead, uint32_t lines) {
    FloatSums local = {};
    if (!fresh) {
        __builtin_memcpy(local, sums, sizeof(local));
    }
    for (uint32_t begin = 0; begin < steps; begin += kStepsBetween) {
        ahead.fetch(lines);
        const uint32_t end = steps - begin < kStepsBetween ? steps : begin + kStepsBetween;
        for (uint32_t i = begin; i < end; ++i) {
#pragma clang loop unroll(full)
            for (uint32_t j = 0; j < kFloatVectors; ++j) {
                const __m512 value =
                    _mm512_broadcast_f32x8(_mm256_loadu_ps(x[j] + i * kFloatLanes));
#pragma clang loop unroll(full)
                for (uint32_t p = 0; p < kRowPairs; ++p) {
                    local[j][p] = _mm512_add_ps(local[j][p], _mm512_mul_ps(wide[p][i], value));
                }
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
    const auto row_at = [&](uint32_t at) {
        return args.weights + (at < end ? at : end - 1) * args.row_bytes;
    };
    for (uint32_t column = 0; column < args.cols;) {
        const uint32_t left = args.cols - column;
        const uint32_t whole = left / kFloatLanes;
        // Whole steps, and at last what is less than one.
        const uint32_t steps = whole < kChunkSteps ? whole : kChunkSteps;
        const uint32_t columns = steps != 0 ? steps * kFloatLanes : left;
        for (uint32_t p = 0; p < kRowPairs; ++p) {
            const uint8_t *const low = row_at(row + 2 * p) + column * uint64_t{F::kBytes};
            const uint8_t *const high = row_at(row + 2 * p + 1) + column * uint64_t{F::kBytes};
            for (uint32_t i = 0; i < steps; ++i) {
                const uint32_t at = i * kFloatLanes * F::kBytes;
                wide[p][i] = join_ps(F::load(low + at), F::load(high + at));
            }
            if (steps == 0) {
                wide[p][0] = join_ps(load_some<F>(low, left), load_some<F>(high, left));
            }
        }
        const bool last = columns == left;
        const uint32_t next = last ? 0 : column + columns;
        Ahead ahead{.rows = {}, .lines = kChunkSteps * kFloatLanes * F::kBytes / 64, .at = 0};
        for (uint32_t r = 0; r < kRows; ++r) {
            ahead.rows[r] = row_at(row + r + (last ? kRows : 0)) + next * uint64_t{F::kBytes};
        }
        const uint32_t pauses = turns * (kChunkSteps / kStepsBetween);
        const uint32_t lines = (kRows * ahead.lines + pauses - 1) / pauses;
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
            multiply_floats(wide, steps != 0 ? steps : 1, x, sums[turn], column == 0, ahead, lines);
        }
        column += columns;
    }
    const uint32_t rows = end - row < kRows ? end - row : kRows;
    const auto all = static_cast<__mmask8>(0xff >> (kRows - rows));
    for (uint32_t v = 0; v < count; v += 2) {
        const FloatSums &four = sums[v / kFloatVectors];
        const uint32_t j = v % kFloatVectors;
        const __m512 two = fold_two(four[j], four[j + 1]);
        float *const y = args.y + (first + v) * args.y_stride + row;
        _mm256_mask_storeu_ps(y, all, _mm512_castps512_ps256(two));
        if (v + 1 < count) {
            _mm256_mask_storeu_ps(y + args.y_stride, all, _mm512_extractf32x8_ps(two, 1));
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
}  // namespace bareflow::compute

#include "compute/kernels/per_target/end_target_inl.h"

namespace bareflow::compute {

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

}  // namespace bareflow::compute
