// Sixteen rows by 256 columns as integers of 24 bits. Each of their three bytes goes into a plane
// of its own, because AMX multiplies bytes. Included behind compute/kernels/avx512/formats_inl.h,
// as compute/kernels/avx2/gemv_inl.h says; nothing need be defined before.
//
// A mantissa M is a power of two times a number of eleven bits, and the powers within a group are
// seldom far apart. So let 2^e be the greatest power of two that divides all mantissas of a row's
// group. Then
//
//     T = 2^e * sum over its 256 columns of v_i * q_i,
//     v_i = (M_b >> e) * w_i  [+ Mm_b >> e]          or  (M_d >> e) * sc_j * w_i  [- (M_dmin >> e)
//     * mn_j]
//
// and if all |v_i| < 2^23, then T = 2^e * (c0 + 2^8 c1 + 2^16 c2), where each c is a sum of bytes
// times bytes over all columns. The bytes of c0 and c1 are unsigned, those of c2 signed. Nothing
// else of the format is needed. Rows with greater values become zeros here, and `unfit` names them.
#pragma once

constexpr uint32_t kTileRows = 16;
constexpr uint32_t kTileColumns = 64;  // of bytes, in a register of AMX
constexpr uint32_t kSteps = kGroupElements / kTileColumns;
constexpr uint32_t kPlanes = 3;

struct alignas(64) Planes {
    uint8_t of[kSteps][kPlanes][kTileRows][kTileColumns];
    float unit[kTileRows];  // 2^e
    uint32_t unfit;         // bit r: row r is left out
};

using TilePointers = const uint8_t *[kTileRows];

// Mantissas of the rows of a tile, a row in each element.
template <uint32_t kCount>
struct alignas(64) Mantissas {
    int32_t of[kCount][kTileRows];
};

inline __m512i choose(__m512i mask, __m512i set, __m512i clear) {
    return _mm512_ternarylogic_epi32(mask, set, clear, 0xca);
}

// Stores 64 values of one row. `even` has columns 0 2 4 .., `odd` 1 3 5 ..; `low` has bits 0-15 of
// each value, `high` bits 16-23.
inline void store_planes(__m512i low_even, __m512i high_even, __m512i low_odd, __m512i high_odd,
                         uint32_t step, uint32_t row, Planes &out) {
    const __m512i low_bytes = _mm512_set1_epi16(0xff);
    _mm512_store_si512(out.of[step][0][row],
                       choose(low_bytes, low_even, _mm512_slli_epi16(low_odd, 8)));
    _mm512_store_si512(out.of[step][1][row],
                       choose(low_bytes, _mm512_srli_epi16(low_even, 8), low_odd));
    _mm512_store_si512(out.of[step][2][row],
                       choose(low_bytes, high_even, _mm512_slli_epi16(high_odd, 8)));
}

// Stores `even` and `odd` times m, all of 16 bits.
inline void store_products(__m512i even, __m512i odd, __m512i m, uint32_t step, uint32_t row,
                           Planes &out) {
    store_planes(_mm512_mullo_epi16(even, m), _mm512_mulhi_epi16(even, m),
                 _mm512_mullo_epi16(odd, m), _mm512_mulhi_epi16(odd, m), step, row, out);
}

// The same plus `added`, 32 bits for four columns.
inline void store_sums(__m512i even, __m512i odd, __m512i m, __m512i added, uint32_t step,
                       uint32_t row, Planes &out) {
    const __m512i low_words = _mm512_set1_epi32(0xffff);
    const __m512i first = _mm512_and_si512(m, low_words);
    const __m512i second = _mm512_slli_epi32(m, 16);
    const __m512i v0 = _mm512_dpwssd_epi32(added, even, first);
    const __m512i v1 = _mm512_dpwssd_epi32(added, odd, first);
    const __m512i v2 = _mm512_dpwssd_epi32(added, even, second);
    const __m512i v3 = _mm512_dpwssd_epi32(added, odd, second);
    store_planes(choose(low_words, v0, _mm512_slli_epi32(v2, 16)),
                 choose(low_words, _mm512_srli_epi32(v0, 16), v2),
                 choose(low_words, v1, _mm512_slli_epi32(v3, 16)),
                 choose(low_words, _mm512_srli_epi32(v1, 16), v3), step, row, out);
}

// 64 weights of bytes + kOffset as words, columns 0 2 4 .. and 1 3 5 ..
template <int kOffset>
inline void to_words(__m512i bytes, __m512i &even, __m512i &odd) {
    if constexpr (kOffset == 128) {
        const __m512i weights = _mm512_xor_si512(bytes, _mm512_set1_epi8(-128));
        even = _mm512_srai_epi16(_mm512_slli_epi16(weights, 8), 8);
        odd = _mm512_srai_epi16(weights, 8);
    } else {
        even = _mm512_and_si512(bytes, _mm512_set1_epi16(0xff));
        odd = _mm512_srli_epi16(bytes, 8);
        if constexpr (kOffset != 0) {
            even = _mm512_sub_epi16(even, _mm512_set1_epi16(kOffset));
            odd = _mm512_sub_epi16(odd, _mm512_set1_epi16(kOffset));
        }
    }
}

