// AVX-512 with VNNI: 64 weights as unsigned bytes beside 64 activations, eight rows at once.
//
// The target is set for the functions of this file, not for the file: an inline function of a
// header that is compiled here must not be the copy that other files are linked with.
#include <immintrin.h>

#include "llama/kernels_simd.h"
#include "llama/weight_blocks.h"

#pragma clang attribute push(                                                      \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,f16c"))), \
    apply_to = function)

namespace bareflow::llama {
namespace {

constexpr uint32_t kGroupBlocks = kGroupElements / kBlockElements;
constexpr uint32_t kRows = 8;  // at once
using RowPointers = const uint8_t *[kRows];

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

// y[row + i] = value i, for the rows before `end`.
inline void store_rows(float *y, uint32_t row, uint32_t end, __m256 values) {
    const uint32_t count = end - row < kRows ? end - row : kRows;
    _mm256_mask_storeu_ps(y + row, static_cast<__mmask8>((1u << count) - 1), values);
}

// Rows from `row` on; beyond `end` the last one again.
inline void point_to_rows(const GemvArgs &args, uint32_t row, uint32_t end, RowPointers &w) {
    for (uint32_t r = 0; r < kRows; ++r) {
        const uint32_t at = row + r < end ? row + r : end - 1;
        w[r] = args.weights + at * args.row_bytes;
    }
}

// ------------------------------------------------------------------ blocks of 32
// pair(): two blocks as 64 unsigned bytes, weight + kOffset each, in the order of the columns.
// kWide: four of them times activations don't fit 16 bits.

struct Q8_0 {
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
    static constexpr uint32_t kBytes = kQ4_0BlockBytes;
    static constexpr int kOffset = 8;
    static constexpr bool kMinimum = false;
    static constexpr bool kWide = false;
    static __m512i pair(const uint8_t *a, const uint8_t *b) { return nibble_pair(a + 2, b + 2); }
};

struct Q4_1 {
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
    static constexpr uint32_t kBytes = 22;
    static constexpr int kOffset = 16;
    static constexpr bool kMinimum = false;
    static constexpr bool kWide = false;
    static __m512i pair(const uint8_t *a, const uint8_t *b) { return five_bit_pair(a + 2, b + 2); }
};

struct Q5_1 {
    static constexpr uint32_t kBytes = 24;
    static constexpr int kOffset = 0;
    static constexpr bool kMinimum = true;
    static constexpr bool kWide = false;
    static __m512i pair(const uint8_t *a, const uint8_t *b) { return five_bit_pair(a + 4, b + 4); }
};

struct IQ4_NL {
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

// float(T) of eight rows for the 256 columns at w + offset.
template <typename F>
inline __m256 group_totals(const RowPointers &w, uint64_t offset, const int8_t *q,
                           const int32_t *block_sums) {
    const __m512i order = _mm512_set_epi32(7, 5, 3, 1, 6, 4, 2, 0, 7, 5, 3, 1, 6, 4, 2, 0);
    const __m512i x = _mm512_permutexvar_epi32(order, _mm512_castsi256_si512(load256(block_sums)));
    const __m512i taken_off = _mm512_mullo_epi32(x, _mm512_set1_epi32(F::kOffset));
    __m512i total[kRows / 2];  // four int64 of one row, four of the next
#pragma clang loop unroll(full)
    for (uint32_t p = 0; p < kRows / 2; ++p) {
        const uint8_t *const w0 = w[2 * p] + offset;
        const uint8_t *const w1 = w[2 * p + 1] + offset;
        const __m512i s0 = block_sums_by_lane<F>(w0, q);
        const __m512i s1 = block_sums_by_lane<F>(w1, q);
        __m512i sums = _mm512_add_epi32(_mm512_shuffle_i32x4(s0, s1, 0x88),
                                        _mm512_shuffle_i32x4(s0, s1, 0xdd));
        if constexpr (F::kOffset != 0) {
            sums = _mm512_sub_epi32(sums, taken_off);
        }
        total[p] = dot_64(sums, eight_mantissas<F::kBytes>(w0, w1));
        if constexpr (F::kMinimum) {
            total[p] =
                _mm512_add_epi64(total[p], dot_64(x, eight_mantissas<F::kBytes>(w0 + 2, w1 + 2)));
        }
    }
    const auto fold_64 = [](__m512i a, __m512i b) __attribute__((always_inline)) {
        return _mm512_add_epi64(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    };
    // Lanes of `low`: rows (0, 2) (0, 2) (1, 3) (1, 3).
    const __m512i low = fold_64(total[0], total[1]);
    const __m512i high = fold_64(total[2], total[3]);
    const __m512i rows = _mm512_add_epi64(_mm512_shuffle_i64x2(low, high, 0x88),
                                          _mm512_shuffle_i64x2(low, high, 0xdd));
    // 0 2 1 3 4 6 5 7
    return _mm512_cvtepi64_ps(rows);
}

// The lines of the rows that come next, into the second-level cache: measured faster than into the
// first, whose line buffers are needed for the present ones.
inline void prefetch_rows(const RowPointers &w, uint64_t offset, uint32_t bytes) {
#pragma clang loop unroll(full)
    for (uint32_t r = 0; r < kRows; ++r) {
        for (uint32_t line = 0; line < bytes; line += 64) {
            _mm_prefetch(reinterpret_cast<const char *>(w[r] + offset + line), _MM_HINT_T1);
        }
    }
}

template <typename F>
void gemv_blocks(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    constexpr uint32_t kGroupBytes = kGroupBlocks * F::kBytes;
    const uint32_t groups = args.cols / kGroupElements;
    const uint32_t tail_blocks = args.cols % kGroupElements / kBlockElements;
    // An incomplete last group is copied to where zeros follow it.
    alignas(64) uint8_t tail[kRows][kGroupBytes];
    alignas(64) int8_t tail_q[kGroupElements];
    int32_t tail_sums[kGroupBlocks];
    if (tail_blocks != 0) {
        __builtin_memset(tail, 0, sizeof(tail));
        __builtin_memset(tail_q, 0, sizeof(tail_q));
        __builtin_memset(tail_sums, 0, sizeof(tail_sums));
        __builtin_memcpy(tail_q, args.xq.q + groups * uint64_t{kGroupElements},
                         tail_blocks * kBlockElements);
        __builtin_memcpy(tail_sums, args.xq.block_sums + groups * uint64_t{kGroupBlocks},
                         tail_blocks * sizeof(int32_t));
    }
    for (uint32_t row = row_begin; row < row_end; row += kRows) {
        RowPointers w;
        point_to_rows(args, row, row_end, w);
        __m256 y = _mm256_setzero_ps();
        for (uint32_t g = 0; g < groups; ++g) {
            const uint64_t offset = g * uint64_t{kGroupBytes};
            prefetch_rows(w, offset + kRows * args.row_bytes, kGroupBytes);
            const __m256 total =
                group_totals<F>(w, offset, args.xq.q + g * uint64_t{kGroupElements},
                                args.xq.block_sums + g * uint64_t{kGroupBlocks});
            y = _mm256_add_ps(y, _mm256_mul_ps(total, _mm256_set1_ps(args.xq.group_scales[g])));
        }
        if (tail_blocks != 0) {
            RowPointers copies;
            for (uint32_t r = 0; r < kRows; ++r) {
                __builtin_memcpy(tail[r], w[r] + groups * uint64_t{kGroupBytes},
                                 tail_blocks * F::kBytes);
                copies[r] = tail[r];
            }
            const __m256 total = group_totals<F>(copies, 0, tail_q, tail_sums);
            y = _mm256_add_ps(y,
                              _mm256_mul_ps(total, _mm256_set1_ps(args.xq.group_scales[groups])));
        }
        const __m256i order = _mm256_set_epi32(7, 5, 6, 4, 3, 1, 2, 0);
        store_rows(args.y, row, row_end, _mm256_permutevar8x32_ps(y, order));
    }
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

// What a group of activations contributes, the same for all rows.
struct GroupActivation {
    __m512i taken_off[2];  // kOffset times sums of four, packed like the dots
    __m256i part_sums;     // of sixteen parts, 16 bits each
};

template <typename F>
inline GroupActivation prepare_activation(const int8_t *q) {
    __m512i fours[4];
    for (uint32_t i = 0; i < 4; ++i) {
        fours[i] =
            _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), load512(q + 64 * i));
    }
    GroupActivation out;
    const __m512i offset = _mm512_set1_epi16(F::kOffset);
    out.taken_off[0] = _mm512_mullo_epi16(_mm512_packs_epi32(fours[0], fours[1]), offset);
    out.taken_off[1] = _mm512_mullo_epi16(_mm512_packs_epi32(fours[2], fours[3]), offset);
    const __m512i parts =
        add_pairs_16(add_pairs_16(fours[0], fours[1]), add_pairs_16(fours[2], fours[3]));
    const __m512i order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    out.part_sums = _mm512_cvtepi32_epi16(_mm512_permutexvar_epi32(order, parts));
    return out;
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
inline __m512i scaled_dots(const uint8_t *block, const int8_t *q, const GroupActivation &x) {
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
inline __m256i sum_each(const __m512i (&v)[kRows]) {
    const __m512i low = add_pairs(add_pairs(v[0], v[1]), add_pairs(v[2], v[3]));
    const __m512i high = add_pairs(add_pairs(v[4], v[5]), add_pairs(v[6], v[7]));
    const __m512i half = _mm512_add_epi32(_mm512_shuffle_i32x4(low, high, 0x88),
                                          _mm512_shuffle_i32x4(low, high, 0xdd));
    const __m512i all = _mm512_add_epi32(_mm512_shuffle_i32x4(half, half, 0x88),
                                         _mm512_shuffle_i32x4(half, half, 0xdd));
    return _mm512_castsi512_si256(all);
}

inline __m512d factors_f64(const RowPointers &w, uint64_t offset) {
    __m128i halves = _mm_cvtsi32_si128(half_at(w[0] + offset));
    halves = _mm_insert_epi16(halves, half_at(w[1] + offset), 1);
    halves = _mm_insert_epi16(halves, half_at(w[2] + offset), 2);
    halves = _mm_insert_epi16(halves, half_at(w[3] + offset), 3);
    halves = _mm_insert_epi16(halves, half_at(w[4] + offset), 4);
    halves = _mm_insert_epi16(halves, half_at(w[5] + offset), 5);
    halves = _mm_insert_epi16(halves, half_at(w[6] + offset), 6);
    return mantissas_f64(_mm_insert_epi16(halves, half_at(w[7] + offset), 7));
}

// float(T) of eight rows for the super-blocks at w + offset. A double holds every term exactly.
template <typename F>
inline __m256 super_totals(const RowPointers &w, uint64_t offset, const int8_t *q) {
    const GroupActivation x = prepare_activation<F>(q);
    __m512i scaled[kRows];
#pragma clang loop unroll(full)
    for (uint32_t r = 0; r < kRows; ++r) {
        scaled[r] = scaled_dots<F>(w[r] + offset, q, x);
    }
    __m512d total =
        _mm512_mul_pd(_mm512_cvtepi32_pd(sum_each(scaled)), factors_f64(w, offset + F::kFactors));
    if constexpr (F::kMinimum) {
        __m512i minimums[kRows];
#pragma clang loop unroll(full)
        for (uint32_t r = 0; r < kRows; ++r) {
            minimums[r] =
                _mm512_zextsi256_si512(_mm256_madd_epi16(F::minimums(w[r] + offset), x.part_sums));
        }
        total = _mm512_sub_pd(total, _mm512_mul_pd(_mm512_cvtepi32_pd(sum_each(minimums)),
                                                   factors_f64(w, offset + F::kFactors + 2)));
    }
    return _mm512_cvtpd_ps(total);
}

template <typename F>
void gemv_supers(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    const uint32_t groups = args.cols / kGroupElements;
    for (uint32_t row = row_begin; row < row_end; row += kRows) {
        RowPointers w;
        point_to_rows(args, row, row_end, w);
        __m256 y = _mm256_setzero_ps();
        for (uint32_t g = 0; g < groups; ++g) {
            const uint64_t offset = g * uint64_t{F::kBytes};
            prefetch_rows(w, offset + kRows * args.row_bytes, F::kBytes);
            const __m256 total =
                super_totals<F>(w, offset, args.xq.q + g * uint64_t{kGroupElements});
            y = _mm256_add_ps(y, _mm256_mul_ps(total, _mm256_set1_ps(args.xq.group_scales[g])));
        }
        store_rows(args.y, row, row_end, y);
    }
}

}  // namespace

GemvVariant avx512_variant(TensorType type) {
    constexpr std::string_view kName = "avx512";
    switch (type) {
        case TensorType::kQ8_0:
            return {kName, gemv_blocks<Q8_0>, 0, nullptr, InstructionSet::kAvx512};
        case TensorType::kQ4_0:
            return {kName, gemv_blocks<Q4_0>, 0, nullptr, InstructionSet::kAvx512};
        case TensorType::kQ4_1:
            return {kName, gemv_blocks<Q4_1>, 0, nullptr, InstructionSet::kAvx512};
        case TensorType::kQ5_0:
            return {kName, gemv_blocks<Q5_0>, 0, nullptr, InstructionSet::kAvx512};
        case TensorType::kQ5_1:
            return {kName, gemv_blocks<Q5_1>, 0, nullptr, InstructionSet::kAvx512};
        case TensorType::kIQ4_NL:
            return {kName, gemv_blocks<IQ4_NL>, 0, nullptr, InstructionSet::kAvx512};
        case TensorType::kQ2_K:
            return {kName, gemv_supers<Q2_K>, 0, nullptr, InstructionSet::kAvx512};
        case TensorType::kQ3_K:
            return {kName, gemv_supers<Q3_K>, 0, nullptr, InstructionSet::kAvx512};
        case TensorType::kQ4_K:
            return {kName, gemv_supers<Q4_K>, 0, nullptr, InstructionSet::kAvx512};
        case TensorType::kQ5_K:
            return {kName, gemv_supers<Q5_K>, 0, nullptr, InstructionSet::kAvx512};
        case TensorType::kQ6_K:
            return {kName, gemv_supers<Q6_K>, 0, nullptr, InstructionSet::kAvx512};
        default:
            return {};
    }
}

}  // namespace bareflow::llama

#pragma clang attribute pop
