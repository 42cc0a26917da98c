// f16 and quantised activations against their definitions, written with the host's arithmetic and
// the functions of the C++ library.
#include "compute/numbers/quant.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "compute/numbers/tensor_types.h"
#include "compute/numbers/weight_blocks.h"
#include "tests/unit/compute/random_numbers.h"

namespace bareflow::compute {
namespace {

using testing::Random;

// The definition, in the wide arithmetic of the host.
double f16_value(uint16_t half) {
    const int exponent = (half >> 10) & 31;
    const int fraction = half & 0x3ff;
    const double magnitude =
        exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
    return (half & 0x8000) != 0 ? -magnitude : magnitude;
}

TEST(QuantTest, WidensEveryF16Exactly) {
    for (uint32_t half = 0; half < 0x10000; ++half) {
        const float wide = f16_to_f32(static_cast<uint16_t>(half));
        if ((half & 0x7c00) == 0x7c00) {
            const uint32_t expected =
                ((half & 0x8000u) << 16) | 0x7f800000u | ((half & 0x3ff) << 13);
            EXPECT_EQ(std::bit_cast<uint32_t>(wide), expected) << half;
        } else {
            EXPECT_EQ(static_cast<double>(wide), f16_value(static_cast<uint16_t>(half))) << half;
            EXPECT_EQ(std::signbit(wide), half >= 0x8000) << half;
        }
    }
}

TEST(QuantTest, MantissaTimes2ToMinus24IsTheF16) {
    for (uint32_t half = 0; half < 0x10000; ++half) {
        const double value = f16_value(static_cast<uint16_t>(half));
        if (std::fabs(value) < 128) {
            const int32_t mantissa = f16_mantissa(static_cast<uint16_t>(half));
            EXPECT_EQ(std::ldexp(mantissa, -24), value) << half;
        }
    }
}

// The contract's text, written with the functions of the C++ library.
void expect_quantized(const std::vector<float> &x) {
    const auto count = static_cast<uint32_t>(x.size());
    auto buffer = ActivationBuffer::create(count);
    ASSERT_TRUE(buffer.ok());
    const QuantizedActivation out = buffer->view(count);
    quantize_activation(x.data(), out, kFormPairs | kFormQuads, 0, group_count(count));
    const uint32_t blocks = (count + 31) / 32;
    for (uint32_t begin = 0; begin < count; begin += 256) {
        const uint32_t end = std::min(begin + 256, count);
        float amax = 0;
        for (uint32_t i = begin; i < end; ++i) {
            amax = std::max(amax, std::fabs(x[i]));
        }
        const bool zero = amax < std::ldexp(1.0f, -100);
        const float scale = zero ? 0.0f : amax / 127.0f;
        EXPECT_EQ(out.group_scales[begin / 256], scale * std::ldexp(1.0f, -24));
        for (uint32_t i = begin; i < end; ++i) {
            const float expected = zero ? 0.0f : std::nearbyint(x[i] * (127.0f / amax));
            ASSERT_EQ(out.q[i], static_cast<int>(expected)) << i;
        }
    }
    for (uint32_t i = count; i < blocks * 32; ++i) {
        EXPECT_EQ(out.q[i], 0);
    }
    for (uint32_t block = 0; block < blocks; ++block) {
        const int8_t *q = out.q + block * 32;
        int sum = 0;
        for (uint32_t i = 0; i < 32; ++i) {
            sum += q[i];
        }
        EXPECT_EQ(out.block_sums[block], sum);
        // Each packed word is the polynomial that the header states.
        for (uint32_t k = 0; k < 4; ++k) {
            for (uint32_t i = 0; i < 4; ++i) {
                const __int128 word =
                    q[8 * k + i + 4] + (static_cast<__int128>(q[8 * k + i]) << 32);
                ASSERT_EQ(out.pairs[block * 16 + 4 * k + i], static_cast<uint64_t>(word));
            }
        }
        for (uint32_t k = 0; k < 2; ++k) {
            for (uint32_t i = 0; i < 4; ++i) {
                const uint32_t e = 8 * k + i / 2 + 16 * (i % 2);
                const __int128 word = q[e + 6] + (static_cast<__int128>(q[e + 4]) << 16) +
                                      (static_cast<__int128>(q[e + 2]) << 32) +
                                      (static_cast<__int128>(q[e]) << 48);
                ASSERT_EQ(out.quads[block * 8 + 4 * k + i], static_cast<uint64_t>(word));
            }
        }
    }
}

TEST(QuantTest, ActivationsFollowTheContractAtEveryLength) {
    Random random(1);
    for (uint32_t count = 1; count <= 600; count += count < 70 ? 1 : 13) {
        expect_quantized(random.floats(count, 3.0f));
    }
}

TEST(QuantTest, ActivationsAtTheExtremes) {
    Random random(2);
    for (const float scale : {0.0f, 1e-45f, 1e-38f, 7e-31f, 8e-31f, 1e-10f, 1e20f, 3.4e38f}) {
        expect_quantized(random.floats(300, scale));
    }
    std::vector<float> x(256, 0.0f);
    x[3] = std::numeric_limits<float>::max();
    x[4] = -std::numeric_limits<float>::max();
    expect_quantized(x);
    x.assign(256, std::ldexp(1.0f, -100));  // the smallest group that is not zero
    expect_quantized(x);
    x.assign(256, std::nextafter(std::ldexp(1.0f, -100), 0.0f));
    expect_quantized(x);
    // Ties: exactly between two integers goes to the even one.
    x.assign(256, 0.0f);
    x[0] = 127.0f;
    for (int i = 1; i < 255; ++i) {
        x[static_cast<size_t>(i)] = static_cast<float>(i - 127) + 0.5f;
    }
    expect_quantized(x);
}

TEST(QuantTest, NanAndInfinityHaveOneFate) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const float inf = std::numeric_limits<float>::infinity();
    auto buffer = ActivationBuffer::create(4);
    ASSERT_TRUE(buffer.ok());
    const QuantizedActivation out = buffer->view(4);
    const float with_nan[4] = {nan, 1.0f, -1.0f, -nan};
    quantize_activation(with_nan, out, 0, 0, 1);
    EXPECT_EQ(out.q[0], -127);
    EXPECT_EQ(out.q[1], 127);
    EXPECT_EQ(out.q[2], -127);
    EXPECT_EQ(out.q[3], -127);
    const float with_inf[4] = {inf, -inf, 1.0f, 0.0f};
    quantize_activation(with_inf, out, 0, 0, 1);
    EXPECT_EQ(out.q[0], -127);  // inf * (127 / inf)
    EXPECT_EQ(out.q[2], 0);
}

TEST(QuantTest, GroupsMayBeDoneInAnySplit) {
    Random random(3);
    const std::vector<float> x = random.floats(1000);
    auto whole = ActivationBuffer::create(1000);
    auto parts = ActivationBuffer::create(1000);
    ASSERT_TRUE(whole.ok() && parts.ok());
    const QuantizedActivation a = whole->view(1000);
    const QuantizedActivation b = parts->view(1000);
    quantize_activation(x.data(), a, kFormPairs, 0, 4);
    quantize_activation(x.data(), b, kFormPairs, 2, 4);
    quantize_activation(x.data(), b, kFormPairs, 0, 1);
    quantize_activation(x.data(), b, kFormPairs, 1, 2);
    EXPECT_EQ(memcmp(a.q, b.q, 1000), 0);
    EXPECT_EQ(memcmp(a.pairs, b.pairs, 500 * 8), 0);
    EXPECT_EQ(memcmp(a.group_scales, b.group_scales, 16), 0);
}

TEST(QuantTest, DequantizesRows) {
    Random random(4);
    const uint32_t cols = 96;
    std::vector<float> y(cols);

    const auto q8 = testing::random_weights(TensorType::kQ8_0, 1, cols, random);
    dequantize_row(TensorType::kQ8_0, q8.data(), cols, y.data());
    const auto q4 = testing::random_weights(TensorType::kQ4_0, 1, cols, random);
    std::vector<float> y4(cols);
    dequantize_row(TensorType::kQ4_0, q4.data(), cols, y4.data());
    const auto q41 = testing::random_weights(TensorType::kQ4_1, 1, cols, random);
    std::vector<float> y41(cols);
    dequantize_row(TensorType::kQ4_1, q41.data(), cols, y41.data());
    for (uint32_t i = 0; i < cols; ++i) {
        const uint32_t b = i / 32;
        const uint32_t e = i % 32;
        const uint8_t *p = q8.data() + b * 34;
        EXPECT_EQ(y[i],
                  static_cast<float>(static_cast<int8_t>(p[2 + e])) * f16_to_f32(load_u16(p)));
        p = q4.data() + b * 18;
        int nibble = e < 16 ? p[2 + e] & 15 : p[2 + e - 16] >> 4;
        EXPECT_EQ(y4[i], static_cast<float>(nibble - 8) * f16_to_f32(load_u16(p)));
        p = q41.data() + b * 20;
        nibble = e < 16 ? p[4 + e] & 15 : p[4 + e - 16] >> 4;
        const float product = static_cast<float>(nibble) * f16_to_f32(load_u16(p));
        EXPECT_EQ(y41[i], product + f16_to_f32(load_u16(p + 2)));
    }

    const uint8_t halves[] = {0x00, 0x3c, 0x01, 0x00, 0x00, 0xc0};
    dequantize_row(TensorType::kF16, halves, 3, y.data());
    EXPECT_EQ(y[0], 1.0f);
    EXPECT_EQ(y[1], std::ldexp(1.0f, -24));
    EXPECT_EQ(y[2], -2.0f);
    const std::vector<float> floats = random.floats(5);
    dequantize_row(TensorType::kF32, reinterpret_cast<const uint8_t *>(floats.data()), 5, y.data());
    EXPECT_EQ(memcmp(y.data(), floats.data(), 20), 0);
}

}  // namespace
}  // namespace bareflow::compute
