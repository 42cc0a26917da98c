// AVX2, one vector: 32 weights as bytes are multiplied with 32 activations, four rows at once.
//
// Included once by each of gemv.cpp, gemm_hosted.cpp and vnni_hosted.cpp, in the part of the file
// that is compiled for its target (target_inl.h), inside of the anonymous namespace. That file
// defines before:
//   kVnni  bool: whether the target has the VEX encoding of `vpdpbusd`
// and includes kernels/gemv.h, numbers/quant.h, numbers/weight_blocks.h and
// numbers/weight_formats.h. This file includes no header: its functions would be compiled for the
// target. All per-target texts (_inl.h) are included in this way.
#pragma once

constexpr uint32_t kGroupBlocks = kGroupElements / kBlockElements;
constexpr uint32_t kRows = 4;  // at once
using RowPointers = const uint8_t *[kRows];

// ------------------------------------------------------------------ small parts

#include "compute/kernels/per_target/format_parts_inl.h"

// The mantissas of f16: multiplied by 2^24 they are integers, exact because magnitudes are below
// 128.
inline __m256i mantissas(__m128i halves) {
    return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtph_ps(halves), _mm256_set1_ps(0x1p24f)));
}
inline __m256d mantissas_f64(__m128i halves) {
    return _mm256_cvtps_pd(_mm_mul_ps(_mm_cvtph_ps(halves), _mm_set1_ps(0x1p24f)));
}

// int64 of magnitude up to 2^53 as doubles. Each half becomes the fraction of a double whose
// exponent gives the half its weight; then what the exponents added is subtracted.
inline __m256d to_f64(__m256i x) {
    const __m256i low = _mm256_blend_epi32(_mm256_set1_epi64x(0x4330000000000000), x, 0x55);
    const __m256i high =
        _mm256_xor_si256(_mm256_srli_epi64(x, 32), _mm256_set1_epi64x(0x4530000080000000));
    const __m256d offset = _mm256_castsi256_pd(_mm256_set1_epi64x(0x4530000080100000));
    return _mm256_add_pd(_mm256_sub_pd(_mm256_castsi256_pd(high), offset),
                         _mm256_castsi256_pd(low));
}

// Sums of four: lane i is columns 4i to 4i + 3.
inline __m256i dot_unsigned(__m256i w, __m256i q) {
    if constexpr (kVnni) {
        return _mm256_dpbusd_avx_epi32(_mm256_setzero_si256(), w, q);
    }
    return _mm256_madd_epi16(_mm256_maddubs_epi16(w, q), _mm256_set1_epi16(1));
}
// |w| <= 128: two products fit 16 bits.
inline __m256i dot_signed(__m256i w, __m256i q) {
    return dot_unsigned(_mm256_abs_epi8(w), _mm256_sign_epi8(q, w));
}
template <bool kSigned>
inline __m256i dot_fours(__m256i w, __m256i q) {
    return kSigned ? dot_signed(w, q) : dot_unsigned(w, q);
}

inline void prefetch_rows(const RowPointers &w, uint64_t offset, uint32_t bytes) {
    for (uint32_t r = 0; r < kRows; ++r) {
        for (uint32_t line = 0; line < bytes; line += 64) {
            _mm_prefetch(reinterpret_cast<const char *>(w[r] + offset + line), _MM_HINT_T1);
        }
    }
}

// Rows from `row` on. Pointers beyond `end` repeat the last row.
inline void point_to_rows(const GemvArgs &args, uint32_t row, uint32_t end, RowPointers &w) {
    for (uint32_t r = 0; r < kRows; ++r) {
        const uint32_t at = row + r < end ? row + r : end - 1;
        w[r] = args.weights + at * args.row_bytes;
    }
}

inline void store_rows(float *y, uint32_t row, uint32_t end, __m128 values) {
    if (end - row >= kRows) {
        _mm_storeu_ps(y + row, values);
        return;
    }
    alignas(16) float each[kRows];
    _mm_store_ps(each, values);
    for (uint32_t r = 0; row + r < end; ++r) {
        y[row + r] = each[r];
    }
}

// ------------------------------------------------------------------ blocks of 32
// weights(): 32 bytes in the order of the columns, of a magnitude of at most kMost. kSigned: int8;
// else weight + kOffset, unsigned.

