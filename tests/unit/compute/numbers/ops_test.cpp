// Dot products, exp, norms, RoPE and softmax against scalar twins and the contract's formulas.
#include "compute/numbers/ops.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "compute/numbers/rope_pairing.h"
#include "tests/unit/compute/random_numbers.h"

namespace bareflow::compute {
namespace {

using testing::Random;

// The contract's sum, written as its text has it.
float eight_lane_sum(const std::vector<float> &products) {
    float lane[8] = {};
    for (size_t i = 0; i < products.size(); ++i) {
        lane[i % 8] = lane[i % 8] + products[i];
    }
    float t[4];
    for (int j = 0; j < 4; ++j) {
        t[j] = lane[j] + lane[j + 4];
    }
    const float u0 = t[0] + t[2];
    const float u1 = t[1] + t[3];
    return u0 + u1;
}

TEST(OpsTest, Dot8FollowsTheLanesAtEveryLength) {
    Random random(1);
    for (uint32_t n = 0; n < 200; ++n) {
        const std::vector<float> a = random.floats(n, 10.0f);
        const std::vector<float> b = random.floats(n, 10.0f);
        std::vector<float> products(n);
        for (uint32_t i = 0; i < n; ++i) {
            products[i] = a[i] * b[i];
        }
        ASSERT_EQ(dot8(a.data(), b.data(), n), eight_lane_sum(products)) << n;
    }
}

TEST(OpsTest, Dot8StartsFromPositiveZero) {
    for (uint32_t n = 0; n < 20; ++n) {
        const std::vector<float> zeros(n, 0.0f);
        const std::vector<float> negative(n, -1.0f);
        EXPECT_EQ(std::bit_cast<uint32_t>(dot8(zeros.data(), negative.data(), n)), 0u) << n;
    }
    // Mixed with values that matter, in every lane.
    for (uint32_t lane = 0; lane < 8; ++lane) {
        std::vector<float> a(8, -0.0f);
        const std::vector<float> b(8, 3.0f);
        a[lane] = -1e-45f;
        EXPECT_EQ(dot8(a.data(), b.data(), 8), -1e-45f * 3.0f);
    }
}

// The contract's exp, one float at a time.
float scalar_exp(float x) {
    const float high = x < 88.0f ? x : 88.0f;
    const float v = high > -87.0f ? high : -87.0f;
    const float n = (v * 1.44269504f + 12582912.0f) - 12582912.0f;
    const float r = (v - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    for (const float coefficient : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f,
                                    1.6666665459e-1f, 5.0000001201e-1f}) {
        p = p * r + coefficient;
    }
    const float y = (p * (r * r) + r) + 1.0f;
    return x < -87.0f ? 0.0f : y * std::ldexp(1.0f, static_cast<int>(n));
}

TEST(OpsTest, ExpEqualsItsScalarTwin) {
    for (float x = -90.0f; x < 90.0f; x += 0.00137f) {
        ASSERT_EQ(exp_f32(x), scalar_exp(x)) << x;
    }
    Random random(6);
    for (int i = 0; i < 200000; ++i) {
        const auto x = std::bit_cast<float>(static_cast<uint32_t>(random.next() >> 32));
        ASSERT_EQ(exp_f32(x), scalar_exp(x)) << x;
    }
}

TEST(OpsTest, LoopsOfFourEqualTheirScalarTwins) {
    Random random(7);
    for (uint32_t n = 1; n < 40; ++n) {
        const std::vector<float> a = random.floats(n, 9.0f);
        const std::vector<float> b = random.floats(n, 2.0f);
        std::vector<float> y(n);
        silu_mul(a.data(), b.data(), 0, n, y.data());
        for (uint32_t i = 0; i < n; ++i) {
            ASSERT_EQ(y[i], (a[i] / (1.0f + scalar_exp(-a[i]))) * b[i]);
        }
        rms_norm(a.data(), b.data(), 1e-6f, n, y.data());
        const float scale =
            1.0f / std::sqrt(dot8(a.data(), a.data(), n) / static_cast<float>(n) + 1e-6f);
        for (uint32_t i = 0; i < n; ++i) {
            ASSERT_EQ(y[i], (a[i] * scale) * b[i]);
        }
        y = a;
        softmax(y.data(), n);
        const float max = *std::max_element(a.begin(), a.end());
        std::vector<float> e(n);
        for (uint32_t i = 0; i < n; ++i) {
            e[i] = scalar_exp(a[i] - max);
        }
        const float inverse = 1.0f / eight_lane_sum(e);
        for (uint32_t i = 0; i < n; ++i) {
            ASSERT_EQ(y[i], e[i] * inverse);
        }
    }
}

TEST(OpsTest, ExpIsWithin2ToMinus22) {
    double worst = 0;
    for (double x = -87.0; x <= 88.0; x += 0.0007) {
        const auto argument = static_cast<float>(x);
        const double exact = std::exp(static_cast<double>(argument));
        worst = std::max(worst, std::fabs(exp_f32(argument) - exact) / exact);
    }
    EXPECT_LT(worst, std::ldexp(1.0, -22));
    EXPECT_GT(worst, std::ldexp(1.0, -26));  // the measurement itself works
}

TEST(OpsTest, ExpAtTheEnds) {
    const float inf = std::numeric_limits<float>::infinity();
    EXPECT_EQ(exp_f32(0.0f), 1.0f);
    EXPECT_EQ(exp_f32(-0.0f), 1.0f);
    EXPECT_EQ(exp_f32(-87.001f), 0.0f);
    EXPECT_GT(exp_f32(-87.0f), 0.0f);
    EXPECT_EQ(exp_f32(-inf), 0.0f);
    EXPECT_EQ(exp_f32(1000.0f), exp_f32(88.0f));
    EXPECT_EQ(exp_f32(inf), exp_f32(88.0f));
    EXPECT_EQ(exp_f32(std::numeric_limits<float>::quiet_NaN()), exp_f32(88.0f));
    EXPECT_TRUE(std::isfinite(exp_f32(88.0f)));
    EXPECT_EQ(exp_f32(1e-30f), 1.0f);
}

TEST(OpsTest, RmsNormMatchesItsFormulaAndWorksInPlace) {
    Random random(2);
    for (const uint32_t n : {1u, 7u, 8u, 64u, 288u}) {
        std::vector<float> x = random.floats(n, 4.0f);
        const std::vector<float> w = random.floats(n);
        std::vector<float> y(n);
        rms_norm(x.data(), w.data(), 1e-5f, n, y.data());
        double squares = 0;
        for (const float v : x) {
            squares += static_cast<double>(v) * v;
        }
        const double scale = 1.0 / std::sqrt(squares / n + 1e-5);
        for (uint32_t i = 0; i < n; ++i) {
            EXPECT_NEAR(y[i], x[i] * scale * w[i], 1e-5);
        }
        rms_norm(x.data(), w.data(), 1e-5f, n, x.data());
        EXPECT_EQ(x, y);
    }
}

TEST(OpsTest, RopeRotatesPairs) {
    const uint32_t rotary = 8;
    double inv_freq[rotary / 2];
    rope_frequencies(10000.0, rotary, nullptr, 1.0, inv_freq);
    float cos_sin[rotary];
    for (const uint32_t position : {0u, 1u, 77u, 2047u}) {
        rope_angles(position, inv_freq, rotary / 2, cos_sin);
        float x[10] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
        rope_head(RopePairing::kAdjacent, cos_sin, rotary / 2, x);
        for (uint32_t i = 0; i < rotary / 2; ++i) {
            const double theta = position * std::pow(10000.0, -2.0 * i / rotary);
            const double a = 2 * i + 1;
            const double b = 2 * i + 2;
            EXPECT_NEAR(x[2 * i], a * std::cos(theta) - b * std::sin(theta), 2e-6);
            EXPECT_NEAR(x[2 * i + 1], a * std::sin(theta) + b * std::cos(theta), 2e-6);
        }
        EXPECT_EQ(x[8], 9.0f);  // beyond the rotary part
        EXPECT_EQ(x[9], 10.0f);
    }
}

TEST(OpsTest, RopeFrequenciesArePowersOfTheBase) {
    for (const double base : {1.0, 1.5, 100.0, 10000.0, 500000.0, 1e6, 1e12}) {
        for (const uint32_t rotary : {2u, 4u, 6u, 48u, 64u, 128u, 254u, 512u}) {
            std::vector<double> inv_freq(rotary / 2);
            rope_frequencies(base, rotary, nullptr, 1.0, inv_freq.data());
            EXPECT_EQ(inv_freq[0], 1.0);
            for (uint32_t i = 0; i < rotary / 2; ++i) {
                const auto exact = static_cast<double>(
                    std::pow(static_cast<long double>(base), -2.0L * i / rotary));
                EXPECT_NEAR(inv_freq[i] / exact, 1.0, 1e-13) << base << ", " << i << "/" << rotary;
            }
        }
    }
}

TEST(OpsTest, RopeInHalvesIsRopeOfAnotherOrder) {
    const float divisors[] = {1.0f, 2.0f, 8.0f};
    double plain[3];
    double scaled[3];
    rope_frequencies(500000.0, 6, nullptr, 1.0, plain);
    rope_frequencies(500000.0, 6, divisors, 4.0, scaled);
    for (uint32_t i = 0; i < 3; ++i) {
        EXPECT_EQ(scaled[i], plain[i] / static_cast<double>(divisors[i]) / 4.0);
    }
    float cos_sin[6];
    rope_angles(1234, scaled, 3, cos_sin);
    float adjacent[7] = {1, 4, 2, 5, 3, 6, 7};
    float halves[7] = {1, 2, 3, 4, 5, 6, 7};
    rope_head(RopePairing::kAdjacent, cos_sin, 3, adjacent);
    rope_head(RopePairing::kHalves, cos_sin, 3, halves);
    for (uint32_t i = 0; i < 3; ++i) {
        EXPECT_EQ(halves[i], adjacent[2 * i]);
        EXPECT_EQ(halves[i + 3], adjacent[2 * i + 1]);
    }
    EXPECT_NE(halves[0], 1.0f);
    EXPECT_EQ(halves[6], 7.0f);
}

TEST(OpsTest, SoftmaxSumsToOneAndAnySplitIsTheSame) {
    Random random(3);
    for (uint32_t n = 1; n < 60; ++n) {
        const std::vector<float> x = random.floats(n, 20.0f);
        std::vector<float> whole = x;
        softmax(whole.data(), n);
        double sum = 0;
        double exact_sum = 0;
        const float max = *std::max_element(x.begin(), x.end());
        for (uint32_t t = 0; t < n; ++t) {
            sum += whole[t];
            exact_sum += std::exp(static_cast<double>(x[t]) - max);
        }
        EXPECT_NEAR(sum, 1.0, 1e-5);
        for (uint32_t t = 0; t < n; ++t) {
            EXPECT_NEAR(whole[t], std::exp(static_cast<double>(x[t]) - max) / exact_sum, 1e-6);
        }
        std::vector<float> parts = x;
        SoftmaxState state;
        const uint32_t a = random.below(n + 1);
        softmax_max(parts.data(), 0, a, state);
        softmax_max(parts.data(), a, n, state);
        softmax_exp(parts.data(), 0, a, state);
        softmax_exp(parts.data(), a, n, state);
        const float inverse = softmax_inverse(state);
        softmax_scale(parts.data(), 0, a, inverse);
        softmax_scale(parts.data(), a, n, inverse);
        EXPECT_EQ(parts, whole) << n << " split at " << a;
    }
}

TEST(OpsTest, SiluMulMatchesItsFormula) {
    Random random(4);
    const std::vector<float> g = random.floats(500, 30.0f);
    const std::vector<float> u = random.floats(500, 2.0f);
    std::vector<float> y(500);
    silu_mul(g.data(), u.data(), 0, 123, y.data());
    silu_mul(g.data(), u.data(), 123, 500, y.data());
    for (size_t i = 0; i < 500; ++i) {
        const double exact = g[i] / (1.0 + std::exp(-static_cast<double>(g[i]))) * u[i];
        EXPECT_NEAR(y[i], exact, 1e-5);
    }
    std::vector<float> in_place = g;
    silu_mul(in_place.data(), u.data(), 0, 500, in_place.data());
    EXPECT_EQ(in_place, y);
}

TEST(OpsTest, AddAccumulates) {
    std::vector<float> x = {1.0f, 2.0f, 3.0f};
    const std::vector<float> y = {0.5f, -2.0f, 1e-9f};
    add(y.data(), 3, x.data());
    EXPECT_EQ(x, (std::vector<float>{1.5f, 0.0f, 3.0f}));
}

}  // namespace
}  // namespace bareflow::compute