// The greatest power of two 2^e that divides the lane, and e. 0 for 0. Lanes are below 2^31.
inline __m512 common_power(__m512i any, __m512i &e) {
    const __m512i lowest = _mm512_and_si512(any, _mm512_sub_epi32(_mm512_setzero_si512(), any));
    const __m512 power = _mm512_cvtepi32_ps(lowest);
    e = _mm512_sub_epi32(_mm512_srli_epi32(_mm512_castps_si512(power), 23), _mm512_set1_epi32(127));
    return power;
}

// 16-bit numbers, each in both halves of its lane.
inline __m512i doubled_words(__m512i value) {
    return _mm512_or_si512(_mm512_and_si512(value, _mm512_set1_epi32(0xffff)),
                           _mm512_slli_epi32(value, 16));
}

// A number for the first 32 of 64 columns and one for the others.
inline __m512i two_blocks(const int32_t &first, const int32_t &second) {
    return _mm512_mask_set1_epi32(_mm512_set1_epi32(first), 0xff00, second);
}

constexpr int32_t kMost16 = 32767;
// Added to 31 * 32767, the greatest scaled weight, it stays below 2^23.
constexpr int32_t kMostMinimum = 1 << 22;

// Prefetches into L2: the L1 cache can have few requests open.
template <uint32_t kBytes>
inline void prefetch(const uint8_t *from) {
#pragma clang loop unroll(full)
    for (uint32_t line = 0; line < kBytes; line += 64) {
        _mm_prefetch(reinterpret_cast<const char *>(from + line), _MM_HINT_T1);
    }
}

// Expands eight blocks of each row, at w + offset, and prefetches the rows at `next`.
template <typename F>
inline void expand_blocks(const TilePointers &w, uint64_t offset, const uint8_t *next,
                          uint64_t row_bytes, Planes &out) {
    constexpr uint32_t kFields = F::kMinimum ? 2 : 1;
    alignas(64) uint16_t halves[kFields][kGroupBlocks][kTileRows];
    for (uint32_t r = 0; r < kTileRows; ++r) {
#pragma clang loop unroll(full)
        for (uint32_t b = 0; b < kGroupBlocks; ++b) {
            for (uint32_t f = 0; f < kFields; ++f) {
                halves[f][b][r] = half_at(w[r] + offset + b * F::kBytes + 2 * f);
            }
        }
    }
    __m512i m[kFields][kGroupBlocks];
    __m512i any = _mm512_setzero_si512();
    for (uint32_t f = 0; f < kFields; ++f) {
        for (uint32_t b = 0; b < kGroupBlocks; ++b) {
            m[f][b] = mantissas(load256(halves[f][b]));
            any = _mm512_or_si512(any, m[f][b]);
        }
    }
    __m512i e;
    _mm512_store_ps(out.unit, common_power(any, e));
    __m512i greatest[kFields];
    for (uint32_t f = 0; f < kFields; ++f) {
        greatest[f] = _mm512_setzero_si512();
        for (uint32_t b = 0; b < kGroupBlocks; ++b) {
            m[f][b] = _mm512_srav_epi32(m[f][b], e);
            greatest[f] = _mm512_max_epi32(greatest[f], _mm512_abs_epi32(m[f][b]));
        }
    }
    __mmask16 fits = _mm512_cmple_epi32_mask(greatest[0], _mm512_set1_epi32(kMost16));
    if constexpr (F::kMinimum) {
        fits = _mm512_mask_cmple_epi32_mask(fits, greatest[1], _mm512_set1_epi32(kMostMinimum));
    }
    out.unfit = static_cast<uint32_t>(fits) ^ 0xffff;
    Mantissas<kGroupBlocks> factors;
    Mantissas<kGroupBlocks> minimums;
    for (uint32_t b = 0; b < kGroupBlocks; ++b) {
        _mm512_store_si512(factors.of[b], _mm512_maskz_mov_epi32(fits, doubled_words(m[0][b])));
        if constexpr (F::kMinimum) {
            _mm512_store_si512(minimums.of[b], _mm512_maskz_mov_epi32(fits, m[1][b]));
        }
    }
    for (uint32_t r = 0; r < kTileRows; ++r) {
        const uint8_t *const from = w[r] + offset;
        prefetch<kGroupBlocks * F::kBytes>(next + r * row_bytes);
#pragma clang loop unroll(full)
        for (uint32_t step = 0; step < kSteps; ++step) {
            __m512i even;
            __m512i odd;
            to_words<F::kOffset>(
                F::pair(from + 2 * step * F::kBytes, from + (2 * step + 1) * F::kBytes), even, odd);
            const __m512i factor = two_blocks(factors.of[2 * step][r], factors.of[2 * step + 1][r]);
            if constexpr (F::kMinimum) {
                store_sums(even, odd, factor,
                           two_blocks(minimums.of[2 * step][r], minimums.of[2 * step + 1][r]), step,
                           r, out);
            } else {
                store_products(even, odd, factor, step, r, out);
            }
        }
    }
}

