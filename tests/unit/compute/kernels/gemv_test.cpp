// Every compiled kernel of every weight type against the portable reference, bit for bit. The
// reference itself is compared with the contract's text in 128-bit integers.
#include "compute/kernels/gemv.h"

#include <gtest/gtest.h>

#include <cmath>

#include "compute/kernels/instruction_set.h"
#include "compute/kernels/portable/gemv.h"
#include "compute/kernels/registry.h"
#include "compute/numbers/ops.h"
#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"
#include "compute/numbers/weight_blocks.h"
#include "tests/unit/compute/fenced.h"
#include "tests/unit/compute/random_numbers.h"

namespace bareflow::compute {
namespace {

// While an object exists, AMX multiplies every product, however small.
class EveryTile {
  public:
    EveryTile() { use_amx_beyond(0); }
    ~EveryTile() { use_amx_beyond(kAmxProducts); }
};

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
        if (variant.matrix != nullptr) {
            // With fewer than twelve vectors the AMX kernel calls AVX-512.
            for (const uint32_t batch : {2u, 8u, 13u}) {
                std::vector<float> y(uint64_t{rows} * batch, 12345.0f);
                const std::vector<QuantizedActivation> same(batch, args.xq);
                variant.matrix({.weights = args.weights,
                                .row_bytes = args.row_bytes,
                                .cols = args.cols,
                                .batch = batch,
                                .x = args.x,
                                .x_stride = 0,
                                .xq = same.data(),
                                .y = y.data(),
                                .y_stride = rows},
                               0, rows);
                for (uint32_t b = 0; b < batch; ++b) {
                    ASSERT_EQ(memcmp(y.data() + b * rows, reference.data(), rows * sizeof(float)),
                              0)
                        << variant.name << " matrix";
                }
            }
        }
    }
}

