// AVX-512 with VNNI, several vectors: weights are unpacked once for all vectors.

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
#include "compute/kernels/per_target/matrix_pack_inl.h"

// ------------------------------------------------------------------ several vectors at once
// Sixteen rows by 256 columns are unpacked once, so that each lane is a row: one register has word
// k (four columns) of every row. Then each vector of activations is multiplied with them: four of
// its bytes are broadcast at a time, and the sums of several vectors stay in registers.

constexpr uint32_t kTileRows = 16;
constexpr uint32_t kStripTiles = 4;  // tiles that share a packed group of activations

struct alignas(64) Tile {
    __m512i words[kGroupElements / 4];
    __m512i factors[16];   // blocks: eight mantissas, eight of minimums; else scales of parts
    __m512i minimums[16];  // super-blocks: of two parts, 16 bits each
    __m512d d[2];          // super-blocks: the mantissas of rows 0-7, 8-15
    __m512d dmin[2];
};

using TilePointers = const uint8_t *[kTileRows];

// The place of block b in eight_halves.
constexpr uint32_t factor_place(uint32_t b) {
    return b % 2 * 4 + b / 2;
}

// `blocks` of each row, at w + offset.
template <typename F>
void unpack_blocks(const TilePointers &w, uint64_t offset, uint32_t blocks, Tile &tile) {
    __m512i rows[4][kTileRows];
    __m512i factors[kTileRows];
    const uint32_t pairs = (blocks + 1) / 2;
    for (uint32_t r = 0; r < kTileRows; ++r) {
        const uint8_t *const from = w[r] + offset;
        for (uint32_t p = 0; p < pairs; ++p) {
            const uint8_t *const first = from + 2 * p * F::kBytes;
            const uint8_t *const second = 2 * p + 1 < blocks ? first + F::kBytes : first;
            rows[p][r] = F::pair(first, second);
        }
        if (blocks == kGroupBlocks) {
            factors[r] = mantissas(_mm256_set_m128i(
                F::kMinimum ? eight_halves<F::kBytes>(from + F::kMinimumAt) : _mm_setzero_si128(),
                eight_halves<F::kBytes>(from)));
            continue;
        }
        alignas(32) uint16_t halves[16] = {};
        for (uint32_t b = 0; b < blocks; ++b) {
            halves[factor_place(b)] = half_at(from + b * F::kBytes);
            if constexpr (F::kMinimum) {
                halves[8 + factor_place(b)] = half_at(from + b * F::kBytes + F::kMinimumAt);
            }
        }
        factors[r] = mantissas(load256(halves));
    }
    for (uint32_t p = 0; p < pairs; ++p) {
        transpose(rows[p], tile.words + 16 * p);
    }
    transpose(factors, tile.factors);
}

template <typename F>
void unpack_super(const TilePointers &w, uint64_t offset, Tile &tile) {
    __m512i rows[4][kTileRows];
    __m512i scales[kTileRows];
    __m512i minimums[kTileRows];
    alignas(32) uint16_t d[kTileRows];
    alignas(32) uint16_t dmin[kTileRows];
    for (uint32_t r = 0; r < kTileRows; ++r) {
        const uint8_t *const block = w[r] + offset;
        rows[0][r] = F::template columns<0>(block);
        rows[1][r] = F::template columns<1>(block);
        rows[2][r] = F::template columns<2>(block);
        rows[3][r] = F::template columns<3>(block);
        scales[r] = _mm512_cvtepi16_epi32(F::scales(block));
        d[r] = half_at(block + F::kScaleAt);
        if constexpr (F::kMinimum) {
            minimums[r] = _mm512_zextsi256_si512(F::minimums(block));
            dmin[r] = half_at(block + F::kMinimumAt);
        }
    }
    for (uint32_t i = 0; i < 4; ++i) {
        transpose(rows[i], tile.words + 16 * i);
    }
    transpose(scales, tile.factors);
    tile.d[0] = mantissas_f64(load128(d));
    tile.d[1] = mantissas_f64(load128(d + 8));
    if constexpr (F::kMinimum) {
        transpose(minimums, tile.minimums);
        tile.dmin[0] = mantissas_f64(load128(dmin));
        tile.dmin[1] = mantissas_f64(load128(dmin + 8));
    }
}

inline __m512i broadcast_word(const void *from) {
    int32_t word;
    __builtin_memcpy(&word, from, sizeof(word));
    return _mm512_set1_epi32(word);
}

