// Loads eight weights of F32, F16 or BF16 as floats. Included behind format_parts_inl.h, as
// avx2/gemv_inl.h says; nothing need be defined before.
#pragma once

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
