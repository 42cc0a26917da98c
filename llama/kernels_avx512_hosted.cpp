// AVX-512 with VNNI: 64 weights as unsigned bytes beside 64 activations.
//
// The target is set for the functions of this file, not for the file: an inline function of a
// header that is compiled here must not be the copy that other files are linked with.
#include <immintrin.h>

#include <type_traits>

#include "llama/kernels_simd.h"
#include "llama/weight_blocks.h"

#pragma clang attribute push(                                                      \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,f16c"))), \
    apply_to = function)

namespace bareflow::llama {
namespace {

#include "llama/kernels_matrix_pack.h"

constexpr uint32_t kGroupBlocks = kGroupElements / kBlockElements;
// What is multiplied at once: 256 columns of a row each, in the order in which they lie in memory,
// first along a row, then on to the next. Measured: this streams weights a fifth faster than eight
// rows side by side.
constexpr uint32_t kUnits = 8;
using UnitPointers = const uint8_t *[kUnits];

// ------------------------------------------------------------------ small parts

inline __m128i load128(const void *from) {
    return _mm_loadu_si128(static_cast<const __m128i *>(from));
}
inline __m256i load256(const void *from) {
    return _mm256_loadu_si256(static_cast<const __m256i *>(from));
}
inline __m512i load512(const void *from) {
    return _mm512_loadu_si512(from);
}
inline uint16_t half_at(const uint8_t *from) {
    uint16_t half;
    __builtin_memcpy(&half, from, sizeof(half));
    return half;
}
inline uint32_t word_at(const uint8_t *from) {
    uint32_t word;
    __builtin_memcpy(&word, from, sizeof(word));
    return word;
}

// `low` in 128-bit lanes 0 and 1, `high` in 2 and 3.
inline __m512i broadcast_pair(const uint8_t *low, const uint8_t *high) {
    return _mm512_mask_broadcast_i32x4(_mm512_broadcast_i32x4(load128(low)), 0xff00, load128(high));
}
inline __m512i join(__m256i low, __m256i high) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}
// 16-bit shift counts, by 128-bit lanes.
inline __m512i lane_counts(short a, short b, short c, short d) {
    const __m256i low = _mm256_set_m128i(_mm_set1_epi16(b), _mm_set1_epi16(a));
    const __m256i high = _mm256_set_m128i(_mm_set1_epi16(d), _mm_set1_epi16(c));
    return join(low, high);
}
// Bytes by 256-bit halves.
inline __m512i half_bytes(uint8_t low, uint8_t high) {
    return join(_mm256_set1_epi8(static_cast<char>(low)),
                _mm256_set1_epi8(static_cast<char>(high)));
}

// f16 as integers once multiplied by 2^24: exact, as their magnitudes are below 128.
inline __m512i mantissas(__m256i halves) {
    return _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtph_ps(halves), _mm512_set1_ps(16777216.0f)));
}
inline __m512d mantissas_f64(__m128i halves) {
    return _mm512_cvtps_pd(_mm256_mul_ps(_mm256_cvtph_ps(halves), _mm256_set1_ps(16777216.0f)));
}

// Sums of neighbours; in each 128-bit lane two of a, then two of b.
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
// pair(): two blocks as 64 unsigned bytes, weight + kOffset each, in the order of the columns.
// kWide: four of them times activations don't fit 16 bits.

struct Q8_0 {
    static constexpr bool kSuper = false;
    static constexpr uint32_t kBytes = kQ8_0BlockBytes;
    static constexpr int kOffset = 128;
    static constexpr bool kMinimum = false;
    static constexpr bool kWide = true;
    static __m512i pair(const uint8_t *a, const uint8_t *b) {
        return _mm512_xor_si512(join(load256(a + 2), load256(b + 2)), _mm512_set1_epi8(-128));
    }
};

inline __m512i nibble_pair(const uint8_t *a, const uint8_t *b) {
    return _mm512_and_si512(_mm512_srlv_epi16(broadcast_pair(a, b), lane_counts(0, 4, 0, 4)),
                            _mm512_set1_epi8(15));
}

struct Q4_0 {
    static constexpr bool kSuper = false;
    static constexpr uint32_t kBytes = kQ4_0BlockBytes;
    static constexpr int kOffset = 8;
    static constexpr bool kMinimum = false;
    static constexpr bool kWide = false;
    static __m512i pair(const uint8_t *a, const uint8_t *b) { return nibble_pair(a + 2, b + 2); }
};

struct Q4_1 {
    static constexpr bool kSuper = false;
    static constexpr uint32_t kBytes = kQ4_1BlockBytes;
    static constexpr int kOffset = 0;
    static constexpr bool kMinimum = true;
    static constexpr bool kWide = false;
    static __m512i pair(const uint8_t *a, const uint8_t *b) { return nibble_pair(a + 4, b + 4); }
};

// Fields: 32 fifth bits, then nibbles.
inline __m512i five_bit_pair(const uint8_t *a, const uint8_t *b) {
    const __mmask64 fifth = word_at(a) | static_cast<uint64_t>(word_at(b)) << 32;
    const __m512i low = nibble_pair(a + 4, b + 4);
    return _mm512_mask_add_epi8(low, fifth, low, _mm512_set1_epi8(16));
}

