// float(T) of the contract for eight units at once. A unit is 256 columns of one row, with the
// activation that it is multiplied by. Included behind formats_inl.h, whose head says how.
#pragma once

constexpr uint32_t kUnits = 8;
using UnitPointers = const uint8_t *[kUnits];

// Prefetches the cache lines of the unit kAhead bytes further on (kAhead 0: none). Interleaved with
// the products: prefetches issued back to back queue behind each other.
template <typename F, uint32_t kAhead>
[[gnu::always_inline]] inline void prefetch_unit(const uint8_t *unit) {
    if constexpr (kAhead != 0) {
        constexpr uint32_t kBytes = F::kSuper ? F::kBytes : 8 * F::kBytes;
#pragma clang loop unroll(full)
        for (uint32_t line = 0; line < kBytes; line += 64) {
            _mm_prefetch(reinterpret_cast<const char *>(unit + kAhead + line), _MM_HINT_T0);
        }
    }
}

// Sums of neighbouring 32-bit numbers; in each 128-bit lane two of a, then two of b.
inline __m512i add_pairs(__m512i a, __m512i b) {
    const __m512 x = _mm512_castsi512_ps(a);
    const __m512 y = _mm512_castsi512_ps(b);
    return _mm512_add_epi32(_mm512_castps_si512(_mm512_shuffle_ps(x, y, 0x88)),
                            _mm512_castps_si512(_mm512_shuffle_ps(x, y, 0xdd)));
}
// The same where every value fits 16 bits.
inline __m512i add_pairs_16(__m512i a, __m512i b) {
    return _mm512_madd_epi16(_mm512_packs_epi32(a, b), _mm512_set1_epi16(1));
}

// ------------------------------------------------------------------ blocks of 32

// Eight blocks of one row. Each 128-bit lane holds a partial sum of each of four blocks. In lanes 0
// and 1 these are blocks 0, 2, 4, 6; in lanes 2 and 3 blocks 1, 3, 5, 7.
template <typename F>
inline __m512i block_sums_by_lane(const uint8_t *w, const int8_t *q) {
    __m512i dot[4];
#pragma clang loop unroll(full)
    for (uint32_t i = 0; i < 4; ++i) {
        const __m512i bytes = F::pair(w + 2 * i * F::kBytes, w + (2 * i + 1) * F::kBytes);
        dot[i] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), bytes, load512(q + 64 * i));
    }
    if constexpr (F::kWide) {
        return add_pairs(add_pairs(dot[0], dot[1]), add_pairs(dot[2], dot[3]));
    } else {
        return add_pairs_16(add_pairs_16(dot[0], dot[1]), add_pairs_16(dot[2], dot[3]));
    }
}

// sum over lanes of a_i * b_i, pairs of 32-bit lanes added up: eight int64.
inline __m512i dot_64(__m512i a, __m512i b) {
    return _mm512_add_epi64(_mm512_mul_epi32(a, b),
                            _mm512_mul_epi32(_mm512_srli_epi64(a, 32), _mm512_srli_epi64(b, 32)));
}

// A group of activations, prepared once for all rows. sums: of its blocks, in the order of
// eight_halves.
struct BlockActivation {
    const int8_t *q;
    __m256i sums;
};

inline void prepare_activation(const int8_t *q, const int32_t *block_sums, BlockActivation &out) {
    out.q = q;
    out.sums =
        _mm256_permutevar8x32_epi32(load256(block_sums), _mm256_set_epi32(7, 5, 3, 1, 6, 4, 2, 0));
}

