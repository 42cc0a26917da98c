// The references of the float operations, four floats at a time (vec.h). The order of every
// addition is part of the numeric contract.
#include "compute/numbers/ops.h"

#include <array>
#include <bit>

#include "compute/numbers/exp_lanes.h"
#include "compute/numbers/math.h"
#include "compute/numbers/vec.h"

namespace bareflow::compute {
namespace {

// Whether all magnitudes are below 64; a NaN's is not. Integer additions carry into the top bit.
inline bool all_moderate(F32x4 x) {
    const auto words = std::bit_cast<std::array<uint64_t, 2>>(x);
    constexpr uint64_t kMagnitudes = 0x7fffffff7fffffff;
    constexpr uint64_t kToTop = uint64_t{kModerateToTop} << 32 | kModerateToTop;
    return ((((words[0] & kMagnitudes) + kToTop) | ((words[1] & kMagnitudes) + kToTop)) &
            ~kMagnitudes) == 0;
}

inline F32x4 exp4(F32x4 x) {
    F32x4 result;
    exp_lanes<F32x4, I32x4>(x, all_moderate(x), result);
    return result;
}

inline F32x4 silu_mul4(F32x4 g, F32x4 u) {
    return (g / (1.0f + exp4(-g))) * u;
}

}  // namespace

float fold_lanes(const float *lane) {
    return Lanes{load4(lane), load4(lane + 4)}.fold();
}

float dot8(const float *a, const float *b, uint32_t n) {
    const uint32_t whole = n - n % kLanes;
    Lanes lanes = whole == 0 ? Lanes{} : Lanes::of_product(a, b);
    for (uint32_t i = kLanes; i < whole; i += kLanes) {
        lanes.add_product(a + i, b + i);
    }
    for (uint32_t i = whole; i < n; ++i) {
        lanes.add_at(i - whole, a[i] * b[i]);
    }
    return lanes.fold();
}

float exp_f32(float x) {
    return exp4(splat4(x))[0];
}

void rms_norm(const float *x, const float *w, float eps, uint32_t n, float *y) {
    const float mean = dot8(x, x, n) / static_cast<float>(n);
    const float scale = 1.0f / sqrt_f32(mean + eps);
    uint32_t i = 0;
    for (; i + 4 <= n; i += 4) {
        store4(y + i, (load4(x + i) * scale) * load4(w + i));
    }
    for (; i < n; ++i) {
        y[i] = (x[i] * scale) * w[i];
    }
}

namespace {

// base^(-1/n), base >= 1. Newton's method for base * r^n = 1 starts at 1 and decreases until a step
// no longer makes the root smaller.
double inverse_root(double base, uint32_t n) {
    const auto degree = static_cast<double>(n);
    for (double root = 1.0;;) {
        double product = base;
        for (uint32_t i = 0; i < n; ++i) {
            product *= root;
        }
        const double next = root * ((degree - 1.0) / degree + 1.0 / (degree * product));
        if (!(next < root)) {
            return root;
        }
        root = next;
    }
}

}  // namespace

void rope_frequencies(double base, uint32_t rotary, const float *divisors, double factor,
                      double *inv_freq) {
    const double root = inverse_root(base, rotary / 2);
    double power = 1.0;
    for (uint32_t i = 0; i < rotary / 2; ++i, power *= root) {
        const double divisor = divisors == nullptr ? 1.0 : static_cast<double>(divisors[i]);
        inv_freq[i] = power / divisor / factor;
    }
}

void rope_angles(uint32_t position, const double *inv_freq, uint32_t pairs, float *cos_sin) {
    for (uint32_t i = 0; i < pairs; ++i) {
        const double theta = static_cast<double>(position) * inv_freq[i];
        cos_sin[2 * i] = static_cast<float>(bf_cos(theta));
        cos_sin[2 * i + 1] = static_cast<float>(bf_sin(theta));
    }
}

void rope_head(RopePairing pairing, const float *cos_sin, uint32_t pairs, float *x) {
    const bool adjacent = pairing == RopePairing::kAdjacent;
    const uint32_t partner = adjacent ? 1 : pairs;
    for (uint32_t i = 0; i < pairs; ++i, x += adjacent ? 2 : 1) {
        const float c = cos_sin[2 * i];
        const float s = cos_sin[2 * i + 1];
        const float a = x[0];
        const float b = x[partner];
        x[0] = a * c - b * s;
        x[partner] = a * s + b * c;
    }
}

void add(const float *y, uint32_t n, float *x) {
    uint32_t i = 0;
    for (; i + 4 <= n; i += 4) {
        store4(x + i, load4(x + i) + load4(y + i));
    }
    for (; i < n; ++i) {
        x[i] = x[i] + y[i];
    }
}

void silu_mul(const float *g, const float *u, uint32_t begin, uint32_t end, float *y) {
    uint32_t i = begin;
    for (; i + 4 <= end; i += 4) {
        store4(y + i, silu_mul4(load4(g + i), load4(u + i)));
    }
    for (; i < end; ++i) {
        y[i] = silu_mul4(splat4(g[i]), splat4(u[i]))[0];
    }
}

void softmax_max(const float *x, uint32_t begin, uint32_t end, SoftmaxState &state) {
    if (begin == 0 && end > 0) {
        state.max = x[0];
    }
    float max = state.max;
    for (uint32_t t = begin; t < end; ++t) {
        max = x[t] > max ? x[t] : max;
    }
    state.max = max;
}

void softmax_exp(float *x, uint32_t begin, uint32_t end, SoftmaxState &state) {
    if (begin == 0) {
        for (float &lane : state.lanes) {
            lane = 0.0f;
        }
    }
    uint32_t t = begin;
    const auto one = [&] {
        x[t] = exp_f32(x[t] - state.max);
        state.lanes[t % kLanes] = state.lanes[t % kLanes] + x[t];
        ++t;
    };
    while (t < end && t % kLanes != 0) {
        one();
    }
    Lanes lanes{load4(state.lanes), load4(state.lanes + 4)};
    for (; t + kLanes <= end; t += kLanes) {
        const F32x4 low = exp4(load4(x + t) - state.max);
        const F32x4 high = exp4(load4(x + t + 4) - state.max);
        store4(x + t, low);
        store4(x + t + 4, high);
        lanes.add(low, high);
    }
    store4(state.lanes, lanes.low);
    store4(state.lanes + 4, lanes.high);
    while (t < end) {
        one();
    }
}

float softmax_inverse(const SoftmaxState &state) {
    return 1.0f / fold_lanes(state.lanes);
}

void softmax_scale(float *x, uint32_t begin, uint32_t end, float inverse) {
    uint32_t t = begin;
    for (; t + 4 <= end; t += 4) {
        store4(x + t, load4(x + t) * inverse);
    }
    for (; t < end; ++t) {
        x[t] = x[t] * inverse;
    }
}

void softmax(float *x, uint32_t n) {
    SoftmaxState state;
    softmax_max(x, 0, n, state);
    softmax_exp(x, 0, n, state);
    softmax_scale(x, 0, n, softmax_inverse(state));
}

}  // namespace bareflow::compute