struct Q5_0 {
    static constexpr bool kSuper = false;
    static constexpr uint32_t kBytes = 22;
    static constexpr int kOffset = 16;
    static constexpr bool kMinimum = false;
    static constexpr bool kWide = false;
    static __m512i pair(const uint8_t *a, const uint8_t *b) { return five_bit_pair(a + 2, b + 2); }
};

struct Q5_1 {
    static constexpr bool kSuper = false;
    static constexpr uint32_t kBytes = 24;
    static constexpr int kOffset = 0;
    static constexpr bool kMinimum = true;
    static constexpr bool kWide = false;
    static __m512i pair(const uint8_t *a, const uint8_t *b) { return five_bit_pair(a + 4, b + 4); }
};

struct IQ4_NL {
    static constexpr bool kSuper = false;
    static constexpr uint32_t kBytes = 18;
    static constexpr int kOffset = 128;
    static constexpr bool kMinimum = false;
    static constexpr bool kWide = true;
    static __m512i pair(const uint8_t *a, const uint8_t *b) {
        const __m128i values = _mm_xor_si128(load128(kNonLinear), _mm_set1_epi8(-128));
        return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(values), nibble_pair(a + 2, b + 2));
    }
};

// Eight blocks of one row: in each 128-bit lane a partial sum of blocks 0, 2, 4, 6 (lanes 0 and 1)
// or 1, 3, 5, 7 (lanes 2 and 3).
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

// The f16 at `w` of eight blocks, in the order 0 2 4 6 1 3 5 7.
template <uint32_t kBytes>
inline __m128i eight_halves(const uint8_t *w) {
    __m128i out = _mm_cvtsi32_si128(half_at(w));
    out = _mm_insert_epi16(out, half_at(w + 2 * kBytes), 1);
    out = _mm_insert_epi16(out, half_at(w + 4 * kBytes), 2);
    out = _mm_insert_epi16(out, half_at(w + 6 * kBytes), 3);
    out = _mm_insert_epi16(out, half_at(w + 1 * kBytes), 4);
    out = _mm_insert_epi16(out, half_at(w + 3 * kBytes), 5);
    out = _mm_insert_epi16(out, half_at(w + 5 * kBytes), 6);
    return _mm_insert_epi16(out, half_at(w + 7 * kBytes), 7);
}
template <uint32_t kBytes>
inline __m512i eight_mantissas(const uint8_t *w0, const uint8_t *w1) {
    return mantissas(_mm256_set_m128i(eight_halves<kBytes>(w1), eight_halves<kBytes>(w0)));
}

// sum over lanes of a_i * b_i, pairs of 32-bit lanes added up: eight int64.
inline __m512i dot_64(__m512i a, __m512i b) {
    return _mm512_add_epi64(_mm512_mul_epi32(a, b),
                            _mm512_mul_epi32(_mm512_srli_epi64(a, 32), _mm512_srli_epi64(b, 32)));
}

