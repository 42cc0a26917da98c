#include "llama/engine/log_f32.h"

#include <bit>
#include <cstdint>
#include <limits>

namespace bareflow::llama {

float log_f32(float x) {
    x = x >= std::numeric_limits<float>::min() ? x : std::numeric_limits<float>::min();
    x = x <= std::numeric_limits<float>::max() ? x : std::numeric_limits<float>::max();
    const auto bits = std::bit_cast<uint32_t>(x);
    // x = m * 2^e with m from sqrt(1/2) to sqrt(2).
    auto e = static_cast<float>(static_cast<int32_t>(bits >> 23) - 126);
    float m = std::bit_cast<float>((bits & 0x007fffff) | 0x3f000000);
    if (m < 0.707106781f) {
        e = e - 1.0f;
        m = m + m;
    }
    m = m - 1.0f;
    constexpr float kCoefficients[] = {7.0376836292e-2f,  -1.1514610310e-1f, 1.1676998740e-1f,
                                       -1.2420140846e-1f, 1.4249322787e-1f,  -1.6668057665e-1f,
                                       2.0000714765e-1f,  -2.4999993993e-1f, 3.3333331174e-1f};
    float p = 0.0f;
    for (const float coefficient : kCoefficients) {
        p = p * m + coefficient;
    }
    const float square = m * m;
    float y = (p * m) * square;
    y = y + e * -2.12194440e-4f;
    y = y - square * 0.5f;
    return (m + y) + e * 0.693359375f;
}

}  // namespace bareflow::llama