inline __m256i nibbles_of(const uint8_t *from) {
    const __m128i both = load128(from);
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(both, 4), both), _mm256_set1_epi8(15));
}

// 32 fifth bits, then nibbles.
inline __m256i five_bits_of(const uint8_t *from) {
    const __m256i bytes = _mm256_shuffle_epi8(
        _mm256_set1_epi32(static_cast<int32_t>(word_at(from))),
        _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0));
    const __m256i bits = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201));
    const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bits), bits);
    return _mm256_or_si256(nibbles_of(from + 4), _mm256_and_si256(set, _mm256_set1_epi8(16)));
}

struct Q8_0 : FormatFacts<TensorType::kQ8_0> {
    static constexpr int kMost = 128;
    static constexpr bool kSigned = true;
    static __m256i weights(const uint8_t *block) { return load256(block + kLowAt); }
};

struct Q4_0 : FormatFacts<TensorType::kQ4_0> {
    static constexpr bool kSigned = false;
    static __m256i weights(const uint8_t *block) { return nibbles_of(block + kLowAt); }
};

struct Q4_1 : FormatFacts<TensorType::kQ4_1> {
    static constexpr bool kSigned = false;
    static __m256i weights(const uint8_t *block) { return nibbles_of(block + kLowAt); }
};

struct Q5_0 : FormatFacts<TensorType::kQ5_0> {
    static constexpr bool kSigned = false;
    static __m256i weights(const uint8_t *block) { return five_bits_of(block + kHighAt); }
};

struct Q5_1 : FormatFacts<TensorType::kQ5_1> {
    static constexpr bool kSigned = false;
    static __m256i weights(const uint8_t *block) { return five_bits_of(block + kHighAt); }
};

struct IQ4_NL : FormatFacts<TensorType::kIQ4_NL> {
    static constexpr int kMost = 128;
    static constexpr bool kSigned = true;
    static __m256i weights(const uint8_t *block) {
        return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load128(kNonLinear)),
                                   nibbles_of(block + kLowAt));
    }
};

template <uint32_t kBytes>
inline __m128i in_order(const uint8_t *w) {
    return halves_of<kBytes, 0, 1, 2, 3, 4, 5, 6, 7>(w);
}

// The sums of four blocks: in each 128-bit half a partial sum of every block.
template <typename F>
inline __m256i four_block_sums(const uint8_t *w, const int8_t *q) {
    const __m256i a = dot_fours<F::kSigned>(F::weights(w), load256(q));
    const __m256i b = dot_fours<F::kSigned>(F::weights(w + F::kBytes), load256(q + 32));
    const __m256i c = dot_fours<F::kSigned>(F::weights(w + 2 * F::kBytes), load256(q + 64));
    const __m256i d = dot_fours<F::kSigned>(F::weights(w + 3 * F::kBytes), load256(q + 96));
    return _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
}

// sum over lanes of a_i * b_i, pairs of 32-bit lanes added up: four int64.
inline __m256i dot_64(__m256i a, __m256i b) {
    return _mm256_add_epi64(_mm256_mul_epi32(a, b),
                            _mm256_mul_epi32(_mm256_srli_epi64(a, 32), _mm256_srli_epi64(b, 32)));
}

// float(T) of four rows for the 256 columns at w + offset.
template <typename F>
inline __m128 group_totals(const RowPointers &w, uint64_t offset, const int8_t *q,
                           const int32_t *block_sums) {
    const __m256i x = load256(block_sums);
    __m256i total[kRows];
#pragma clang loop unroll(full)
    for (uint32_t r = 0; r < kRows; ++r) {
        const uint8_t *const from = w[r] + offset;
        const __m256i low = four_block_sums<F>(from, q);
        const __m256i high = four_block_sums<F>(from + 4 * F::kBytes, q + 128);
        __m256i sums = _mm256_add_epi32(_mm256_permute2x128_si256(low, high, 0x20),
                                        _mm256_permute2x128_si256(low, high, 0x31));
        if constexpr (F::kOffset != 0) {
            sums = _mm256_sub_epi32(sums, _mm256_slli_epi32(x, __builtin_ctz(F::kOffset)));
        }
        total[r] = dot_64(sums, mantissas(in_order<F::kBytes>(from + F::kScaleAt)));
        if constexpr (F::kMinimum) {
            total[r] = _mm256_add_epi64(
                total[r], dot_64(x, mantissas(in_order<F::kBytes>(from + F::kMinimumAt))));
        }
    }
    const __m256i low = _mm256_add_epi64(_mm256_unpacklo_epi64(total[0], total[1]),
                                         _mm256_unpackhi_epi64(total[0], total[1]));
    const __m256i high = _mm256_add_epi64(_mm256_unpacklo_epi64(total[2], total[3]),
                                          _mm256_unpackhi_epi64(total[2], total[3]));
    return _mm256_cvtpd_ps(to_f64(_mm256_add_epi64(_mm256_permute2x128_si256(low, high, 0x20),
                                                   _mm256_permute2x128_si256(low, high, 0x31))));
}