inline __m512i fold_64(__m512i a, __m512i b) {
    return _mm512_add_epi64(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}

// float(T) of eight units, in order.
template <typename F, uint32_t kAhead = 0>
inline __m256 block_totals(const UnitPointers &w, const BlockActivation *const (&x)[kUnits]) {
    __m512i total[kUnits / 2];  // four int64 of one unit, four of the next
#pragma clang loop unroll(full)
    for (uint32_t p = 0; p < kUnits / 2; ++p) {
        const uint8_t *const w0 = w[2 * p];
        const uint8_t *const w1 = w[2 * p + 1];
        prefetch_unit<F, kAhead>(w0);
        prefetch_unit<F, kAhead>(w1);
        const __m512i s0 = block_sums_by_lane<F>(w0, x[2 * p]->q);
        const __m512i s1 = block_sums_by_lane<F>(w1, x[2 * p + 1]->q);
        __m512i sums = _mm512_add_epi32(_mm512_shuffle_i32x4(s0, s1, 0x88),
                                        _mm512_shuffle_i32x4(s0, s1, 0xdd));
        const __m512i q_sums = join(x[2 * p]->sums, x[2 * p + 1]->sums);
        if constexpr (F::kOffset != 0) {
            sums = _mm512_sub_epi32(sums, _mm512_slli_epi32(q_sums, __builtin_ctz(F::kOffset)));
        }
        total[p] = dot_64(sums, eight_mantissas<F::kBytes>(w0, w1));
        if constexpr (F::kMinimum) {
            total[p] = _mm512_add_epi64(
                total[p],
                dot_64(q_sums, eight_mantissas<F::kBytes>(w0 + F::kMinimumAt, w1 + F::kMinimumAt)));
        }
    }
    // Lanes of `low`: units (0, 2) (0, 2) (1, 3) (1, 3).
    const __m512i low = fold_64(total[0], total[1]);
    const __m512i high = fold_64(total[2], total[3]);
    const __m512i all = _mm512_add_epi64(_mm512_shuffle_i64x2(low, high, 0x88),
                                         _mm512_shuffle_i64x2(low, high, 0xdd));
    return _mm256_permutevar8x32_ps(_mm512_cvtepi64_ps(all),  // 0 2 1 3 4 6 5 7
                                    _mm256_set_epi32(7, 5, 6, 4, 3, 1, 2, 0));
}

// ------------------------------------------------------------------ super-blocks of 256

// A group of activations, prepared once for all rows.
struct SuperActivation {
    const int8_t *q;
    __m512i taken_off[2];  // kOffset times sums of four, packed like the dots
    __m256i part_sums;     // of sixteen parts, 16 bits each
};

template <typename F>
inline void prepare_activation(const int8_t *q, SuperActivation &out) {
    __m512i fours[4];
    for (uint32_t i = 0; i < 4; ++i) {
        fours[i] =
            _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), load512(q + 64 * i));
    }
    out.q = q;
    const __m512i offset = _mm512_set1_epi16(F::kOffset);
    out.taken_off[0] = _mm512_mullo_epi16(_mm512_packs_epi32(fours[0], fours[1]), offset);
    out.taken_off[1] = _mm512_mullo_epi16(_mm512_packs_epi32(fours[2], fours[3]), offset);
    const __m512i parts =
        add_pairs_16(add_pairs_16(fours[0], fours[1]), add_pairs_16(fours[2], fours[3]));
    const __m512i order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    out.part_sums = _mm512_cvtepi32_epi16(_mm512_permutexvar_epi32(order, parts));
}

// The dots of four columns, packed to 16 bits: 128-bit lane l holds four of part l and four of part
// 4 + l; the next vector those of parts 8 + l and 12 + l. Spreads the scales in the same order.
inline __m512i spread_scales(__m256i scales, short first) {
    const __m512i order = _mm512_add_epi16(
        _mm512_set1_epi16(first), _mm512_set_epi16(7, 7, 7, 7, 3, 3, 3, 3, 6, 6, 6, 6, 2, 2, 2, 2,
                                                   5, 5, 5, 5, 1, 1, 1, 1, 4, 4, 4, 4, 0, 0, 0, 0));
    return _mm512_permutexvar_epi16(order, _mm512_castsi256_si512(scales));
}

