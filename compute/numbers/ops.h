// The float operations of a transformer in the arithmetic of
// docs/decisions/0001-numeric-contract.md: eight virtual lanes for every sum, no contraction, an
// exp of our own. These are the references: every faster version must have their bits.
//
// Vectors are f32, dense, any alignment. Nothing allocates, fails or traps; NaN and infinity pass
// through. "In place" says which output may be the same array as which input; others don't overlap.
// Operations that can take long are called for ranges, and the caller keeps their state, so that it
// can stop between two ranges. Any split gives the same bits.
#pragma once

#include <cstdint>

#include "compute/numbers/rope_pairing.h"

namespace bareflow::compute {

// The contract's lanes.
inline constexpr uint32_t kLanes = 8;

// Adds up the eight lanes in the contract's order.
[[nodiscard]] float fold_lanes(const float *lane);

// sum of a_i * b_i over n: element i into lane i mod 8, lanes folded pairwise.
[[nodiscard]] float dot8(const float *a, const float *b, uint32_t n);

// e^x, relative error below 2^-22. 0 below -87, e^88 above 88 (NaN counts as above).
[[nodiscard]] float exp_f32(float x);

// y_i = (x_i * scale) * w_i, scale = 1 / sqrt(dot8(x, x) / n + eps). In place: y = x.
void rms_norm(const float *x, const float *w, float eps, uint32_t n, float *y);

// inv_freq_i = base^(-2i / rotary), base >= 1, i < rotary / 2, in float64. It is computed as powers
// of one root, with a relative error below 1e-13. It is divided by divisors[i] unless `divisors` is
// nullptr, then by `factor` unless that is 1. Once for a model.
void rope_frequencies(double base, uint32_t rotary, const float *divisors, double factor,
                      double *inv_freq);
// cos_sin[2i], cos_sin[2i + 1] = f32(cos theta), f32(sin theta), theta = position * inv_freq_i, for
// i < pairs. Once for a position.
void rope_angles(uint32_t position, const double *inv_freq, uint32_t pairs, float *cos_sin);
// Rotates the pairs of one head, i < pairs, in place: (x_2i, x_2i+1) or (x_i, x_i+pairs).
void rope_head(RopePairing pairing, const float *cos_sin, uint32_t pairs, float *x);

// x_i += y_i.
void add(const float *y, uint32_t n, float *x);

// y_i = (g_i / (1 + exp(-g_i))) * u_i for i in [begin, end). In place: y = g or y = u.
void silu_mul(const float *g, const float *u, uint32_t begin, uint32_t end, float *y);

// softmax over x[0..n) in three passes, each in ranges in increasing order.
struct SoftmaxState {
    float max = 0.0f;
    float lanes[kLanes] = {};
};
void softmax_max(const float *x, uint32_t begin, uint32_t end, SoftmaxState &state);
// x_t = exp(x_t - max), and the sum of them into lanes.
void softmax_exp(float *x, uint32_t begin, uint32_t end, SoftmaxState &state);
// 1 / sum.
[[nodiscard]] float softmax_inverse(const SoftmaxState &state);
// x_t = x_t * inverse.
void softmax_scale(float *x, uint32_t begin, uint32_t end, float inverse);
// All three, over everything.
void softmax(float *x, uint32_t n);

}  // namespace bareflow::compute
