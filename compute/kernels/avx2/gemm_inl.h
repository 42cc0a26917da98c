// AVX2, several vectors at once, with or without `vpdpbusd`: as in
// compute/kernels/avx512/gemm_hosted.cpp ("several vectors at once"), with eight rows in a tile.
//
// Included behind gemv_inl.h, whose head says how, and per_target/matrix_pack_inl.h. It includes
// per_target/matrix_strip_inl.h and defines what that needs.
#pragma once

constexpr uint32_t kTileRows = 8;
constexpr uint32_t kStripTiles = 8;  // tiles that share a packed group of activations
constexpr uint32_t kVectors = 4;     // whose sums stay in registers

struct alignas(64) Tile {
    __m256i words[kGroupElements / 4];  // lane: row
    __m256i factors[16];  // blocks: eight mantissas, eight of minimums; else scales of parts
    __m256i minimums[8];  // super-blocks: of two parts, 16 bits each
    __m256d d[2];         // super-blocks: the mantissas of rows 0-3, 4-7
    __m256d dmin[2];
};

// Whether signed weights become unsigned (weight + 128): `vpdpbusd` then needs no sign handling.
template <typename F>
inline constexpr bool kFlipped = kVnni && F::kSigned;
template <typename F>
inline constexpr int kTakenOff = kFlipped<F> ? 128 : F::kOffset;

