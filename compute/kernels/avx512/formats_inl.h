// The block types as AVX-512 reads them: 64 weights as unsigned bytes.
//
// Included by all files of AVX-512 and AMX kernels but gemv_packed_hosted.cpp, as
// compute/kernels/avx2/gemv_inl.h says. Needs numbers/quant.h, numbers/weight_blocks.h and
// numbers/weight_formats.h; nothing need be defined before.
#pragma once

constexpr uint32_t kGroupBlocks = kGroupElements / kBlockElements;

// ------------------------------------------------------------------ small parts

#include "compute/kernels/per_target/format_parts_inl.h"

inline __m512i load512(const void *from) {
    return _mm512_loadu_si512(from);
}
// `low` in 128-bit lanes 0 and 1, `high` in 2 and 3.
inline __m512i broadcast_pair(const uint8_t *low, const uint8_t *high) {
    return _mm512_mask_broadcast_i32x4(_mm512_broadcast_i32x4(load128(low)), 0xff00, load128(high));
}
inline __m512i join(__m256i low, __m256i high) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}
inline __m512 join_ps(__m256 low, __m256 high) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
}
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

// The mantissas of f16: multiplied by 2^24 they are integers, exact because magnitudes are below
// 128.
inline __m512i mantissas(__m256i halves) {
    return _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtph_ps(halves), _mm512_set1_ps(16777216.0f)));
}
inline __m512d mantissas_f64(__m128i halves) {
    return _mm512_cvtps_pd(_mm256_mul_ps(_mm256_cvtph_ps(halves), _mm256_set1_ps(16777216.0f)));
}

// ------------------------------------------------------------------ blocks of 32
// pair(): two blocks as 64 unsigned bytes weight + kOffset, in the order of the columns.
// kWide: the sum of four bytes times activations does not fit 16 bits.

struct Q8_0 : FormatFacts<TensorType::kQ8_0> {
    static constexpr int kOffset = 128;
    static constexpr bool kWide = true;
    static __m512i pair(const uint8_t *a, const uint8_t *b) {
        return _mm512_xor_si512(join(load256(a + kLowAt), load256(b + kLowAt)),
                                _mm512_set1_epi8(-128));
    }
};

inline __m512i nibble_pair(const uint8_t *a, const uint8_t *b) {
    return _mm512_and_si512(_mm512_srlv_epi16(broadcast_pair(a, b), lane_counts(0, 4, 0, 4)),
                            _mm512_set1_epi8(15));
}

struct Q4_0 : FormatFacts<TensorType::kQ4_0> {
    static constexpr bool kWide = false;
    static __m512i pair(const uint8_t *a, const uint8_t *b) {
        return nibble_pair(a + kLowAt, b + kLowAt);
    }
};

struct Q4_1 : FormatFacts<TensorType::kQ4_1> {
    static constexpr bool kWide = false;
    static __m512i pair(const uint8_t *a, const uint8_t *b) {
        return nibble_pair(a + kLowAt, b + kLowAt);
    }
};

// `a` and `b` point at 32 fifth bits, behind which the nibbles lie.
inline __m512i five_bit_pair(const uint8_t *a, const uint8_t *b) {
    const __mmask64 fifth = word_at(a) | static_cast<uint64_t>(word_at(b)) << 32;
    const __m512i low = nibble_pair(a + 4, b + 4);
    return _mm512_mask_add_epi8(low, fifth, low, _mm512_set1_epi8(16));
}

struct Q5_0 : FormatFacts<TensorType::kQ5_0> {
    static constexpr bool kWide = false;
    static __m512i pair(const uint8_t *a, const uint8_t *b) {
        return five_bit_pair(a + kHighAt, b + kHighAt);
    }
};

struct Q5_1 : FormatFacts<TensorType::kQ5_1> {
    static constexpr bool kWide = false;
    static __m512i pair(const uint8_t *a, const uint8_t *b) {
        return five_bit_pair(a + kHighAt, b + kHighAt);
    }
};

struct IQ4_NL : FormatFacts<TensorType::kIQ4_NL> {
    static constexpr int kOffset = 128;
    static constexpr bool kWide = true;
    static __m512i pair(const uint8_t *a, const uint8_t *b) {
        const __m128i values = _mm_xor_si128(load128(kNonLinear), _mm_set1_epi8(-128));
        return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(values),
                                   nibble_pair(a + kLowAt, b + kLowAt));
    }
};

// The scales (or minimums) of eight blocks in the order 0 2 4 6 1 3 5 7.
template <uint32_t kBytes>
inline __m128i eight_halves(const uint8_t *w) {
    return halves_of<kBytes, 0, 2, 4, 6, 1, 3, 5, 7>(w);
}
template <uint32_t kBytes>
inline __m512i eight_mantissas(const uint8_t *w0, const uint8_t *w1) {
    return mantissas(_mm256_set_m128i(eight_halves<kBytes>(w1), eight_halves<kBytes>(w0)));
}