template <typename F, uint32_t kStep>
inline void expand_columns(const uint8_t *block, __m512i scales, __m512i minimums, __m512i m,
                           uint32_t row, Planes &out) {
    const __m512i parts = _mm512_set_epi64(3, 3, 2, 2, 1, 1, 0, 0);  // of 16 columns
    const __m512i first = _mm512_set1_epi32(4 * kStep);
    const __m512i part =
        _mm512_add_epi32(_mm512_or_si512(parts, _mm512_slli_epi64(parts, 32)), first);
    const __m512i scale = _mm512_permutexvar_epi16(doubled_words(part), scales);
    __m512i even;
    __m512i odd;
    to_words<F::kOffset>(F::template columns<kStep>(block), even, odd);
    even = _mm512_mullo_epi16(even, scale);
    odd = _mm512_mullo_epi16(odd, scale);
    if constexpr (F::kMinimum) {
        store_sums(even, odd, m, _mm512_permutexvar_epi32(part, minimums), kStep, row, out);
    } else {
        store_products(even, odd, m, kStep, row, out);
    }
}

// The same of a super-block of each row.
template <typename F>
inline void expand_super(const TilePointers &w, uint64_t offset, const uint8_t *next,
                         uint64_t row_bytes, Planes &out) {
    alignas(64) uint16_t halves[2][kTileRows];
    for (uint32_t r = 0; r < kTileRows; ++r) {
        const uint8_t *const factors = w[r] + offset + F::kScaleAt;
        halves[0][r] = half_at(factors);
        halves[1][r] = F::kMinimum ? half_at(factors + F::kMinimumAt - F::kScaleAt) : uint16_t{0};
    }
    __m512i d = mantissas(load256(halves[0]));
    __m512i dmin = mantissas(load256(halves[1]));
    __m512i e;
    _mm512_store_ps(out.unit, common_power(_mm512_or_si512(d, dmin), e));
    d = _mm512_srav_epi32(d, e);
    dmin = _mm512_srav_epi32(dmin, e);
    // Without minimums everything fits: M_d >> e has eleven bits, scale times weight at most 2^12.
    __mmask16 fits = 0xffff;
    if constexpr (F::kMinimum) {
        const __m512i d_size = _mm512_abs_epi32(d);
        const __m512i dmin_size = _mm512_abs_epi32(dmin);
        fits = _mm512_cmple_epi32_mask(d_size, _mm512_set1_epi32(kMost16));
        fits = _mm512_mask_cmple_epi32_mask(fits, dmin_size, _mm512_set1_epi32(1 << 18));
        const __m512i most =
            _mm512_add_epi32(_mm512_mullo_epi32(d_size, _mm512_set1_epi32(F::kMost * F::kMostPart)),
                             _mm512_mullo_epi32(dmin_size, _mm512_set1_epi32(F::kMostPart)));
        fits = _mm512_mask_cmplt_epi32_mask(fits, most, _mm512_set1_epi32(1 << 23));
    }
    out.unfit = static_cast<uint32_t>(fits) ^ 0xffff;
    Mantissas<2> factors;
    _mm512_store_si512(factors.of[0], _mm512_maskz_mov_epi32(fits, doubled_words(d)));
    _mm512_store_si512(factors.of[1], _mm512_maskz_sub_epi32(fits, _mm512_setzero_si512(), dmin));
    for (uint32_t r = 0; r < kTileRows; ++r) {
        const uint8_t *const block = w[r] + offset;
        prefetch<F::kBytes>(next + r * row_bytes);
        const __m512i scales = _mm512_castsi256_si512(F::scales(block));
        const __m512i m = _mm512_set1_epi32(factors.of[0][r]);
        __m512i minimums = _mm512_setzero_si512();
        if constexpr (F::kMinimum) {
            minimums = _mm512_mullo_epi32(_mm512_cvtepi16_epi32(F::minimums(block)),
                                          _mm512_set1_epi32(factors.of[1][r]));
        }
        expand_columns<F, 0>(block, scales, minimums, m, r, out);
        expand_columns<F, 1>(block, scales, minimums, m, r, out);
        expand_columns<F, 2>(block, scales, minimums, m, r, out);
        expand_columns<F, 3>(block, scales, minimums, m, r, out);
    }
}