// What a group of activations is to all rows: the sums of its blocks, in the order of eight_halves.
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
template <typename F>
inline __m256 block_totals(const UnitPointers &w, const BlockActivation *const (&x)[kUnits]) {
    __m512i total[kUnits / 2];  // four int64 of one unit, four of the next
#pragma clang loop unroll(full)
    for (uint32_t p = 0; p < kUnits / 2; ++p) {
        const uint8_t *const w0 = w[2 * p];
        const uint8_t *const w1 = w[2 * p + 1];
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
            total[p] = _mm512_add_epi64(total[p],
                                        dot_64(q_sums, eight_mantissas<F::kBytes>(w0 + 2, w1 + 2)));
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
// columns<i>(): the 64 weights from 64 i on, as unsigned bytes, weight + kOffset each.
// scales(): those of sixteen parts, and minimums() where there are any.

// The same 32 bytes twice.
inline __m512i twice(const uint8_t *bytes) {
    return _mm512_broadcast_i64x4(load256(bytes));
}
inline uint64_t long_at(const uint8_t *from) {
    uint64_t value;
    __builtin_memcpy(&value, from, sizeof(value));
    return value;
}
// Eight bytes, each twice.
inline __m256i doubled(uint64_t bytes) {
    const __m128i once = _mm_cvtsi64_si128(static_cast<int64_t>(bytes));
    return _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(once, once));
}

// Six bits each (see weight_blocks.cpp).
constexpr uint64_t kLowNibbles = 0x0f0f0f0f;
constexpr uint64_t kSixBits = 0x3f3f3f3f;
constexpr uint64_t kTwoBits = 0x03030303;
inline __m256i six_bit_scales(const uint8_t *s) {
    const uint64_t a = word_at(s);
    const uint64_t c = word_at(s + 8);
    return doubled((a & kSixBits) | ((c & kLowNibbles) | (a >> 6 & kTwoBits) << 4) << 32);
}
inline __m256i six_bit_minimums(const uint8_t *s) {
    const uint64_t b = word_at(s + 4);
    const uint64_t c = word_at(s + 8);
    return doubled((b & kSixBits) | ((c >> 4 & kLowNibbles) | (b >> 6 & kTwoBits) << 4) << 32);
}

struct Q2_K {
    static constexpr bool kSuper = true;
    static constexpr uint32_t kPartColumns = 16;
    static constexpr uint32_t kBytes = 84;
    static constexpr uint32_t kFactors = 80;
    static constexpr int kOffset = 0;
    static constexpr bool kMinimum = true;
    template <uint32_t kI>
    static __m512i columns(const uint8_t *block) {
        constexpr short kShift = kI % 2 * 4;
        return _mm512_and_si512(
            _mm512_srlv_epi16(twice(block + 16 + kI / 2 * 32),
                              lane_counts(kShift, kShift, kShift + 2, kShift + 2)),
            _mm512_set1_epi8(3));
    }
    static __m256i scales(const uint8_t *block) {
        return _mm256_cvtepu8_epi16(_mm_and_si128(load128(block), _mm_set1_epi8(15)));
    }
    static __m256i minimums(const uint8_t *block) {
        return _mm256_cvtepu8_epi16(
            _mm_and_si128(_mm_srli_epi16(load128(block), 4), _mm_set1_epi8(15)));
    }
};

struct Q3_K {
    static constexpr bool kSuper = true;
    static constexpr uint32_t kPartColumns = 16;
    static constexpr uint32_t kBytes = 110;
    static constexpr uint32_t kFactors = 108;
    static constexpr int kOffset = 4;
    static constexpr bool kMinimum = false;
    template <uint32_t kI>
    static __m512i columns(const uint8_t *block) {
        constexpr short kShift = kI % 2 * 4;
        const __m512i low =
            _mm512_and_si512(_mm512_srlv_epi16(twice(block + 32 + kI / 2 * 32),
                                               lane_counts(kShift, kShift, kShift + 2, kShift + 2)),
                             _mm512_set1_epi8(3));
        const __mmask64 third =
            _mm512_test_epi8_mask(twice(block), half_bytes(1 << (2 * kI), 2 << (2 * kI)));
        return _mm512_mask_add_epi8(low, third, low, _mm512_set1_epi8(4));
    }
    static __m256i scales(const uint8_t *block) {
        const uint64_t low = long_at(block + 96);
        const uint64_t above = word_at(block + 104);
        const uint64_t first = (above & kTwoBits) | (above >> 2 & kTwoBits) << 32;
        const uint64_t second = (above >> 4 & kTwoBits) | (above >> 6 & kTwoBits) << 32;
        constexpr uint64_t kNibbles = kLowNibbles << 32 | kLowNibbles;
        const __m128i bytes =
            _mm_set_epi64x(static_cast<int64_t>((low >> 4 & kNibbles) | second << 4),
                           static_cast<int64_t>((low & kNibbles) | first << 4));
        return _mm256_cvtepi8_epi16(_mm_sub_epi8(bytes, _mm_set1_epi8(32)));
    }
};

struct Q4_K {
    static constexpr bool kSuper = true;
    static constexpr uint32_t kPartColumns = 32;
    static constexpr uint32_t kBytes = 144;
    static constexpr uint32_t kFactors = 0;
    static constexpr int kOffset = 0;
    static constexpr bool kMinimum = true;
    template <uint32_t kI>
    static __m512i columns(const uint8_t *block) {
        return _mm512_and_si512(
            _mm512_srlv_epi16(twice(block + 16 + 32 * kI), lane_counts(0, 0, 4, 4)),
            _mm512_set1_epi8(15));
    }
    static __m256i scales(const uint8_t *block) { return six_bit_scales(block + 4); }
    static __m256i minimums(const uint8_t *block) { return six_bit_minimums(block + 4); }
};

struct Q5_K {
    static constexpr bool kSuper = true;
    static constexpr uint32_t kPartColumns = 32;
    static constexpr uint32_t kBytes = 176;
    static constexpr uint32_t kFactors = 0;
    static constexpr int kOffset = 0;
    static constexpr bool kMinimum = true;
    template <uint32_t kI>
    static __m512i columns(const uint8_t *block) {
        const __m512i low = _mm512_and_si512(
            _mm512_srlv_epi16(twice(block + 48 + 32 * kI), lane_counts(0, 0, 4, 4)),
            _mm512_set1_epi8(15));
        const __mmask64 fifth =
            _mm512_test_epi8_mask(twice(block + 16), half_bytes(1 << (2 * kI), 2 << (2 * kI)));
        return _mm512_mask_add_epi8(low, fifth, low, _mm512_set1_epi8(16));
    }
    static __m256i scales(const uint8_t *block) { return six_bit_scales(block + 4); }
    static __m256i minimums(const uint8_t *block) { return six_bit_minimums(block + 4); }
};

struct Q6_K {
    static constexpr bool kSuper = true;
    static constexpr uint32_t kPartColumns = 16;
    static constexpr uint32_t kBytes = 210;
    static constexpr uint32_t kFactors = 208;
    static constexpr int kOffset = 32;
    static constexpr bool kMinimum = false;
    template <uint32_t kI>
    static __m512i columns(const uint8_t *block) {
        const __m512i nibbles = load512(block + kI / 2 * 64);
        const __m512i pairs = twice(block + 128 + kI / 2 * 32);  // of bits
        const __m512i low = _mm512_and_si512(kI % 2 == 0 ? nibbles : _mm512_srli_epi16(nibbles, 4),
                                             _mm512_set1_epi8(15));
        const __m512i high = kI % 2 == 0 ? _mm512_sllv_epi16(pairs, lane_counts(4, 4, 2, 2))
                                         : _mm512_srlv_epi16(pairs, lane_counts(0, 0, 2, 2));
        return _mm512_ternarylogic_epi32(low, high, _mm512_set1_epi8(0x30), 0xf8);  // a | b & c
    }
    static __m256i scales(const uint8_t *block) {
        return _mm256_cvtepi8_epi16(load128(block + 192));
    }
};

// What a group of activations is to all rows.
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

// Dots of four packed to 16 bits: lane l holds four of part l and four of part 4 + l, the next
// vector those of parts 8 + l and 12 + l. This spreads the scales alike.
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
template <typename F>
inline __m256 super_totals(const UnitPointers &w, const SuperActivation *const (&x)[kUnits]) {
    __m512i scaled[kUnits];
#pragma clang loop unroll(full)
    for (uint32_t i = 0; i < kUnits; ++i) {
        scaled[i] = scaled_dots<F>(w[i], *x[i]);
    }
    __m512d total =
        _mm512_mul_pd(_mm512_cvtepi32_pd(sum_each(scaled)), factors_f64(w, F::kFactors));
    if constexpr (F::kMinimum) {
        __m512i minimums[kUnits];
#pragma clang loop unroll(full)
        for (uint32_t i = 0; i < kUnits; ++i) {
            minimums[i] =
                _mm512_zextsi256_si512(_mm256_madd_epi16(F::minimums(w[i]), x[i]->part_sums));
        }
        total = _mm512_sub_pd(total, _mm512_mul_pd(_mm512_cvtepi32_pd(sum_each(minimums)),
                                                   factors_f64(w, F::kFactors + 2)));
    }
    return _mm512_cvtpd_ps(total);
}

// ------------------------------------------------------------------ one vector

constexpr uint32_t kChunkGroups = 32;  // whose activations are prepared at a time
constexpr uint32_t kRows = 8;          // whose totals are collected before they are added up
constexpr uint32_t kAhead = 1024;      // bytes that are prefetched: the best of 384 to 16384

template <typename F>
void gemv(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    constexpr uint32_t kBytes = F::kSuper ? F::kBytes : kGroupBlocks * F::kBytes;  // of a unit
    using Activation = std::conditional_t<F::kSuper, SuperActivation, BlockActivation>;
    Activation prepared[kChunkGroups];
    alignas(32) float totals[kRows * kChunkGroups] = {};
    const uint32_t all = group_count(args.cols);
    // An incomplete last group is copied to where zeros follow it.
    const uint32_t tail_blocks = args.cols % kGroupElements / kBlockElements;
    alignas(64) uint8_t tail[kUnits][kBytes];
    alignas(64) int8_t tail_q[kGroupElements];
    alignas(32) int32_t tail_sums[kGroupBlocks];
    if (tail_blocks != 0) {
        __builtin_memset(tail, 0, sizeof(tail));
        __builtin_memset(tail_q, 0, sizeof(tail_q));
        __builtin_memset(tail_sums, 0, sizeof(tail_sums));
        __builtin_memcpy(tail_q, args.xq.q + (all - 1) * uint64_t{kGroupElements},
                         tail_blocks * kBlockElements);
        __builtin_memcpy(tail_sums, args.xq.block_sums + (all - 1) * uint64_t{kGroupBlocks},
                         tail_blocks * sizeof(int32_t));
    }
    for (uint32_t first = 0; first < all; first += kChunkGroups) {
        const uint32_t groups = all - first < kChunkGroups ? all - first : kChunkGroups;
        const uint32_t whole = groups - (tail_blocks != 0 && first + groups == all);
        for (uint32_t g = 0; g < groups; ++g) {
            const int8_t *const q =
                g < whole ? args.xq.q + uint64_t{first + g} * kGroupElements : tail_q;
            if constexpr (F::kSuper) {
                prepare_activation<F>(q, prepared[g]);
            } else {
                prepare_activation(
                    q,
                    g < whole ? args.xq.block_sums + uint64_t{first + g} * kGroupBlocks : tail_sums,
                    prepared[g]);
            }
        }
        for (uint32_t row = row_begin; row < row_end; row += kRows) {
            const uint32_t rows = row_end - row < kRows ? row_end - row : kRows;
            const uint32_t units = rows * groups;
            const uint8_t *row_at = args.weights + row * args.row_bytes + uint64_t{first} * kBytes;
            const uint8_t *at = row_at;
            uint32_t g = 0;
            UnitPointers w;
            const Activation *x[kUnits];
            for (uint32_t unit = 0; unit < units; unit += kUnits) {
                for (uint32_t i = 0; i < kUnits; ++i) {
                    if (unit + i >= units) {  // any, not used
                        w[i] = w[0];
                        x[i] = x[0];
                        continue;
                    }
                    w[i] = at;
                    x[i] = &prepared[g];
                    for (uint32_t line = 0; line < kBytes; line += 64) {
                        _mm_prefetch(reinterpret_cast<const char *>(at + kAhead + line),
                                     _MM_HINT_T0);
                    }
                    if (g == whole) {
                        __builtin_memcpy(tail[i], at, tail_blocks * F::kBytes);
                        w[i] = tail[i];
                    }
                    at += kBytes;
                    if (++g == groups) {
                        g = 0;
                        row_at += args.row_bytes;
                        at = row_at;
                    }
                }
                if constexpr (F::kSuper) {
                    _mm256_store_ps(totals + unit, super_totals<F>(w, x));
                } else {
                    _mm256_store_ps(totals + unit, block_totals<F>(w, x));
                }
            }
            float y[kRows];
            for (uint32_t r = 0; r < kRows; ++r) {
                y[r] = first == 0 || r >= rows ? 0.0f : args.y[row + r];
            }
            for (uint32_t i = 0; i < groups; ++i) {
                const float scale = args.xq.group_scales[first + i];
#pragma clang loop unroll(full)
                for (uint32_t r = 0; r < kRows; ++r) {
                    y[r] = y[r] + totals[r * groups + i] * scale;
                }
            }
            for (uint32_t r = 0; r < rows; ++r) {
                args.y[row + r] = y[r];
            }
        }
    }
}

// ------------------------------------------------------------------ several vectors at once
// Sixteen rows by 256 columns are unpacked once, so that each lane is a row: word k of every row
// (four columns) in one vector. Then every vector of activations meets them: four of its bytes at a
// time, broadcast, with as many sums side by side as there are registers.

constexpr uint32_t kTileRows = 16;
constexpr uint32_t kStripTiles = 4;  // tiles that share a packed group of activations

struct alignas(64) Tile {
    __m512i words[kGroupElements / 4];
    __m512i factors[16];   // blocks: eight mantissas, eight of minimums; else scales of parts
    __m512i minimums[16];  // super-blocks: of two parts, 16 bits each
    __m512d d[2];          // super-blocks: the mantissas of rows 0-7, 8-15
    __m512d dmin[2];
};

// out[i] lane j = in[j] lane i.
inline void transpose(const __m512i (&in)[16], __m512i *out) {
    __m512i a[16];
    __m512i b[16];
#pragma clang loop unroll(full)
    for (uint32_t i = 0; i < 16; i += 2) {
        a[i] = _mm512_unpacklo_epi32(in[i], in[i + 1]);
        a[i + 1] = _mm512_unpackhi_epi32(in[i], in[i + 1]);
    }
#pragma clang loop unroll(full)
    for (uint32_t i = 0; i < 16; i += 4) {  // b[i + c]: rows i..i+3 of columns c, 4 + c, ...
        b[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
        b[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
        b[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
        b[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
#pragma clang loop unroll(full)
    for (uint32_t c = 0; c < 4; ++c) {
        const __m512i low = _mm512_shuffle_i32x4(b[c], b[4 + c], 0x88);      // columns c, 8 + c
        const __m512i low_odd = _mm512_shuffle_i32x4(b[c], b[4 + c], 0xdd);  // 4 + c, 12 + c
        const __m512i high = _mm512_shuffle_i32x4(b[8 + c], b[12 + c], 0x88);
        const __m512i high_odd = _mm512_shuffle_i32x4(b[8 + c], b[12 + c], 0xdd);
        out[c] = _mm512_shuffle_i32x4(low, high, 0x88);
        out[8 + c] = _mm512_shuffle_i32x4(low, high, 0xdd);
        out[4 + c] = _mm512_shuffle_i32x4(low_odd, high_odd, 0x88);
        out[12 + c] = _mm512_shuffle_i32x4(low_odd, high_odd, 0xdd);
    }
}

using TilePointers = const uint8_t *[kTileRows];

// Where eight_halves has block b.
constexpr uint32_t factor_slot(uint32_t b) {
    return b % 2 * 4 + b / 2;
}

// `blocks` of each row, at w + offset.
template <typename F, bool kSigned>
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
            if constexpr (kSigned && F::kOffset != 0) {
                rows[p][r] =
                    _mm512_sub_epi8(rows[p][r], _mm512_set1_epi8(static_cast<char>(F::kOffset)));
            }
        }
        if (blocks == kGroupBlocks) {
            factors[r] = mantissas(_mm256_set_m128i(
                F::kMinimum ? eight_halves<F::kBytes>(from + 2) : _mm_setzero_si128(),
                eight_halves<F::kBytes>(from)));
            continue;
        }
        alignas(32) uint16_t halves[16] = {};
        for (uint32_t b = 0; b < blocks; ++b) {
            halves[factor_slot(b)] = half_at(from + b * F::kBytes);
            if constexpr (F::kMinimum) {
                halves[8 + factor_slot(b)] = half_at(from + b * F::kBytes + 2);
            }
        }
        factors[r] = mantissas(load256(halves));
    }
    for (uint32_t p = 0; p < pairs; ++p) {
        transpose(rows[p], tile.words + 16 * p);
    }
    transpose(factors, tile.factors);
}

template <typename F, bool kSigned>
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
        if constexpr (kSigned && F::kOffset != 0) {
            for (uint32_t i = 0; i < 4; ++i) {
                rows[i][r] = _mm512_sub_epi8(rows[i][r], _mm512_set1_epi8(F::kOffset));
            }
        }
        scales[r] = _mm512_cvtepi16_epi32(F::scales(block));
        d[r] = half_at(block + F::kFactors);
        if constexpr (F::kMinimum) {
            minimums[r] = _mm512_zextsi256_si512(F::minimums(block));
            dmin[r] = half_at(block + F::kFactors + 2);
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

inline __m512 join_ps(__m256 low, __m256 high) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
}

// Adds the sums of block b times their scales to those of rows 0 2 4 .. and of 1 3 5 ..
template <typename F, uint32_t kVectors>
[[gnu::always_inline]] inline void add_block(const Tile &tile, const PackedGroup &x, uint32_t v,
                                             uint32_t b, const __m512i (&sum)[kVectors],
                                             __m512i (&even)[kVectors], __m512i (&odd)[kVectors]) {
    const __m512i factor = tile.factors[factor_slot(b)];
    const __m512i factor_odd = _mm512_srli_epi64(factor, 32);
#pragma clang loop unroll(full)
    for (uint32_t i = 0; i < kVectors; ++i) {
        even[i] = _mm512_add_epi64(even[i], _mm512_mul_epi32(sum[i], factor));
        odd[i] =
            _mm512_add_epi64(odd[i], _mm512_mul_epi32(_mm512_srli_epi64(sum[i], 32), factor_odd));
    }
    if constexpr (F::kMinimum) {
        const __m512i minimum = tile.factors[8 + factor_slot(b)];
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

// ------------------------------------------------------------------ the same with AMX
// A tile instruction multiplies sixteen vectors by sixteen rows at once, over the columns of one
// scale; all that is left to vector instructions is scaling. Weights are signed for it.

constexpr uint32_t kTileVectors = 16;

struct alignas(64) TileSums {
    __m512i of[kParts][kTileVectors];  // [block or part][vector], lane: row
};

// Intel SDM vol. 1, 18.3.2: palette 1 has eight registers of sixteen rows of 64 bytes.
struct alignas(64) TileShapes {
    uint8_t palette = 1;
    uint8_t start_row = 0;
    uint8_t reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
};
static_assert(sizeof(TileShapes) == 64);

// Registers 0 and 3: sums; 1 and 4: activations; 2 and 5: weights, four columns in a row of it.
template <uint32_t kColumns>
constexpr TileShapes tile_shapes() {
    TileShapes shapes;
    for (uint32_t first = 0; first < 6; first += 3) {
        shapes.row_bytes[first] = 64;
        shapes.rows[first] = kTileVectors;
        shapes.row_bytes[first + 1] = kColumns;
        shapes.rows[first + 1] = kTileVectors;
        shapes.row_bytes[first + 2] = 64;
        shapes.rows[first + 2] = kColumns / 4;
    }
    return shapes;
}

template <uint32_t kColumns>
__attribute__((target("amx-tile,amx-int8"))) void sum_by_tiles(const Tile &tile,
                                                               const PackedGroup &x, uint32_t v,
                                                               uint32_t count, TileSums &out) {
    for (uint32_t i = 0; i < count; i += 2) {
        _tile_loadd(2, &tile.words[i * kColumns / 4], 64);
        _tile_loadd(1, &x.q[v][i * kColumns], kGroupElements);
        _tile_zero(0);
        _tile_dpbssd(0, 1, 2);
        if (i + 1 < count) {
            _tile_loadd(5, &tile.words[(i + 1) * kColumns / 4], 64);
            _tile_loadd(4, &x.q[v][(i + 1) * kColumns], kGroupElements);
            _tile_zero(3);
            _tile_dpbssd(3, 4, 5);
            _tile_stored(3, out.of[i + 1], 64);
        }
        _tile_stored(0, out.of[i], 64);
    }
}

// Columns that share an integer scale, or M.
template <typename F>
constexpr uint32_t scale_columns() {
    if constexpr (F::kSuper) {
        return F::kPartColumns;
    } else {
        return kBlockElements;
    }
}

// Vectors v .. v + padded (at most sixteen, a multiple of four).
template <typename F>
void multiply_by_tiles(const Tile &tile, const PackedGroup &x, uint32_t v, uint32_t padded,
                       uint32_t blocks, TileSums &sums, __m512 *y) {
    constexpr uint32_t kVectors = 4;
    constexpr uint32_t kScales = kGroupElements / scale_columns<F>();
    sum_by_tiles<scale_columns<F>()>(tile, x, v, F::kSuper ? kScales : blocks, sums);
    for (uint32_t i = 0; i < padded; i += kVectors) {
        __m512i sum[kVectors];
        if constexpr (F::kSuper) {
            constexpr uint32_t kStep = F::kPartColumns / kPartElements;
            __m512i scaled[kVectors];
            clear(scaled);
#pragma clang loop unroll(full)
            for (uint32_t part = 0; part < kParts; part += kStep) {
                for (uint32_t j = 0; j < kVectors; ++j) {
                    sum[j] = sums.of[part / kStep][i + j];
                }
                add_part(tile.factors[part], sum, scaled);
            }
            finish_super<F, kVectors>(tile, x, v + i, scaled, y);
        } else {
            __m512i even[kVectors];
            __m512i odd[kVectors];
            clear(even);
            clear(odd);
            for (uint32_t b = 0; b < blocks; ++b) {
                for (uint32_t j = 0; j < kVectors; ++j) {
                    sum[j] = sums.of[b][i + j];
                }
                add_block<F, kVectors>(tile, x, v + i, b, sum, even, odd);
            }
            finish_blocks<kVectors>(x, v + i, even, odd, y);
        }
    }
}

// ------------------------------------------------------------------ strips of rows

template <typename F, bool kAmx>
void gemm_strip(const GemmArgs &args, uint32_t first, uint32_t count, uint32_t row, uint32_t end) {
    constexpr uint32_t kUnitBytes = F::kSuper ? F::kBytes : kGroupBlocks * F::kBytes;
    PackedGroup packed;
    Tile tile;
    TileSums sums;
    __m512 y[kStripTiles][kMaxVectors];
    const uint32_t padded = (count + 3) / 4 * 4;
    const uint32_t tiles = (end - row + kTileRows - 1) / kTileRows;
    for (uint32_t t = 0; t < tiles; ++t) {
        for (uint32_t i = 0; i < padded; ++i) {
            y[t][i] = _mm512_setzero_ps();
        }
    }
    for (uint32_t g = 0; g < group_count(args.cols); ++g) {
        if constexpr (F::kSuper) {
            pack_group<F::kPartColumns, F::kOffset>(args, first, count, g, packed);
        } else {
            pack_group<0, F::kOffset>(args, first, count, g, packed);
        }
        const uint32_t left = args.cols / kBlockElements - g * kGroupBlocks;
        const uint32_t blocks = left < kGroupBlocks ? left : kGroupBlocks;
        for (uint32_t t = 0; t < tiles; ++t) {
            TilePointers w;
            for (uint32_t r = 0; r < kTileRows; ++r) {
                const uint32_t at = row + t * kTileRows + r;
                w[r] = args.weights + (at < end ? at : end - 1) * args.row_bytes;
            }
            if constexpr (F::kSuper) {
                unpack_super<F, kAmx>(w, g * uint64_t{F::kBytes}, tile);
            } else {
                unpack_blocks<F, kAmx>(w, g * uint64_t{kGroupBlocks * F::kBytes}, blocks, tile);
            }
            // What this tile meets next: its next group, or the first one of the next strip.
            const bool last = (g + 1) * uint64_t{kGroupElements} >= args.cols;
            for (uint32_t r = 0; r < kTileRows; ++r) {
                const uint8_t *const next = last ? w[r] + kStripTiles * kTileRows * args.row_bytes
                                                 : w[r] + (g + 1) * uint64_t{kUnitBytes};
                for (uint32_t line = 0; line < kUnitBytes; line += 64) {
                    _mm_prefetch(reinterpret_cast<const char *>(next + line), _MM_HINT_T1);
                }
            }
            uint32_t v = 0;
            if constexpr (kAmx) {
                for (; v < padded; v += kTileVectors) {
                    const uint32_t some = padded - v < kTileVectors ? padded - v : kTileVectors;
                    multiply_by_tiles<F>(tile, packed, v, some, blocks, sums, y[t]);
                }
            } else if constexpr (F::kSuper) {
                for (; padded - v >= 8; v += 8) {
                    multiply_super<F, 8>(tile, packed, v, y[t]);
                }
                if (v < padded) {
                    multiply_super<F, 4>(tile, packed, v, y[t]);
                }
            } else {
                for (; padded - v >= 8; v += 8) {
                    multiply_blocks<F, 8>(tile, packed, v, blocks, y[t]);
                }
                if (v < padded) {
                    multiply_blocks<F, 4>(tile, packed, v, blocks, y[t]);
                }
            }
        }
    }
    const __m512i interleave =
        _mm512_set_epi32(15, 7, 14, 6, 13, 5, 12, 4, 11, 3, 10, 2, 9, 1, 8, 0);
    for (uint32_t t = 0; t < tiles; ++t) {
        const uint32_t at = row + t * kTileRows;
        const uint32_t rows = end - at < kTileRows ? end - at : kTileRows;
        const auto mask = static_cast<__mmask16>((1u << rows) - 1);
        for (uint32_t i = 0; i < count; ++i) {
            const __m512 value = F::kSuper ? y[t][i] : _mm512_permutexvar_ps(interleave, y[t][i]);
            _mm512_mask_storeu_ps(args.y + (first + i) * args.y_stride + at, mask, value);
        }
    }
}

template <typename F, bool kAmx>
void gemm_rows(const GemmArgs &args, uint32_t row_begin, uint32_t row_end) {
    constexpr uint32_t kStripRows = kStripTiles * kTileRows;
    for (uint32_t row = row_begin; row < row_end; row += kStripRows) {
        const uint32_t end = row_end - row < kStripRows ? row_end : row + kStripRows;
        for (uint32_t first = 0; first < args.batch; first += kMaxVectors) {
            const uint32_t left = args.batch - first;
            gemm_strip<F, kAmx>(args, first, left < kMaxVectors ? left : kMaxVectors, row, end);
        }
    }
}

template <typename F>
void gemm(const GemmArgs &args, uint32_t row_begin, uint32_t row_end) {
    gemm_rows<F, false>(args, row_begin, row_end);
}

template <typename F>
__attribute__((target("amx-tile,amx-int8"))) void gemm_amx(const GemmArgs &args, uint32_t row_begin,
                                                           uint32_t row_end) {
    static constexpr TileShapes kShapes = tile_shapes<scale_columns<F>()>();
    _tile_loadconfig(&kShapes);
    gemm_rows<F, true>(args, row_begin, row_end);
    _tile_release();
}

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

GemvVariant avx512_variant(TensorType type) {
    constexpr std::string_view kName = "avx512";
    const GemvKernel one = avx2_variant(type).kernel;  // floats, one vector: memory is the limit
    switch (type) {
        case TensorType::kF32:
            return {kName, one, 0, gemm_floats<F32>, InstructionSet::kAvx512};
        case TensorType::kF16:
            return {kName, one, 0, gemm_floats<F16>, InstructionSet::kAvx512};
        case TensorType::kBF16:
            return {kName, one, 0, gemm_floats<BF16>, InstructionSet::kAvx512};
        case TensorType::kQ8_0:
            return {kName, gemv<Q8_0>, 0, gemm<Q8_0>, InstructionSet::kAvx512};
        case TensorType::kQ4_0:
            return {kName, gemv<Q4_0>, 0, gemm<Q4_0>, InstructionSet::kAvx512};
        case TensorType::kQ4_1:
            return {kName, gemv<Q4_1>, 0, gemm<Q4_1>, InstructionSet::kAvx512};
        case TensorType::kQ5_0:
            return {kName, gemv<Q5_0>, 0, gemm<Q5_0>, InstructionSet::kAvx512};
        case TensorType::kQ5_1:
            return {kName, gemv<Q5_1>, 0, gemm<Q5_1>, InstructionSet::kAvx512};
        case TensorType::kIQ4_NL:
            return {kName, gemv<IQ4_NL>, 0, gemm<IQ4_NL>, InstructionSet::kAvx512};
        case TensorType::kQ2_K:
            return {kName, gemv<Q2_K>, 0, gemm<Q2_K>, InstructionSet::kAvx512};
        case TensorType::kQ3_K:
            return {kName, gemv<Q3_K>, 0, gemm<Q3_K>, InstructionSet::kAvx512};
        case TensorType::kQ4_K:
            return {kName, gemv<Q4_K>, 0, gemm<Q4_K>, InstructionSet::kAvx512};
        case TensorType::kQ5_K:
            return {kName, gemv<Q5_K>, 0, gemm<Q5_K>, InstructionSet::kAvx512};
        case TensorType::kQ6_K:
            return {kName, gemv<Q6_K>, 0, gemm<Q6_K>, InstructionSet::kAvx512};
    }
    return {};
}

GemvVariant amx_variant(TensorType type) {
    GemvVariant variant = avx512_variant(type);
    variant.name = "amx";
    variant.needs = InstructionSet::kAmx;
    switch (type) {
        case TensorType::kQ8_0:
            variant.matrix = gemm_amx<Q8_0>;
            return variant;
        case TensorType::kQ4_0:
            variant.matrix = gemm_amx<Q4_0>;
            return variant;
        case TensorType::kQ4_1:
            variant.matrix = gemm_amx<Q4_1>;
            return variant;
        case TensorType::kQ5_0:
            variant.matrix = gemm_amx<Q5_0>;
            return variant;
        case TensorType::kQ5_1:
            variant.matrix = gemm_amx<Q5_1>;
            return variant;
        case TensorType::kIQ4_NL:
            variant.matrix = gemm_amx<IQ4_NL>;
            return variant;
        case TensorType::kQ4_K:
            variant.matrix = gemm_amx<Q4_K>;
            return variant;
        case TensorType::kQ5_K:
            variant.matrix = gemm_amx<Q5_K>;
            return variant;
        default:
            return {};  // floats, and scales for each sixteen: no faster than AVX-512
    }
}

}  // namespace bareflow::llama