// ------------------------------------------------------------------ super-blocks of 256
// columns<i>(): the 64 weights from 64 i on, as unsigned bytes weight + kOffset.
// scales(): the small scales of sixteen parts as words; minimums(): theirs, if kMinimum.

// The same 32 bytes twice.
inline __m512i twice(const uint8_t *bytes) {
    return _mm512_broadcast_i64x4(load256(bytes));
}
struct Q2_K : FormatFacts<TensorType::kQ2_K> {
    template <uint32_t kI>
    static __m512i columns(const uint8_t *block) {
        constexpr short kShift = kI % 2 * 4;
        return _mm512_and_si512(
            _mm512_srlv_epi16(twice(block + kLowAt + kI / 2 * 32),
                              lane_counts(kShift, kShift, kShift + 2, kShift + 2)),
            _mm512_set1_epi8(3));
    }
    static __m256i scales(const uint8_t *block) {
        return _mm256_cvtepu8_epi16(
            _mm_and_si128(load128(block + kPartScalesAt), _mm_set1_epi8(15)));
    }
    static __m256i minimums(const uint8_t *block) {
        return _mm256_cvtepu8_epi16(
            _mm_and_si128(_mm_srli_epi16(load128(block + kPartScalesAt), 4), _mm_set1_epi8(15)));
    }
};

struct Q3_K : FormatFacts<TensorType::kQ3_K> {
    template <uint32_t kI>
    static __m512i columns(const uint8_t *block) {
        constexpr short kShift = kI % 2 * 4;
        const __m512i low =
            _mm512_and_si512(_mm512_srlv_epi16(twice(block + kLowAt + kI / 2 * 32),
                                               lane_counts(kShift, kShift, kShift + 2, kShift + 2)),
                             _mm512_set1_epi8(3));
        const __mmask64 third =
            _mm512_test_epi8_mask(twice(block + kHighAt), half_bytes(1 << (2 * kI), 2 << (2 * kI)));
        return _mm512_mask_add_epi8(low, third, low, _mm512_set1_epi8(4));
    }
    static __m256i scales(const uint8_t *block) {
        return _mm256_cvtepi8_epi16(q3_k_scales(block + kPartScalesAt));
    }
};

struct Q4_K : FormatFacts<TensorType::kQ4_K> {
    template <uint32_t kI>
    static __m512i columns(const uint8_t *block) {
        return _mm512_and_si512(
            _mm512_srlv_epi16(twice(block + kLowAt + 32 * kI), lane_counts(0, 0, 4, 4)),
            _mm512_set1_epi8(15));
    }
    static __m256i scales(const uint8_t *block) {
        return _mm256_cvtepu8_epi16(six_bit_scales(block + kPartScalesAt));
    }
    static __m256i minimums(const uint8_t *block) {
        return _mm256_cvtepu8_epi16(six_bit_minimums(block + kPartScalesAt));
    }
};

struct Q5_K : FormatFacts<TensorType::kQ5_K> {
    template <uint32_t kI>
    static __m512i columns(const uint8_t *block) {
        const __m512i low = _mm512_and_si512(
            _mm512_srlv_epi16(twice(block + kLowAt + 32 * kI), lane_counts(0, 0, 4, 4)),
            _mm512_set1_epi8(15));
        const __mmask64 fifth =
            _mm512_test_epi8_mask(twice(block + kHighAt), half_bytes(1 << (2 * kI), 2 << (2 * kI)));
        return _mm512_mask_add_epi8(low, fifth, low, _mm512_set1_epi8(16));
    }
    static __m256i scales(const uint8_t *block) {
        return _mm256_cvtepu8_epi16(six_bit_scales(block + kPartScalesAt));
    }
    static __m256i minimums(const uint8_t *block) {
        return _mm256_cvtepu8_epi16(six_bit_minimums(block + kPartScalesAt));
    }
};

struct Q6_K : FormatFacts<TensorType::kQ6_K> {
    template <uint32_t kI>
    static __m512i columns(const uint8_t *block) {
        const __m512i nibbles = load512(block + kLowAt + kI / 2 * 64);
        const __m512i pairs = twice(block + kHighAt + kI / 2 * 32);  // of bits
        const __m512i low = _mm512_and_si512(kI % 2 == 0 ? nibbles : _mm512_srli_epi16(nibbles, 4),
                                             _mm512_set1_epi8(15));
        const __m512i high = kI % 2 == 0 ? _mm512_sllv_epi16(pairs, lane_counts(4, 4, 2, 2))
                                         : _mm512_srlv_epi16(pairs, lane_counts(0, 0, 2, 2));
        return _mm512_ternarylogic_epi32(low, high, _mm512_set1_epi8(0x30), 0xf8);  // a | b & c
    }
    static __m256i scales(const uint8_t *block) {
        return _mm256_cvtepi8_epi16(load128(block + kPartScalesAt));
    }
};