// The 16 * kWords columns from word `first` on, added up for kVectors vectors.
template <uint32_t kVectors, uint32_t kWords>
[[gnu::always_inline]] inline void dot_words(const Tile &tile, const PackedGroup &x, uint32_t v,
                                             uint32_t first, __m512i (&sum)[kVectors]) {
#pragma clang loop unroll(full)
    for (uint32_t k = 0; k < kWords; ++k) {
        const __m512i w = tile.words[first + k];
#pragma clang loop unroll(full)
        for (uint32_t i = 0; i < kVectors; ++i) {
            sum[i] = _mm512_dpbusd_epi32(sum[i], w, broadcast_word(&x.q[v + i][4 * (first + k)]));
        }
    }
}

template <uint32_t kVectors>
inline void add_totals(const PackedGroup &x, uint32_t v, const __m512 (&total)[kVectors],
                       __m512 *y) {
#pragma clang loop unroll(full)
    for (uint32_t i = 0; i < kVectors; ++i) {
        y[v + i] = _mm512_add_ps(y[v + i], _mm512_mul_ps(total[i], _mm512_set1_ps(x.scale[v + i])));
    }
}

// Adds the sums of block b times their scales to the totals of rows 0 2 4 .. and of 1 3 5 ..
template <typename F, uint32_t kVectors>
[[gnu::always_inline]] inline void add_block(const Tile &tile, const PackedGroup &x, uint32_t v,
                                             uint32_t b, const __m512i (&sum)[kVectors],
                                             __m512i (&even)[kVectors], __m512i (&odd)[kVectors]) {
    const __m512i factor = tile.factors[factor_place(b)];
    const __m512i factor_odd = _mm512_srli_epi64(factor, 32);
#pragma clang loop unroll(full)
    for (uint32_t i = 0; i < kVectors; ++i) {
        even[i] = _mm512_add_epi64(even[i], _mm512_mul_epi32(sum[i], factor));
        odd[i] =
            _mm512_add_epi64(odd[i], _mm512_mul_epi32(_mm512_srli_epi64(sum[i], 32), factor_odd));
    }
    if constexpr (F::kMinimum) {
        const __m512i minimum = tile.factors[8 + factor_place(b)];
        const __m512i minimum_odd = _mm512_srli_epi64(minimum, 32);
#pragma clang loop unroll(full)
        for (uint32_t i = 0; i < kVectors; ++i) {
            const __m512i q_sum = _mm512_set1_epi32(x.sums[v + i][b]);
            even[i] = _mm512_add_epi64(even[i], _mm512_mul_epi32(q_sum, minimum));
            odd[i] = _mm512_add_epi64(odd[i], _mm512_mul_epi32(q_sum, minimum_odd));
        }
    }
}

// y[v + i] += T * scale; lanes: rows 0 2 4 .. 14, then 1 3 .. 15.
template <uint32_t kVectors>
inline void finish_blocks(const PackedGroup &x, uint32_t v, const __m512i (&even)[kVectors],
                          const __m512i (&odd)[kVectors], __m512 *y) {
    __m512 total[kVectors];
#pragma clang loop unroll(full)
    for (uint32_t i = 0; i < kVectors; ++i) {
        total[i] = join_ps(_mm512_cvtepi64_ps(even[i]), _mm512_cvtepi64_ps(odd[i]));
    }
    add_totals<kVectors>(x, v, total, y);
}

// The same of super-blocks; lanes: rows in order.
template <typename F, uint32_t kVectors>
inline void finish_super(const Tile &tile, const PackedGroup &x, uint32_t v,
                         const __m512i (&scaled)[kVectors], __m512 *y) {
    __m512 total[kVectors];
#pragma clang loop unroll(full)
    for (uint32_t i = 0; i < kVectors; ++i) {
        __m512d low =
            _mm512_mul_pd(_mm512_cvtepi32_pd(_mm512_castsi512_si256(scaled[i])), tile.d[0]);
        __m512d high =
            _mm512_mul_pd(_mm512_cvtepi32_pd(_mm512_extracti64x4_epi64(scaled[i], 1)), tile.d[1]);
        if constexpr (F::kMinimum) {
            __m512i offset = _mm512_setzero_si512();
#pragma clang loop unroll(full)
            for (uint32_t pair = 0; pair < kParts / 2; ++pair) {
                offset = _mm512_dpwssd_epi32(offset, tile.minimums[pair],
                                             _mm512_set1_epi32(x.sums[v + i][pair]));
            }
            low = _mm512_sub_pd(
                low,
                _mm512_mul_pd(_mm512_cvtepi32_pd(_mm512_castsi512_si256(offset)), tile.dmin[0]));
            high = _mm512_sub_pd(
                high, _mm512_mul_pd(_mm512_cvtepi32_pd(_mm512_extracti64x4_epi64(offset, 1)),
                                    tile.dmin[1]));
        }
        total[i] = join_ps(_mm512_cvtpd_ps(low), _mm512_cvtpd_ps(high));
    }
    add_totals<kVectors>(x, v, total, y);
}

