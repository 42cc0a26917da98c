#include "llama/ops.h"

#include <bit>

#include "llama/math.h"

namespace bareflow::llama {

float fold_lanes(const float *lane) {
    const float t0 = lane[0] + lane[4];
    const float t1 = lane[1] + lane[5];
    const float t2 = lane[2] + lane[6];
    const float t3 = lane[3] + lane[7];
    return (t0 + t2) + (t1 + t3);
}

float dot8(const float *a, const float *b, uint32_t n) {
    float lane[kLanes] = {};
    const uint32_t whole = n - n % kLanes;
    for (uint32_t i = 0; i < whole; i += kLanes) {
        for (uint32_t j = 0; j < kLanes; ++j) {
            lane[j] = lane[j] + a[i + j] * b[i + j];
        }
    }
    for (uint32_t i = whole; i < n; ++i) {
        lane[i - whole] = lane[i - whole] + a[i] * b[i];
    }
    return fold_lanes(lane);
}

float exp_f32(float x) {
    constexpr float kRoundMagic = 12582912.0f;
    // Clamped by comparisons: one fate for NaN, and 2^n below always has a normal exponent.
    const float high = x < 88.0f ? x : 88.0f;
    const float v = high > -87.0f ? high : -87.0f;
    const float n = (v * 1.44269504f + kRoundMagic) - kRoundMagic;
    const float r = (v - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    const float y = (p * (r * r) + r) + 1.0f;
    // n is -126 .. 127.
    const auto power =
        std::bit_cast<float>(static_cast<uint32_t>((static_cast<int32_t>(n) + 127) << 23));
    return x < -87.0f ? 0.0f : y * power;
}

void rms_norm(const float *x, const float *w, float eps, uint32_t n, float *y) {
    const float mean = dot8(x, x, n) / static_cast<float>(n);
    const float scale = 1.0f / sqrt_f32(mean + eps);
    for (uint32_t i = 0; i < n; ++i) {
        y[i] = (x[i] * scale) * w[i];
    }
}

void rope_frequencies(double base, uint32_t rotary, double *inv_freq) {
    for (uint32_t i = 0; i < rotary / 2; ++i) {
        inv_freq[i] = bf_pow(base, -2.0 * i / rotary);
    }
}

void rope_angles(uint32_t position, const double *inv_freq, uint32_t pairs, float *cos_sin) {
    for (uint32_t i = 0; i < pairs; ++i) {
        const double theta = static_cast<double>(position) * inv_freq[i];
        cos_sin[2 * i] = static_cast<float>(bf_cos(theta));
        cos_sin[2 * i + 1] = static_cast<float>(bf_sin(theta));
    }
}

void rope_head(const float *cos_sin, uint32_t pairs, float *x) {
    for (uint32_t i = 0; i < pairs; ++i) {
        const float c = cos_sin[2 * i];
        const float s = cos_sin[2 * i + 1];
        const float a = x[2 * i];
        const float b = x[2 * i + 1];
        x[2 * i] = a * c - b * s;
        x[2 * i + 1] = a * s + b * c;
    }
}

void add(const float *y, uint32_t n, float *x) {
    for (uint32_t i = 0; i < n; ++i) {
        x[i] = x[i] + y[i];
    }
}

void silu_mul(const float *g, const float *u, uint32_t begin, uint32_t end, float *y) {
    for (uint32_t i = begin; i < end; ++i) {
        y[i] = (g[i] / (1.0f + exp_f32(-g[i]))) * u[i];
    }
}

void softmax_max(const float *x, uint32_t begin, uint32_t end, SoftmaxState &state) {
    if (begin == 0 && end > 0) {
        state.max = x[0];
    }
    for (uint32_t t = begin; t < end; ++t) {
        state.max = x[t] > state.max ? x[t] : state.max;
    }
}

void softmax_exp(float *x, uint32_t begin, uint32_t end, SoftmaxState &state) {
    if (begin == 0) {
        for (float &lane : state.lanes) {
            lane = 0.0f;
        }
    }
    for (uint32_t t = begin; t < end; ++t) {
        x[t] = exp_f32(x[t] - state.max);
        state.lanes[t % kLanes] = state.lanes[t % kLanes] + x[t];
    }
}

float softmax_inverse(const SoftmaxState &state) {
    return 1.0f / fold_lanes(state.lanes);
}

void softmax_scale(float *x, uint32_t begin, uint32_t end, float inverse) {
    for (uint32_t t = begin; t < end; ++t) {
        x[t] = x[t] * inverse;
    }
}

void softmax(float *x, uint32_t n) {
    SoftmaxState state;
    softmax_max(x, 0, n, state);
    softmax_exp(x, 0, n, state);
    softmax_scale(x, 0, n, softmax_inverse(state));
}

void attention_scores(const float *q, const float *keys, uint64_t stride, uint32_t head_size,
                      float scale, uint32_t begin, uint32_t end, float *scores) {
    for (uint32_t t = begin; t < end; ++t) {
        scores[t] = dot8(q, keys + t * stride, head_size) * scale;
    }
}

void attention_mix(const float *p, const float *values, uint64_t stride, uint32_t head_size,
                   uint32_t begin, uint32_t end, float *out) {
    if (begin == 0) {
        __builtin_memset(out, 0, sizeof(float) * head_size);
    }
    for (uint32_t t = begin; t < end; ++t) {
        const float *v = values + t * stride;
        const float weight = p[t];
        for (uint32_t j = 0; j < head_size; ++j) {
            out[j] = out[j] + weight * v[j];
        }
    }
}

}  // namespace bareflow::llama
