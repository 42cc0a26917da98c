// Four or eight floats at once, for the inner loops, in the compiler's vector types (SSE2, which
// every x86-64 has). Each element goes through the same IEEE operations in the same order as in a
// scalar loop, so results have the same bits. An emulator calls a function for every float
// instruction: four floats then cost one call. Eight floats are the contract's eight lanes (ops.h).
#pragma once

#include <bit>
#include <cstdint>

namespace bareflow::compute {

using F32x4 = float __attribute__((vector_size(16)));
using I32x4 = int32_t __attribute__((vector_size(16)));

inline F32x4 load4(const float *from) {
    F32x4 value;
    __builtin_memcpy(&value, from, sizeof(value));
    return value;
}
inline void store4(float *to, F32x4 value) {
    __builtin_memcpy(to, &value, sizeof(value));
}
inline F32x4 splat4(float value) {
    return F32x4{value, value, value, value};
}

inline F32x4 without_negative_zero(F32x4 value) {
    const auto bits = std::bit_cast<I32x4>(value);
    return std::bit_cast<F32x4>(bits & ~(bits == INT32_MIN));
}

// Lanes 0-3 and 4-7.
struct Lanes {
    F32x4 low = {};
    F32x4 high = {};

    // The first product: lane_j = +0 + a_j * b_j. Adding +0 only turns a -0 into +0; integer
    // instructions do that faster.
    static Lanes of_product(const float *a, const float *b) {
        return {without_negative_zero(load4(a) * load4(b)),
                without_negative_zero(load4(a + 4) * load4(b + 4))};
    }
    // lane_j = lane_j + a_j * b_j
    void add_product(const float *a, const float *b) {
        low = low + load4(a) * load4(b);
        high = high + load4(a + 4) * load4(b + 4);
    }
    void add(F32x4 a, F32x4 b) {
        low = low + a;
        high = high + b;
    }
    // One more element, into lane `index`.
    void add_at(uint32_t index, float value) {
        if (index < 4) {
            low[index] = low[index] + value;
        } else {
            high[index - 4] = high[index - 4] + value;
        }
    }
    // The contract's sum: t_j = lane_j + lane_j+4, u_j = t_j + t_j+2, u_0 + u_1.
    [[nodiscard]] float fold() const {
        const F32x4 t = low + high;
        const F32x4 u = t + __builtin_shufflevector(t, t, 2, 3, 2, 3);
        return u[0] + u[1];
    }
};

}  // namespace bareflow::compute