template <typename F>
void gemv_blocks(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    constexpr uint32_t kGroupBytes = kGroupBlocks * F::kBytes;
    const uint32_t groups = args.cols / kGroupElements;
    const uint32_t tail_blocks = args.cols % kGroupElements / kBlockElements;
    // An incomplete last group is copied, with zeros behind it.
    alignas(32) uint8_t tail[kRows][kGroupBytes];
    alignas(32) int8_t tail_q[kGroupElements];
    alignas(32) int32_t tail_sums[kGroupBlocks];
    if (tail_blocks != 0) {
        __builtin_memset(tail, 0, sizeof(tail));
        __builtin_memset(tail_q, 0, sizeof(tail_q));
        __builtin_memset(tail_sums, 0, sizeof(tail_sums));
        __builtin_memcpy(tail_q, args.xq.q + groups * uint64_t{kGroupElements},
                         tail_blocks * kBlockElements);
        __builtin_memcpy(tail_sums, args.xq.block_sums + groups * uint64_t{kGroupBlocks},
                         tail_blocks * sizeof(int32_t));
    }
    const uint32_t all_groups = groups + (tail_blocks != 0);
    for (uint32_t row = row_begin; row < row_end; row += kRows) {
        RowPointers w;
        point_to_rows(args, row, row_end, w);
        __m128 y = _mm_setzero_ps();
        const int8_t *q = args.xq.q;
        const int32_t *sums = args.xq.block_sums;
        uint64_t offset = 0;
        for (uint32_t g = 0; g < all_groups; ++g) {
            if (g < groups) {
                prefetch_rows(w, offset + kRows * args.row_bytes, kGroupBytes);
            } else {
                for (uint32_t r = 0; r < kRows; ++r) {
                    __builtin_memcpy(tail[r], w[r] + offset, tail_blocks * F::kBytes);
                    w[r] = tail[r];
                }
                q = tail_q;
                sums = tail_sums;
                offset = 0;
            }
            const __m128 total = group_totals<F>(w, offset, q, sums);
            y = _mm_add_ps(y, _mm_mul_ps(total, _mm_set1_ps(args.xq.group_scales[g])));
            q += kGroupElements;
            sums += kGroupBlocks;
            offset += kGroupBytes;
        }
        store_rows(args.y, row, row_end, y);
    }
}

// ------------------------------------------------------------------ super-blocks of 256
// columns<i>(): the 32 weights from 32 i on, as unsigned bytes weight + kOffset of at most kMost.
// scales(): the small scales of sixteen parts as bytes; minimums(): theirs, if kMinimum.

// (bytes >> kRight) & mask; a negative kRight shifts left.
template <int kRight>
inline __m256i field_of(__m256i bytes, char mask) {
    if constexpr (kRight > 0) {
        bytes = _mm256_srli_epi16(bytes, kRight);
    } else if constexpr (kRight < 0) {
        bytes = _mm256_slli_epi16(bytes, -kRight);
    }
    return _mm256_and_si256(bytes, _mm256_set1_epi8(mask));
}

struct Q2_K : FormatFacts<TensorType::kQ2_K> {
    static constexpr bool kSigned = false;
    template <int kI>
    static __m256i columns(const uint8_t *block) {
        return field_of<kI % 4 * 2>(load256(block + kLowAt + kI / 4 * 32), 3);
    }
    static __m128i scales(const uint8_t *block) {
        return _mm_and_si128(load128(block + kPartScalesAt), _mm_set1_epi8(15));
    }
    static __m128i minimums(const uint8_t *block) {
        return _mm_and_si128(_mm_srli_epi16(load128(block + kPartScalesAt), 4), _mm_set1_epi8(15));
    }
};

