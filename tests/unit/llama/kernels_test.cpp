#include "llama/kernels.h"

#include <gtest/gtest.h>

#include <cmath>

#include "llama/ops.h"
#include "llama/weight_blocks.h"
#include "tests/unit/llama/random_numbers.h"

namespace bareflow::llama {
namespace {

using testing::Random;

constexpr TensorType kAllTypes[] = {
    TensorType::kF32,  TensorType::kF16,  TensorType::kBF16, TensorType::kQ8_0,   TensorType::kQ4_0,
    TensorType::kQ4_1, TensorType::kQ5_0, TensorType::kQ5_1, TensorType::kIQ4_NL, TensorType::kQ2_K,
    TensorType::kQ3_K, TensorType::kQ4_K, TensorType::kQ5_K, TensorType::kQ6_K};

struct Operands {
    std::vector<uint8_t> weights;
    std::vector<float> x;
    ActivationBuffer buffer;
    GemvArgs args;
};

void prepare(Operands &operands, TensorType type, uint32_t cols) {
    auto buffer = ActivationBuffer::create(cols);
    ASSERT_TRUE(buffer.ok());
    operands.buffer = std::move(buffer).value();
    operands.args.weights = operands.weights.data();
    operands.args.row_bytes = testing::row_bytes(type, cols);
    operands.args.cols = cols;
    operands.args.x = operands.x.data();
    operands.args.xq = operands.buffer.view(cols);
    quantize_activation(operands.x.data(), operands.args.xq, kFormPairs | kFormQuads, 0,
                        group_count(cols));
}

// The contract's text for one row, in 128-bit integers. What a block holds is taken from
// unpack_block (compared with the reference implementation in tests/golden/test_dequantize.py).
float expected_row(TensorType type, const GemvArgs &args, uint32_t row) {
    const TensorTypeInfo &info = tensor_type_info(type);
    const uint8_t *block = args.weights + row * args.row_bytes;
    const auto mantissa = [](uint16_t f16) {
        return static_cast<__int128>(std::ldexp(f16_to_f32(f16), 24));
    };
    float y = 0.0f;
    for (uint32_t group = 0; group < args.cols; group += 256) {
        __int128 total = 0;
        for (uint32_t b = group; b < std::min(group + 256, args.cols);
             b += info.block_elements, block += info.block_bytes) {
            UnpackedBlock u;
            unpack_block(type, block, u);
            for (uint32_t i = 0; i < info.block_elements; ++i) {
                const __int128 scaled = mantissa(u.d) * u.scales[i / 16] * u.weights[i];
                total += (scaled - mantissa(u.dmin) * u.minimums[i / 16]) * args.xq.q[b + i];
            }
        }
        EXPECT_LE(total < 0 ? -total : total, static_cast<__int128>(1) << 53);
        y = y + static_cast<float>(static_cast<int64_t>(total)) * args.xq.group_scales[group / 256];
    }
    return y;
}

// Every variant, whole and in parts, equals the first one, which equals the contract's text.
void expect_all_variants_agree(TensorType type, const Operands &operands, uint32_t rows) {
    const std::span<const GemvVariant> variants = gemv_variants(type);
    std::vector<float> reference(rows, -1.0f);
    GemvArgs args = operands.args;
    args.y = reference.data();
    variants[0].kernel(args, 0, rows);
    if (takes_quantized(type)) {
        for (uint32_t row = 0; row < rows; ++row) {
            ASSERT_EQ(reference[row], expected_row(type, args, row)) << "row " << row;
        }
    }
    for (const GemvVariant &variant : variants) {
        for (uint32_t split = 0; split <= rows; ++split) {
            std::vector<float> y(rows + 1, 12345.0f);
            args.y = y.data();
            variant.kernel(args, split, rows);
            if (split > 0) {
                EXPECT_EQ(y[split - 1], 12345.0f);  // nothing outside the range
            }
            EXPECT_EQ(y[rows], 12345.0f);
            variant.kernel(args, 0, split);
            y.resize(rows);
            ASSERT_EQ(memcmp(y.data(), reference.data(), rows * sizeof(float)), 0)
                << variant.name << " split at " << split << " of " << rows;
        }
    }
}

TEST(KernelsTest, EveryVariantEqualsTheReferenceAtEveryLength) {
    Random random(1);
    for (const TensorType type : kAllTypes) {
        const uint32_t step = tensor_type_info(type).block_elements;
        for (uint32_t cols = step; cols <= (step == 1 ? 67 : 1280); cols += step) {
            const uint32_t rows = 1 + cols / step % 5;
            Operands operands;
            operands.weights = testing::random_weights(type, rows, cols, random);
            operands.x = random.floats(cols, 5.0f);
            prepare(operands, type, cols);
            SCOPED_TRACE(::testing::Message() << static_cast<int>(type) << " cols " << cols);
            expect_all_variants_agree(type, operands, rows);
        }
    }
}

// Values that fill every field of every word: weights at either end against activations at either
// end, in every arrangement of signs that repeats within a word or a block.
TEST(KernelsTest, ExtremesDoNotOverflow) {
    constexpr uint16_t kGreatest = 0x7bff;  // below the type's limit; or with a sign its negative
    const uint16_t scales[] = {
        kGreatest, kGreatest | 0x8000,
        0x0001,  // the smallest denormal
        0x83ff,  // the greatest negative denormal
        0x0400,  // the smallest normal
        0x0000,    0x8000,
    };
    const uint8_t fills[] = {0x80, 0x7f, 0xff, 0x00, 0xf0, 0x0f, 0x88};
    for (const TensorType type : kAllTypes) {
        const TensorTypeInfo &info = tensor_type_info(type);
        for (const uint32_t cols : {32u, 256u, 288u, 512u}) {
            if (info.scales == 0 || cols % info.block_elements != 0) {
                continue;
            }
            for (const uint16_t scale : scales) {
                for (const uint8_t fill : fills) {
                    for (uint32_t signs = 0; signs < 6; ++signs) {
                        Operands operands;
                        operands.weights.assign(testing::row_bytes(type, cols) * 3, fill);
                        const uint16_t sign = scale & 0x8000;
                        const bool greatest = (scale & 0x7fff) == kGreatest;
                        const auto bits =
                            static_cast<uint16_t>(greatest ? sign | (info.scale_limit - 1) : scale);
                        for (size_t at = info.scale_offset; at < operands.weights.size();
                             at += info.block_bytes) {
                            testing::put_u16(operands.weights, at, bits);
                            if (info.scales == 2) {
                                // Both products with the same sign.
                                const uint16_t flip = info.block_elements == 256 ? 0x8000 : 0;
                                testing::put_u16(operands.weights, at + 2, bits ^ flip);
                            }
                        }
                        operands.x.resize(cols);
                        for (uint32_t i = 0; i < cols; ++i) {
                            const bool negative = signs == 0   ? false
                                                  : signs == 1 ? true
                                                               : (i >> (signs - 2) & 1) != 0;
                            operands.x[i] = negative ? -2.5f : 2.5f;
                        }
                        prepare(operands, type, cols);
                        ASSERT_EQ(std::abs(operands.args.xq.q[0]), 127);
                        expect_all_variants_agree(type, operands, 3);
                    }
                }
            }
        }
    }
}

TEST(KernelsTest, MisalignedWeights) {
    Random random(2);
    for (const TensorType type : kAllTypes) {
        const uint32_t alignment = type == TensorType::kF32 ? 4 : 1;
        for (uint32_t shift = 0; shift < 9; shift += alignment) {
            Operands operands;
            const uint32_t cols = tensor_type_info(type).block_elements == 256 ? 256 : 96;
            operands.weights = testing::random_weights(type, 2, cols, random);
            operands.x = random.floats(cols);
            operands.weights.insert(operands.weights.begin(), shift, 0xee);
            prepare(operands, type, cols);
            operands.args.weights += shift;
            expect_all_variants_agree(type, operands, 2);
        }
    }
}

// Zeros, denormals, both signs: the shortcut for eight normal halves is taken and not taken.
TEST(KernelsTest, F16WeightsOfEveryKind) {
    Random random(3);
    const uint32_t cols = 0x7c00;
    Operands operands;
    operands.weights.resize(cols * 4);
    for (uint32_t i = 0; i < cols; ++i) {
        testing::put_u16(operands.weights, 2 * i, static_cast<uint16_t>(i));
        testing::put_u16(operands.weights, 2 * (cols + i), static_cast<uint16_t>(0x8000 | i));
    }
    operands.x = random.floats(cols);
    prepare(operands, TensorType::kF16, cols);
    expect_all_variants_agree(TensorType::kF16, operands, 2);
    std::vector<float> wide(cols);
    dequantize_row(TensorType::kF16, operands.weights.data(), cols, wide.data());
    EXPECT_EQ(dot8_f16(operands.weights.data(), operands.x.data(), cols),
              dot8(wide.data(), operands.x.data(), cols));
}

// Not only equal to one another: close to what the weights mean.
TEST(KernelsTest, ResultsAreCloseToFloat64) {
    Random random(4);
    for (const TensorType type : kAllTypes) {
        const TensorTypeInfo &info = tensor_type_info(type);
        const uint32_t cols = info.block_elements == 256 ? 768 : 544;
        Operands operands;
        operands.weights = testing::random_weights(type, 1, cols, random);
        for (size_t at = 0; info.scales != 0 && at < operands.weights.size();
             at += info.block_bytes) {
            testing::put_u16(operands.weights, at + info.scale_offset, 0x2000);  // 2^-7
            if (info.scales == 2) {
                testing::put_u16(operands.weights, at + info.scale_offset + 2,
                                 info.block_elements == 256 ? 0x2400 : 0xa400);
            }
        }
        operands.x = random.floats(cols);
        prepare(operands, type, cols);
        std::vector<float> w(cols);
        dequantize_row(type, operands.weights.data(), cols, w.data());
        double exact = 0;
        double magnitude = 0;
        for (uint32_t i = 0; i < cols; ++i) {
            exact += static_cast<double>(w[i]) * operands.x[i];
            magnitude += std::fabs(static_cast<double>(w[i]) * operands.x[i]);
        }
        float y = 0;
        GemvArgs args = operands.args;
        args.y = &y;
        kernel_for(type).kernel(args, 0, 1);
        EXPECT_NEAR(y, exact, magnitude * (takes_quantized(type) ? 2e-3 : 1e-5))
            << static_cast<int>(type);
    }
}

}  // namespace
}  // namespace bareflow::llama
