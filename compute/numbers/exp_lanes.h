// exp_f32 (ops.h) in every lane of a vector, for the compiler's vectors of any width.
//
// Integer instructions do all that they can do exactly, because float operations are slow, above
// all in an emulator. Vectors are passed by reference, so that callers may be compiled for wider
// vectors than this file.
#pragma once

#include <cstdint>

namespace bareflow::compute {

// Added to the bits of a magnitude, it sets the top bit if the magnitude is 64 or more, or a NaN.
inline constexpr int32_t kModerateToTop = 0x3d800000;  // 2^31 less the bits of 64.0f

// `moderate`: all magnitudes are below 64. Integers has as many int32 as Floats has floats.
template <typename Floats, typename Integers>
[[gnu::always_inline]] inline void exp_lanes(const Floats &x, bool moderate, Floats &result) {
    constexpr float kRound = 12582912.0f;
    constexpr int32_t kRoundBits = 0x4b400000;
    Floats v = x;
    if (!moderate) {
        // Comparisons clamp, so that a NaN becomes 88, and 2^n below has a normal exponent.
        const Floats high = x < 88.0f ? x : Floats{} + 88.0f;
        v = high > -87.0f ? high : Floats{} - 87.0f;
    }
    const Floats rounded = v * 1.44269504f + kRound;
    const Floats n = rounded - kRound;
    const Floats r = (v - n * 0.693359375f) - n * -2.12194440e-4f;
    Floats p = Floats{} + 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    const Floats y = (p * (r * r) + r) + 1.0f;
    // n, an integer of -126 .. 127, is the difference of the bits.
    const Integers exponent = (__builtin_bit_cast(Integers, rounded) - kRoundBits) << 23;
    if (moderate) {
        // y is from 0.7 to 1.5 and |n| is at most 92: no exponent overflows or underflows.
        result = __builtin_bit_cast(Floats, __builtin_bit_cast(Integers, y) + exponent);
        return;
    }
    const Floats scaled = y * __builtin_bit_cast(Floats, exponent + (127 << 23));
    result = x < -87.0f ? Floats{} : scaled;
}

}  // namespace bareflow::compute