struct Q3_K : FormatFacts<TensorType::kQ3_K> {
    static constexpr bool kSigned = false;
    template <int kI>
    static __m256i columns(const uint8_t *block) {
        return _mm256_or_si256(field_of<kI % 4 * 2>(load256(block + kLowAt + kI / 4 * 32), 3),
                               field_of<kI - 2>(load256(block + kHighAt), 4));
    }
    static __m128i scales(const uint8_t *block) { return q3_k_scales(block + kPartScalesAt); }
};

struct Q4_K : FormatFacts<TensorType::kQ4_K> {
    static constexpr bool kSigned = false;
    template <int kI>
    static __m256i columns(const uint8_t *block) {
        return field_of<kI % 2 * 4>(load256(block + kLowAt + kI / 2 * 32), 15);
    }
    static __m128i scales(const uint8_t *block) { return six_bit_scales(block + kPartScalesAt); }
    static __m128i minimums(const uint8_t *block) {
        return six_bit_minimums(block + kPartScalesAt);
    }
};

struct Q5_K : FormatFacts<TensorType::kQ5_K> {
    static constexpr bool kSigned = false;
    template <int kI>
    static __m256i columns(const uint8_t *block) {
        return _mm256_or_si256(field_of<kI % 2 * 4>(load256(block + kLowAt + kI / 2 * 32), 15),
                               field_of<kI - 4>(load256(block + kHighAt), 16));
    }
    static __m128i scales(const uint8_t *block) { return six_bit_scales(block + kPartScalesAt); }
    static __m128i minimums(const uint8_t *block) {
        return six_bit_minimums(block + kPartScalesAt);
    }
};

struct Q6_K : FormatFacts<TensorType::kQ6_K> {
    static constexpr bool kSigned = false;
    template <int kI>
    static __m256i columns(const uint8_t *block) {
        return _mm256_or_si256(
            field_of<kI % 4 / 2 * 4>(load256(block + kLowAt + kI / 4 * 64 + kI % 2 * 32), 15),
            field_of<kI % 4 * 2 - 4>(load256(block + kHighAt + kI / 4 * 32), 0x30));
    }
    static __m128i scales(const uint8_t *block) { return load128(block + kPartScalesAt); }
};

// 16-bit sums of q over the parts of a group, the even parts first.
inline __m256i part_sums(const int8_t *q) {
    __m256i fours[kGroupBlocks];
    for (uint32_t b = 0; b < kGroupBlocks; ++b) {
        fours[b] = dot_unsigned(_mm256_set1_epi8(1), load256(q + 32 * b));
    }
    const __m256i low = _mm256_hadd_epi32(_mm256_hadd_epi32(fours[0], fours[1]),
                                          _mm256_hadd_epi32(fours[2], fours[3]));
    const __m256i high = _mm256_hadd_epi32(_mm256_hadd_epi32(fours[4], fours[5]),
                                           _mm256_hadd_epi32(fours[6], fours[7]));
    return _mm256_packs_epi32(low, high);
}
inline __m256i even_first(__m128i bytes) {
    return _mm256_cvtepi8_epi16(_mm_shuffle_epi8(
        bytes, _mm_set_epi8(15, 13, 11, 9, 7, 5, 3, 1, 14, 12, 10, 8, 6, 4, 2, 0)));
}

// One block of 32 of a super-block, times its two scales.
template <typename F, int kI>
inline __m256i scaled_block(const uint8_t *block, const int8_t *q, __m256i eight_scales) {
    constexpr short kFirst = kI % 4 * 0x0404 + 0x0100;
    const __m256i order = _mm256_set_m128i(_mm_set1_epi16(kFirst + 0x0202), _mm_set1_epi16(kFirst));
    return _mm256_madd_epi16(
        _mm256_maddubs_epi16(F::template columns<kI>(block), load256(q + 32 * kI)),
        _mm256_shuffle_epi8(eight_scales, order));
}