TEST(KernelsTest, EveryVariantEqualsTheReferenceAtEveryLength) {
    const EveryTile every_tile;
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
    const EveryTile every_tile;
    constexpr uint16_t kGreatest = 0x7bff;  // stands for the greatest scale of the type
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

// Zeros, denormals and both signs, so that the shortcut for eight normal f16 is and is not used.
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

// The variants are not only equal: their results are close to the exact product.
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

// Rows [begin, rows) for several random vectors equal the reference for each vector, and nothing
// else is written.
void expect_matrix_kernels_agree(TensorType type, const std::vector<uint8_t> &weights,
                                 uint32_t rows, uint32_t begin, uint32_t cols, uint32_t batch,
                                 Random &random) {
    const std::vector<float> x = random.floats(batch * (cols + 3), 3.0f);
    std::vector<ActivationBuffer> buffers;
    std::vector<QuantizedActivation> xq;
    for (uint32_t b = 0; b < batch; ++b) {
        auto buffer = ActivationBuffer::create(cols);
        ASSERT_TRUE(buffer.ok());
        buffers.push_back(std::move(buffer).value());
        xq.push_back(buffers.back().view(cols));
        quantize_activation(x.data() + b * (cols + 3), xq.back(), kFormPairs | kFormQuads, 0,
                            group_count(cols));
    }
    const uint64_t y_stride = rows + 2;
    std::vector<float> expected(batch * y_stride, 12345.0f);
    GemmArgs args{.weights = weights.data(),
                  .row_bytes = testing::row_bytes(type, cols),
                  .cols = cols,
                  .batch = batch,
                  .x = x.data(),
                  .x_stride = cols + 3,
                  .xq = xq.data(),
                  .y = expected.data(),
                  .y_stride = y_stride};
    run_gemm(gemv_variants(type)[0].kernel, nullptr, args, begin, rows);
    for (const GemvVariant &variant : gemv_variants(type)) {
        std::vector<float> y(expected.size(), 12345.0f);
        args.y = y.data();
        run_gemm(variant.kernel, variant.matrix, args, begin, rows);
        ASSERT_EQ(memcmp(y.data(), expected.data(), y.size() * sizeof(float)), 0)
            << variant.name << " type " << static_cast<int>(type) << " batch " << batch << " cols "
            << cols << " rows " << begin << ".." << rows;
    }
}

// Large enough for AMX under the program's own limits.
TEST(KernelsTest, LargeMatricesOfSeveralVectors) {
    Random random(9);
    for (const TensorType type : kAllTypes) {
        const std::vector<uint8_t> weights = testing::random_weights(type, 1100, 512, random);
        for (const uint32_t batch : {8u, 16u}) {
            expect_matrix_kernels_agree(type, weights, 1100, 3, 512, batch, random);
        }
    }
}

// One vector and every remainder of rows, for kernels that read several parts of a matrix as
// streams. There are more columns than are prepared at a time, and a short last group.
TEST(KernelsTest, ManyRowsOfOneVector) {
    Random random(10);
    for (const TensorType type : kAllTypes) {
        const bool super = tensor_type_info(type).block_elements == kGroupElements;
        for (const uint32_t cols : {super ? 256u : 288u, super ? 8704u : 8480u}) {
            const uint32_t most = cols < 1000 ? 265 : 258;
            const auto weights = testing::random_weights(type, most, cols, random);
            for (uint32_t rows = cols < 1000 ? 253 : most; rows <= most; ++rows) {
                expect_matrix_kernels_agree(type, weights, rows, 0, cols, 1, random);
                expect_matrix_kernels_agree(type, weights, rows, rows - 7, cols, 1, random);
            }
        }
    }
}

// Several vectors at once, in every number up to more than one pass.
TEST(KernelsTest, MatrixKernelsEqualTheReferenceForEveryVector) {
    const EveryTile every_tile;
    Random random(5);
    for (const TensorType type : kAllTypes) {
        const uint32_t step = tensor_type_info(type).block_elements;
        for (uint32_t batch = 1; batch <= 129; batch += batch < 34 ? 1 : batch < 67 ? 11 : 31) {
            const uint32_t cols = step == 256 ? 256 * (1 + batch % 3)
                                  : step == 1 ? 1 + batch * 37 % 600
                                              : 32 * (1 + batch * 5 % 19);
            const uint32_t rows = 1 + batch * 29 % 83;
            const uint32_t begin = batch * 7 % rows;
            const std::vector<uint8_t> weights = testing::random_weights(type, rows, cols, random);
            expect_matrix_kernels_agree(type, weights, rows, begin, cols, batch, random);
        }
    }
}

// Scales of a row that are close together and far apart, with both kinds of rows next to each
// other: AMX sums some rows in 24 bits and some not, and some are just below the limit.
TEST(KernelsTest, MatrixKernelsWithScalesOfEverySpread) {
    const EveryTile every_tile;
    Random random(7);
    for (const TensorType type : kAllTypes) {
        const TensorTypeInfo &info = tensor_type_info(type);
        if (info.scales == 0) {
            continue;
        }
        const uint32_t most = info.scale_limit >> 10;  // exponent
        for (uint32_t spread = 0; spread <= 12; ++spread) {
            for (const bool extreme : {false, true}) {
                const uint32_t cols = info.block_elements == 256 ? 768 : 704;
                const uint32_t rows = 35;
                auto weights = testing::random_weights(type, rows, cols, random);
                if (extreme) {
                    for (uint8_t &byte : weights) {
                        byte = random.below(2) == 0 ? 0x80 : 0x7f;
                    }
                }
                const uint64_t row_bytes = testing::row_bytes(type, cols);
                for (size_t at = 0; at < weights.size(); at += info.block_bytes) {
                    const bool far = at / row_bytes % 7 == 3;
                    for (uint32_t i = 0; i < info.scales; ++i) {
                        const uint32_t range = far ? most : spread + 1 < most ? spread + 1 : most;
                        const uint32_t exponent = most - range + random.below(range);
                        const uint32_t fraction = extreme ? 0x3ff : random.below(0x400);
                        testing::put_u16(
                            weights, at + info.scale_offset + 2 * i,
                            static_cast<uint16_t>(exponent << 10 | fraction |
                                                  (random.below(2) == 0 ? 0x8000u : 0u)));
                    }
                }
                for (const uint32_t batch : {3u, 8u, 13u, 33u}) {
                    SCOPED_TRACE(::testing::Message() << "spread " << spread);
                    expect_matrix_kernels_agree(type, weights, rows, 0, cols, batch, random);
                }
            }
        }
    }
}

// Operands that touch an inaccessible page with their first byte, then with their last one.
TEST(KernelsTest, NothingIsReadOrWrittenBesideTheOperands) {
    const EveryTile every_tile;
    Random random(6);
    for (const TensorType type : kAllTypes) {
        const uint32_t step = tensor_type_info(type).block_elements;
        for (const uint32_t blocks : {1u, 2u, 3u, 7u, 8u, 9u, 16u, 21u}) {
            const uint32_t cols = step * blocks;
            for (const bool at_start : {false, true}) {
                const uint32_t rows = 1 + blocks;
                const uint64_t bytes = testing::row_bytes(type, cols);
                const auto random_weights = testing::random_weights(type, rows, cols, random);
                const uint64_t group_blocks = (cols + 31) / 32;
                testing::Fenced weights(bytes * rows, at_start);
                testing::Fenced x(cols * sizeof(float), at_start);
                testing::Fenced q(group_blocks * 32, at_start);
                testing::Fenced sums(group_blocks * sizeof(int32_t), at_start);
                testing::Fenced scales(group_count(cols) * sizeof(float), at_start);
                testing::Fenced pairs(group_blocks * 128, at_start);
                testing::Fenced quads(group_blocks * 64, at_start);
                testing::Fenced y(rows * sizeof(float), at_start);
                std::copy(random_weights.begin(), random_weights.end(), weights.as<uint8_t>());
                const auto values = random.floats(cols);
                std::copy(values.begin(), values.end(), x.as<float>());
                const QuantizedActivation xq = {.count = cols,
                                                .q = q.as<int8_t>(),
                                                .block_sums = sums.as<int32_t>(),
                                                .group_scales = scales.as<float>(),
                                                .pairs = pairs.as<uint64_t>(),
                                                .quads = quads.as<uint64_t>()};
                quantize_activation(x.as<float>(), xq, kFormPairs | kFormQuads, 0,
                                    group_count(cols));
                std::vector<float> expected(rows);
                for (const GemvVariant &variant : gemv_variants(type)) {
                    const QuantizedActivation each[] = {xq, xq, xq, xq, xq, xq, xq, xq};
                    for (const uint32_t batch : {1u, 3u, 8u}) {
                        const GemmArgs args{.weights = weights.as<uint8_t>(),
                                            .row_bytes = bytes,
                                            .cols = cols,
                                            .batch = batch,
                                            .x = x.as<float>(),
                                            .x_stride = 0,
                                            .xq = each,
                                            .y = y.as<float>(),
                                            .y_stride = 0};
                        run_gemm(variant.kernel, variant.matrix, args, 0, rows);
                        if (variant.name == "portable") {
                            std::copy_n(y.as<float>(), rows, expected.data());
                        }
                        ASSERT_EQ(memcmp(y.as<float>(), expected.data(), rows * sizeof(float)), 0)
                            << variant.name << " type " << static_cast<int>(type);
                    }
                }
            }
        }
    }
}

CpuFeatures with(std::initializer_list<CpuFeature> features) {
    CpuFeatures out;
    for (const CpuFeature feature : features) {
        out.usable |= uint64_t{1} << static_cast<int>(feature);
    }
    out.present = ~uint64_t{0};  // CPUID has them, but XCR0 does not: they must not count
    return out;
}

TEST(KernelChoiceTest, NothingIsAskedOfAProcessorThatItLacks) {
    using enum CpuFeature;
    const CpuFeatures none = with({});
    EXPECT_TRUE(can_run(InstructionSet::kSse2, none));
    EXPECT_FALSE(can_run(InstructionSet::kSsse3, none));
    EXPECT_FALSE(can_run(InstructionSet::kAvx2, none));
    EXPECT_TRUE(can_run(InstructionSet::kSsse3, with({kSsse3})));
    EXPECT_TRUE(can_run(InstructionSet::kAvx2, with({kAvx2, kFma, kF16c})));
    EXPECT_FALSE(can_run(InstructionSet::kAvxVnni, with({kAvx2, kFma, kF16c})));
    EXPECT_TRUE(can_run(InstructionSet::kAvxVnni, with({kAvx2, kFma, kF16c, kAvxVnni})));
    const std::vector<CpuFeature> all = {kAvx2,     kFma,      kF16c,     kAvx512F,
                                         kAvx512Bw, kAvx512Dq, kAvx512Vl, kAvx512Vnni};
    for (size_t missing = 0; missing <= all.size(); ++missing) {
        CpuFeatures features = with({});
        for (size_t i = 0; i < all.size(); ++i) {
            if (i != missing) {
                features.usable |= uint64_t{1} << static_cast<int>(all[i]);
            }
        }
        EXPECT_EQ(can_run(InstructionSet::kAvx512, features), missing == all.size());
        EXPECT_FALSE(can_run(InstructionSet::kAmx, features));
        features.usable |= uint64_t{1} << static_cast<int>(kAmxTile);
        EXPECT_FALSE(can_run(InstructionSet::kAmx, features));
        features.usable |= uint64_t{1} << static_cast<int>(kAmxInt8);
        EXPECT_EQ(can_run(InstructionSet::kAmx, features), missing == all.size());
    }
}

TEST(KernelChoiceTest, ALimitTakesVariantsOutOfTheLists) {
    for (const TensorType type : kAllTypes) {
        size_t before = 0;
        for (const std::string_view name : {"sse2", "ssse3", "avx2", "avx_vnni", "avx512", "amx"}) {
            const auto set = instruction_set_named(name);
            ASSERT_TRUE(set.has_value());
            limit_instruction_set(*set);
            const std::span<const GemvVariant> variants = gemv_variants(type);
            EXPECT_EQ(variants[0].name, "portable");
            EXPECT_GE(variants.size(), before);
            before = variants.size();
            for (const GemvVariant &variant : variants) {
                EXPECT_LE(variant.needs, *set);
                EXPECT_TRUE(can_run(variant.needs, cpu_features()));
            }
            EXPECT_EQ(&gemv_rule_of_thumb(type), &variants.back());
        }
        limit_instruction_set(InstructionSet::kSse2);
        EXPECT_EQ(kernel_for(type).needs, InstructionSet::kSse2);
        limit_instruction_set(InstructionSet::kAmx);
    }
    EXPECT_FALSE(instruction_set_named("AVX2").has_value());
    EXPECT_FALSE(instruction_set_named("").has_value());
}

}  // namespace
}  // namespace bareflow::compute