template <uint32_t kVectors>
inline void clear(__m512i (&values)[kVectors]) {
#pragma clang loop unroll(full)
    for (uint32_t i = 0; i < kVectors; ++i) {
        values[i] = _mm512_setzero_si512();
    }
}

// Vectors v .. v + kVectors.
template <typename F, uint32_t kVectors>
void multiply_blocks(const Tile &tile, const PackedGroup &x, uint32_t v, uint32_t blocks,
                     __m512 *y) {
    __m512i even[kVectors];
    __m512i odd[kVectors];
    clear(even);
    clear(odd);
    for (uint32_t b = 0; b < blocks; ++b) {
        __m512i sum[kVectors];
#pragma clang loop unroll(full)
        for (uint32_t i = 0; i < kVectors; ++i) {
            sum[i] =
                F::kOffset != 0 ? _mm512_set1_epi32(x.start[v + i][b]) : _mm512_setzero_si512();
        }
        dot_words<kVectors, 8>(tile, x, v, 8 * b, sum);
        add_block<F, kVectors>(tile, x, v, b, sum, even, odd);
    }
    finish_blocks<kVectors>(x, v, even, odd, y);
}

template <uint32_t kVectors>
[[gnu::always_inline]] inline void add_part(const __m512i &factor, const __m512i (&sum)[kVectors],
                                            __m512i (&scaled)[kVectors]) {
#pragma clang loop unroll(full)
    for (uint32_t i = 0; i < kVectors; ++i) {
        scaled[i] = _mm512_add_epi32(scaled[i], _mm512_mullo_epi32(sum[i], factor));
    }
}

template <typename F, uint32_t kVectors>
void multiply_super(const Tile &tile, const PackedGroup &x, uint32_t v, __m512 *y) {
    __m512i scaled[kVectors];
    clear(scaled);
    constexpr uint32_t kStep = F::kPartColumns / kPartElements;
#pragma clang loop unroll(disable)
    for (uint32_t part = 0; part < kParts; part += kStep) {
        __m512i sum[kVectors];
#pragma clang loop unroll(full)
        for (uint32_t i = 0; i < kVectors; ++i) {
            sum[i] =
                F::kOffset != 0 ? _mm512_set1_epi32(x.start[v + i][part]) : _mm512_setzero_si512();
        }
        dot_words<kVectors, F::kPartColumns / 4>(tile, x, v, 4 * part, sum);
        add_part(tile.factors[part], sum, scaled);
    }
    finish_super<F, kVectors>(tile, x, v, scaled, y);
}

// ------------------------------------------------------------------ strips of rows

using Lanes = __m512;
constexpr uint32_t kLeastVectors = 4;
template <typename F>
constexpr int kTakenOff = F::kOffset;

inline void clear(Lanes &y) {
    y = _mm512_setzero_ps();
}

template <typename F, uint32_t kVectors>
inline void multiply_some(const Tile &tile, const PackedGroup &packed, uint32_t v, uint32_t blocks,
                          Lanes *y) {
    if constexpr (F::kSuper) {
        multiply_super<F, kVectors>(tile, packed, v, y);
    } else {
        multiply_blocks<F, kVectors>(tile, packed, v, blocks, y);
    }
}

template <typename F>
inline void multiply(const Tile &tile, const PackedGroup &packed, uint32_t vectors, uint32_t blocks,
                     Lanes *y) {
    uint32_t v = 0;
    for (; vectors - v >= 8; v += 8) {
        multiply_some<F, 8>(tile, packed, v, blocks, y);
    }
    if (v < vectors) {
        multiply_some<F, 4>(tile, packed, v, blocks, y);
    }
}

template <typename F>
inline void store(Lanes y, uint32_t rows, float *to) {
    const __m512i interleave =
        _mm512_set_epi32(15, 7, 14, 6, 13, 5, 12, 4, 11, 3, 10, 2, 9, 1, 8, 0);
    const Lanes value = F::kSuper ? y : _mm512_permutexvar_ps(interleave, y);
    _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1u << rows) - 1), value);
}

#include "compute/kernels/per_target/matrix_strip_inl.h"

}  // namespace
}  // namespace bareflow::compute

#include "compute/kernels/per_target/end_target_inl.h"

namespace bareflow::compute {
namespace {

#include "compute/kernels/per_target/formats_table_inl.h"

}  // namespace

GemmKernel avx512_matrix(TensorType type) {
    return with_format(type, []<typename Of>(Of) { return GemmKernel{gemm<typename Of::Type>}; });
}

}  // namespace bareflow::compute