// sum of scale * dot over one super-block, in eight lanes.
template <typename F>
inline __m256i scaled_dots(const uint8_t *block, const int8_t *q, __m256i x) {
    const __m128i bytes = F::scales(block);
    const __m256i scales = _mm256_cvtepi8_epi16(bytes);
    const __m256i low = _mm256_permute2x128_si256(scales, scales, 0x00);
    const __m256i high = _mm256_permute2x128_si256(scales, scales, 0x11);
    __m256i a = scaled_block<F, 0>(block, q, low);
    __m256i b = scaled_block<F, 1>(block, q, low);
    a = _mm256_add_epi32(a, scaled_block<F, 2>(block, q, low));
    b = _mm256_add_epi32(b, scaled_block<F, 3>(block, q, low));
    a = _mm256_add_epi32(a, scaled_block<F, 4>(block, q, high));
    b = _mm256_add_epi32(b, scaled_block<F, 5>(block, q, high));
    a = _mm256_add_epi32(a, scaled_block<F, 6>(block, q, high));
    b = _mm256_add_epi32(b, scaled_block<F, 7>(block, q, high));
    a = _mm256_add_epi32(a, b);
    if constexpr (F::kOffset != 0) {
        const __m256i offset = _mm256_madd_epi16(even_first(bytes), x);
        a = _mm256_sub_epi32(a, _mm256_slli_epi32(offset, __builtin_ctz(F::kOffset)));
    }
    return a;
}

// The sums of four vectors, in order.
inline __m128i sum_each(const __m256i (&v)[kRows]) {
    const __m256i halves =
        _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
    return _mm_add_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1));
}

inline __m256d factors_f64(const RowPointers &w, uint64_t offset) {
    __m128i halves = _mm_cvtsi32_si128(half_at(w[0] + offset));
    halves = _mm_insert_epi16(halves, half_at(w[1] + offset), 1);
    halves = _mm_insert_epi16(halves, half_at(w[2] + offset), 2);
    return mantissas_f64(_mm_insert_epi16(halves, half_at(w[3] + offset), 3));
}

// float(T) of four rows for the super-blocks at w + offset. A double holds every term exactly.
template <typename F>
inline __m128 super_totals(const RowPointers &w, uint64_t offset, const int8_t *q) {
    const __m256i x = part_sums(q);
    __m256i scaled[kRows];
#pragma clang loop unroll(full)
    for (uint32_t r = 0; r < kRows; ++r) {
        scaled[r] = scaled_dots<F>(w[r] + offset, q, x);
    }
    __m256d total =
        _mm256_mul_pd(_mm256_cvtepi32_pd(sum_each(scaled)), factors_f64(w, offset + F::kScaleAt));
    if constexpr (F::kMinimum) {
        __m256i minimums[kRows];
#pragma clang loop unroll(full)
        for (uint32_t r = 0; r < kRows; ++r) {
            minimums[r] = _mm256_madd_epi16(even_first(F::minimums(w[r] + offset)), x);
        }
        total = _mm256_sub_pd(total, _mm256_mul_pd(_mm256_cvtepi32_pd(sum_each(minimums)),
                                                   factors_f64(w, offset + F::kMinimumAt)));
    }
    return _mm256_cvtpd_ps(total);
}

template <typename F>
void gemv_supers(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    const uint32_t groups = args.cols / kGroupElements;
    for (uint32_t row = row_begin; row < row_end; row += kRows) {
        RowPointers w;
        point_to_rows(args, row, row_end, w);
        __m128 y = _mm_setzero_ps();
        for (uint32_t g = 0; g < groups; ++g) {
            const uint64_t offset = g * uint64_t{F::kBytes};
            prefetch_rows(w, offset + kRows * args.row_bytes, F::kBytes);
            const __m128 total =
                super_totals<F>(w, offset, args.xq.q + g * uint64_t{kGroupElements});
            y = _mm_add_ps(y, _mm_mul_ps(total, _mm_set1_ps(args.xq.group_scales[g])));
        }
        store_rows(args.y, row, row_end, y);
    }
}

template <typename F>
constexpr GemvKernel kOneVector = [] {
    if constexpr (F::kSuper) {
        return gemv_supers<F>;
    } else {
        return gemv_blocks<F>;
    }
}();