// out[i] lane j = in[j] lane i.
inline void transpose(const __m256i (&in)[8], __m256i *out) {
    __m256i a[8];
    __m256i b[8];
#pragma clang loop unroll(full)
    for (uint32_t i = 0; i < 8; i += 2) {
        a[i] = _mm256_unpacklo_epi32(in[i], in[i + 1]);
        a[i + 1] = _mm256_unpackhi_epi32(in[i], in[i + 1]);
    }
#pragma clang loop unroll(full)
    for (uint32_t i = 0; i < 8; i += 4) {  // b[i + c]: rows i..i+3 of columns c and 4 + c
        b[i] = _mm256_unpacklo_epi64(a[i], a[i + 2]);
        b[i + 1] = _mm256_unpackhi_epi64(a[i], a[i + 2]);
        b[i + 2] = _mm256_unpacklo_epi64(a[i + 1], a[i + 3]);
        b[i + 3] = _mm256_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
#pragma clang loop unroll(full)
    for (uint32_t c = 0; c < 4; ++c) {
        out[c] = _mm256_permute2x128_si256(b[c], b[4 + c], 0x20);
        out[4 + c] = _mm256_permute2x128_si256(b[c], b[4 + c], 0x31);
    }
}

using TilePointers = const uint8_t *[kTileRows];

template <typename F>
inline void unpack_blocks(const TilePointers &w, uint64_t offset, uint32_t blocks, Tile &tile) {
    __m256i factors[kTileRows];
    __m256i minimums[kTileRows];
    for (uint32_t r = 0; r < kTileRows; ++r) {
        const uint8_t *const from = w[r] + offset;
        alignas(16) uint16_t halves[2][8] = {};
        for (uint32_t b = 0; b < blocks; ++b) {
            halves[0][b] = half_at(from + b * F::kBytes + F::kScaleAt);
            halves[1][b] =
                F::kMinimum ? half_at(from + b * F::kBytes + F::kMinimumAt) : uint16_t{0};
        }
        factors[r] = mantissas(load128(halves[0]));
        minimums[r] = mantissas(load128(halves[1]));
    }
    for (uint32_t b = 0; b < blocks; ++b) {
        __m256i rows[kTileRows];
        for (uint32_t r = 0; r < kTileRows; ++r) {
            rows[r] = F::weights(w[r] + offset + b * F::kBytes);
            if constexpr (kFlipped<F>) {
                rows[r] = _mm256_xor_si256(rows[r], _mm256_set1_epi8(-128));
            }
        }
        transpose(rows, tile.words + 8 * b);
    }
    transpose(factors, tile.factors);
    if constexpr (F::kMinimum) {
        transpose(minimums, tile.factors + 8);
    }
}

template <typename F, int kI>
inline void unpack_columns(const TilePointers &w, uint64_t offset, Tile &tile) {
    __m256i rows[kTileRows];
    for (uint32_t r = 0; r < kTileRows; ++r) {
        rows[r] = F::template columns<kI>(w[r] + offset);
    }
    transpose(rows, tile.words + 8 * kI);
}

template <typename F>
inline void unpack_super(const TilePointers &w, uint64_t offset, Tile &tile) {
    unpack_columns<F, 0>(w, offset, tile);
    unpack_columns<F, 1>(w, offset, tile);
    unpack_columns<F, 2>(w, offset, tile);
    unpack_columns<F, 3>(w, offset, tile);
    unpack_columns<F, 4>(w, offset, tile);
    unpack_columns<F, 5>(w, offset, tile);
    unpack_columns<F, 6>(w, offset, tile);
    unpack_columns<F, 7>(w, offset, tile);
    __m256i low[kTileRows];
    __m256i high[kTileRows];
    __m256i minimums[kTileRows];
    alignas(16) uint16_t d[kTileRows];
    alignas(16) uint16_t dmin[kTileRows];
    for (uint32_t r = 0; r < kTileRows; ++r) {
        const uint8_t *const block = w[r] + offset;
        const __m128i scales = F::scales(block);
        low[r] = _mm256_cvtepi8_epi32(scales);
        high[r] = _mm256_cvtepi8_epi32(_mm_srli_si128(scales, 8));
        d[r] = half_at(block + F::kScaleAt);
        if constexpr (F::kMinimum) {
            minimums[r] = _mm256_cvtepi8_epi16(F::minimums(block));
            dmin[r] = half_at(block + F::kMinimumAt);
        }
    }
    transpose(low, tile.factors);
    transpose(high, tile.factors + 8);
    tile.d[0] = mantissas_f64(load128(d));
    tile.d[1] = mantissas_f64(_mm_srli_si128(load128(d), 8));
    if constexpr (F::kMinimum) {
        transpose(minimums, tile.minimums);
        tile.dmin[0] = mantissas_f64(load128(dmin));
        tile.dmin[1] = mantissas_f64(_mm_srli_si128(load128(dmin), 8));
    }
}

// The 4 * kWords columns from word `first` on, added up for four vectors.
template <typename F, uint32_t kWords>
[[gnu::always_inline]] inline void dot_words(const Tile &tile, const PackedGroup &x, uint32_t v,
                                             uint32_t first, __m256i (&sum)[kVectors]) {
    const auto q_word = [&](uint32_t i, uint32_t k) __attribute__((always_inline)) {
        int32_t word;
        __builtin_memcpy(&word, &x.q[v + i][4 * (first + k)], sizeof(word));
        return _mm256_set1_epi32(word);
    };
    if constexpr (kVnni) {
#pragma clang loop unroll(full)
        for (uint32_t k = 0; k < kWords; ++k) {
#pragma clang loop unroll(full)
            for (uint32_t i = 0; i < kVectors; ++i) {
                sum[i] = _mm256_dpbusd_avx_epi32(sum[i], tile.words[first + k], q_word(i, k));
            }
        }
    } else {
        // kFit: words that can be added up in 16 bits; each adds two products to a lane.
        constexpr uint32_t kFit = 32767 / (2 * F::kMost * 127);
        constexpr uint32_t kRun = kFit >= kWords ? kWords : kFit >= 4 ? 4 : kFit >= 2 ? 2 : 1;
#pragma clang loop unroll(full)
        for (uint32_t k = 0; k < kWords; k += kRun) {
            __m256i pairs[kVectors];
#pragma clang loop unroll(full)
            for (uint32_t n = 0; n < kRun; ++n) {
                const __m256i w = tile.words[first + k + n];
                const __m256i magnitude = F::kSigned ? _mm256_abs_epi8(w) : w;
#pragma clang loop unroll(full)
                for (uint32_t i = 0; i < kVectors; ++i) {
                    const __m256i q = q_word(i, k + n);
                    const __m256i products =
                        _mm256_maddubs_epi16(magnitude, F::kSigned ? _mm256_sign_epi8(q, w) : q);
                    pairs[i] = n == 0 ? products : _mm256_add_epi16(pairs[i], products);
                }
            }
#pragma clang loop unroll(full)
            for (uint32_t i = 0; i < kVectors; ++i) {
                sum[i] =
                    _mm256_add_epi32(sum[i], _mm256_madd_epi16(pairs[i], _mm256_set1_epi16(1)));
            }
        }
    }
}

inline void add_total(const PackedGroup &x, uint32_t v, __m256d low, __m256d high, __m256 *y) {
    const __m256 total = _mm256_set_m128(_mm256_cvtpd_ps(high), _mm256_cvtpd_ps(low));
    y[v] = _mm256_add_ps(y[v], _mm256_mul_ps(total, _mm256_set1_ps(x.scale[v])));
}

// Lanes of y: rows 0 2 4 6, then 1 3 5 7.
template <typename F>
void multiply_blocks(const Tile &tile, const PackedGroup &x, uint32_t v, uint32_t blocks,
                     __m256 *y) {
    __m256i even[kVectors];
    __m256i odd[kVectors];
    for (uint32_t i = 0; i < kVectors; ++i) {
        even[i] = _mm256_setzero_si256();
        odd[i] = _mm256_setzero_si256();
    }
    for (uint32_t b = 0; b < blocks; ++b) {
        __m256i sum[kVectors];
#pragma clang loop unroll(full)
        for (uint32_t i = 0; i < kVectors; ++i) {
            sum[i] = _mm256_set1_epi32(kTakenOff<F> != 0 ? x.start[v + i][b] : 0);
        }
        dot_words<F, 8>(tile, x, v, 8 * b, sum);
        const __m256i factor = tile.factors[b];
        const __m256i factor_odd = _mm256_srli_epi64(factor, 32);
#pragma clang loop unroll(full)
        for (uint32_t i = 0; i < kVectors; ++i) {
            even[i] = _mm256_add_epi64(even[i], _mm256_mul_epi32(sum[i], factor));
            odd[i] = _mm256_add_epi64(odd[i],
                                      _mm256_mul_epi32(_mm256_srli_epi64(sum[i], 32), factor_odd));
            if constexpr (F::kMinimum) {
                const __m256i q_sum = _mm256_set1_epi32(x.sums[v + i][b]);
                const __m256i minimum = tile.factors[8 + b];
                even[i] = _mm256_add_epi64(even[i], _mm256_mul_epi32(q_sum, minimum));
                odd[i] = _mm256_add_epi64(odd[i],
                                          _mm256_mul_epi32(q_sum, _mm256_srli_epi64(minimum, 32)));
            }
        }
    }
    for (uint32_t i = 0; i < kVectors; ++i) {
        add_total(x, v + i, to_f64(even[i]), to_f64(odd[i]), y);
    }
}

// Lanes of y: rows in order.
template <typename F>
void multiply_super(const Tile &tile, const PackedGroup &x, uint32_t v, __m256 *y) {
    __m256i scaled[kVectors];
    for (uint32_t i = 0; i < kVectors; ++i) {
        scaled[i] = _mm256_setzero_si256();
    }
    for (uint32_t part = 0; part < kParts; part += F::kPartColumns / kPartElements) {
        __m256i sum[kVectors];
#pragma clang loop unroll(full)
        for (uint32_t i = 0; i < kVectors; ++i) {
            sum[i] = _mm256_set1_epi32(F::kOffset != 0 ? x.start[v + i][part] : 0);
        }
        dot_words<F, F::kPartColumns / 4>(tile, x, v, 4 * part, sum);
#pragma clang loop unroll(full)
        for (uint32_t i = 0; i < kVectors; ++i) {
            scaled[i] = _mm256_add_epi32(scaled[i], _mm256_mullo_epi32(sum[i], tile.factors[part]));
        }
    }
    const auto low = [](__m256i value) __attribute__((always_inline)) {
        return _mm256_cvtepi32_pd(_mm256_castsi256_si128(value));
    };
    const auto high = [](__m256i value) __attribute__((always_inline)) {
        return _mm256_cvtepi32_pd(_mm256_extracti128_si256(value, 1));
    };
    for (uint32_t i = 0; i < kVectors; ++i) {
        __m256d first = _mm256_mul_pd(low(scaled[i]), tile.d[0]);
        __m256d second = _mm256_mul_pd(high(scaled[i]), tile.d[1]);
        if constexpr (F::kMinimum) {
            __m256i offset = _mm256_setzero_si256();
            for (uint32_t pair = 0; pair < kParts / 2; ++pair) {
                offset = _mm256_add_epi32(
                    offset,
                    _mm256_madd_epi16(tile.minimums[pair], _mm256_set1_epi32(x.sums[v + i][pair])));
            }
            first = _mm256_sub_pd(first, _mm256_mul_pd(low(offset), tile.dmin[0]));
            second = _mm256_sub_pd(second, _mm256_mul_pd(high(offset), tile.dmin[1]));
        }
        add_total(x, v + i, first, second, y);
    }
}

using Lanes = __m256;
constexpr uint32_t kLeastVectors = kVectors;

inline void clear(Lanes &y) {
    y = _mm256_setzero_ps();
}

template <typename F>
inline void multiply(const Tile &tile, const PackedGroup &packed, uint32_t vectors, uint32_t blocks,
                     Lanes *y) {
    for (uint32_t v = 0; v < vectors; v += kVectors) {
        if constexpr (F::kSuper) {
            multiply_super<F>(tile, packed, v, y);
        } else {
            multiply_blocks<F>(tile, packed, v, blocks, y);
        }
    }
}

template <typename F>
inline void store(Lanes y, uint32_t rows, float *to) {
    alignas(32) float each[kTileRows];
    const __m256i interleave = _mm256_set_epi32(7, 3, 6, 2, 5, 1, 4, 0);
    _mm256_store_ps(each, F::kSuper ? y : _mm256_permutevar8x32_ps(y, interleave));
    __builtin_memcpy(to, each, rows * sizeof(float));
}

#include "compute/kernels/per_target/matrix_strip_inl.h"