// sum of scale * dot over one super-block, in sixteen lanes.
template <typename F>
inline __m512i scaled_dots(const uint8_t *block, const SuperActivation &x) {
    const int8_t *const q = x.q;
    const __m512i zero = _mm512_setzero_si512();
    __m512i first = _mm512_packs_epi32(
        _mm512_dpbusd_epi32(zero, F::template columns<0>(block), load512(q)),
        _mm512_dpbusd_epi32(zero, F::template columns<1>(block), load512(q + 64)));
    __m512i second = _mm512_packs_epi32(
        _mm512_dpbusd_epi32(zero, F::template columns<2>(block), load512(q + 128)),
        _mm512_dpbusd_epi32(zero, F::template columns<3>(block), load512(q + 192)));
    if constexpr (F::kOffset != 0) {
        first = _mm512_sub_epi16(first, x.taken_off[0]);
        second = _mm512_sub_epi16(second, x.taken_off[1]);
    }
    const __m256i scales = F::scales(block);
    return _mm512_dpwssd_epi32(_mm512_madd_epi16(first, spread_scales(scales, 0)), second,
                               spread_scales(scales, 8));
}

// The sums of eight vectors, in order.
inline __m256i sum_each(const __m512i (&v)[kUnits]) {
    const __m512i low = add_pairs(add_pairs(v[0], v[1]), add_pairs(v[2], v[3]));
    const __m512i high = add_pairs(add_pairs(v[4], v[5]), add_pairs(v[6], v[7]));
    const __m512i half = _mm512_add_epi32(_mm512_shuffle_i32x4(low, high, 0x88),
                                          _mm512_shuffle_i32x4(low, high, 0xdd));
    const __m512i all = _mm512_add_epi32(_mm512_shuffle_i32x4(half, half, 0x88),
                                         _mm512_shuffle_i32x4(half, half, 0xdd));
    return _mm512_castsi512_si256(all);
}

inline __m512d factors_f64(const UnitPointers &w, uint32_t offset) {
    __m128i halves = _mm_cvtsi32_si128(half_at(w[0] + offset));
    halves = _mm_insert_epi16(halves, half_at(w[1] + offset), 1);
    halves = _mm_insert_epi16(halves, half_at(w[2] + offset), 2);
    halves = _mm_insert_epi16(halves, half_at(w[3] + offset), 3);
    halves = _mm_insert_epi16(halves, half_at(w[4] + offset), 4);
    halves = _mm_insert_epi16(halves, half_at(w[5] + offset), 5);
    halves = _mm_insert_epi16(halves, half_at(w[6] + offset), 6);
    return mantissas_f64(_mm_insert_epi16(halves, half_at(w[7] + offset), 7));
}

// float(T) of eight super-blocks. A double holds every term exactly.
template <typename F, uint32_t kAhead = 0>
inline __m256 super_totals(const UnitPointers &w, const SuperActivation *const (&x)[kUnits]) {
    __m512i scaled[kUnits];
#pragma clang loop unroll(full)
    for (uint32_t i = 0; i < kUnits; ++i) {
        prefetch_unit<F, kAhead>(w[i]);
        scaled[i] = scaled_dots<F>(w[i], *x[i]);
    }
    __m512d total =
        _mm512_mul_pd(_mm512_cvtepi32_pd(sum_each(scaled)), factors_f64(w, F::kScaleAt));
    if constexpr (F::kMinimum) {
        __m512i minimums[kUnits];
#pragma clang loop unroll(full)
        for (uint32_t i = 0; i < kUnits; ++i) {
            minimums[i] =
                _mm512_zextsi256_si512(_mm256_madd_epi16(F::minimums(w[i]), x[i]->part_sums));
        }
        total = _mm512_sub_pd(total, _mm512_mul_pd(_mm512_cvtepi32_pd(sum_each(minimums)),
                                                   factors_f64(w, F::kMinimumAt)));
    }
    return _mm512_cvtpd_ps(total);
}
