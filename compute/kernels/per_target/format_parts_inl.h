// Loads from blocks, and the small scales of super-blocks, for AVX2 and AVX-512 kernels. Included
// by avx2/gemv_inl.h and avx512/formats_inl.h; nothing need be defined before.
#pragma once

inline __m128i load128(const void *from) {
    return _mm_loadu_si128(static_cast<const __m128i *>(from));
}
inline __m256i load256(const void *from) {
    return _mm256_loadu_si256(static_cast<const __m256i *>(from));
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
inline uint64_t long_at(const uint8_t *from) {
    uint64_t value;
    __builtin_memcpy(&value, from, sizeof(value));
    return value;
}

// The f16 at `w` + k * kBytes for eight blocks k, in this order.
template <uint32_t kBytes, uint32_t k0, uint32_t k1, uint32_t k2, uint32_t k3, uint32_t k4,
          uint32_t k5, uint32_t k6, uint32_t k7>
inline __m128i halves_of(const uint8_t *w) {
    __m128i out = _mm_cvtsi32_si128(half_at(w + k0 * kBytes));
    out = _mm_insert_epi16(out, half_at(w + k1 * kBytes), 1);
    out = _mm_insert_epi16(out, half_at(w + k2 * kBytes), 2);
    out = _mm_insert_epi16(out, half_at(w + k3 * kBytes), 3);
    out = _mm_insert_epi16(out, half_at(w + k4 * kBytes), 4);
    out = _mm_insert_epi16(out, half_at(w + k5 * kBytes), 5);
    out = _mm_insert_epi16(out, half_at(w + k6 * kBytes), 6);
    return _mm_insert_epi16(out, half_at(w + k7 * kBytes), 7);
}

// PartScales::kSixBits (see weight_blocks.cpp).
constexpr uint64_t kLowNibbles = 0x0f0f0f0f;
constexpr uint64_t kSixBits = 0x3f3f3f3f;
constexpr uint64_t kTwoBits = 0x03030303;
// Eight bytes, each of them twice: a part of 32 columns is two parts of 16.
inline __m128i doubled(uint64_t bytes) {
    const __m128i once = _mm_cvtsi64_si128(static_cast<int64_t>(bytes));
    return _mm_unpacklo_epi8(once, once);
}
inline __m128i six_bit_scales(const uint8_t *s) {
    const uint64_t a = word_at(s);
    const uint64_t c = word_at(s + 8);
    return doubled((a & kSixBits) | ((c & kLowNibbles) | (a >> 6 & kTwoBits) << 4) << 32);
}
inline __m128i six_bit_minimums(const uint8_t *s) {
    const uint64_t b = word_at(s + 4);
    const uint64_t c = word_at(s + 8);
    return doubled((b & kSixBits) | ((c >> 4 & kLowNibbles) | (b >> 6 & kTwoBits) << 4) << 32);
}
// PartScales::kSigned6Bits: the signed scales of sixteen parts.
inline __m128i q3_k_scales(const uint8_t *s) {
    const uint64_t low = long_at(s);
    const uint64_t above = word_at(s + 8);
    const uint64_t first = (above & kTwoBits) | (above >> 2 & kTwoBits) << 32;
    const uint64_t second = (above >> 4 & kTwoBits) | (above >> 6 & kTwoBits) << 32;
    constexpr uint64_t kNibbles = kLowNibbles << 32 | kLowNibbles;
    const __m128i bytes = _mm_set_epi64x(static_cast<int64_t>((low >> 4 & kNibbles) | second << 4),
                                         static_cast<int64_t>((low & kNibbles) | first << 4));
    return _mm_sub_epi8(bytes, _mm_set1_epi8(32));
}
