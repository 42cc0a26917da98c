// Generated products with F32, F16 and BF16 weights: every plan against the reference, bit for bit,
// at every length and with values of every kind.
#include "compute/codegen/floats.h"

#include <gtest/gtest.h>

#include <bit>
#include <vector>

#include "compute/kernels/instruction_set.h"
#include "compute/numbers/tensor_types.h"
#include "tests/unit/compute/codegen/generated_gemv.h"
#include "tests/unit/compute/random_numbers.h"

namespace bareflow::compute {
namespace {

using testing::about;
using testing::expect_twin;
using testing::Generated;
using testing::Operands;
using testing::Random;

constexpr TensorType kTypes[] = {TensorType::kF32, TensorType::kF16, TensorType::kBF16};

// Plans of AVX2, and those of SSE2 (compute/codegen/narrow.h), which are tested here as well.
std::vector<GemvPlan> all_plans(const GemvShape &shape) {
    std::vector<GemvPlan> plans;
    const auto offer = [&](const GemvPlan &plan) {
        if (may_use(plan.set) && can_generate(shape, plan)) {
            plans.push_back(plan);
        }
    };
    for (const uint8_t rows : {1, 2, 4, 8}) {
        for (const uint8_t unroll : {1, 2, 4, 8}) {
            const auto ahead = static_cast<uint16_t>(rows * 512 - 512);
            offer({.rows = rows, .unroll = unroll, .set = InstructionSet::kAvx2, .ahead = ahead});
            offer({.rows = rows,
                   .unroll = unroll,
                   .set = InstructionSet::kSse2,
                   .ahead = ahead,
                   .narrow = true});
        }
    }
    return plans;
}

TEST(GemvFloatTest, WhatCanBeGenerated) {
    const auto can = [](TensorType type, uint32_t cols, uint64_t row_bytes, uint8_t rows,
                        uint8_t unroll, InstructionSet set) {
        return can_generate({type, cols, row_bytes}, {.rows = rows, .unroll = unroll, .set = set});
    };
    EXPECT_TRUE(can(TensorType::kF32, 1, 4, 8, 1, InstructionSet::kAvx2));
    EXPECT_TRUE(can(TensorType::kF16, 7, 14, 1, 8, InstructionSet::kAvx2));
    EXPECT_FALSE(can(TensorType::kF16, 7, 13, 1, 8, InstructionSet::kAvx2));
    EXPECT_FALSE(can(TensorType::kBF16, 0, 0, 1, 8, InstructionSet::kAvx2));
    EXPECT_FALSE(can(TensorType::kBF16, 8, uint64_t{1} << 40, 1, 8, InstructionSet::kAvx2));
    EXPECT_FALSE(can(TensorType::kF16, 8, 16, 4, 4, InstructionSet::kAvx2));
    EXPECT_FALSE(can(TensorType::kF16, 8, 16, 3, 1, InstructionSet::kAvx2));
    EXPECT_FALSE(can(TensorType::kF16, 8, 16, 4, 1, InstructionSet::kAvx512));
    EXPECT_FALSE(kFloatGenerator.writes(TensorType::kQ8_0, InstructionSet::kAvx2));
}

TEST(GemvFloatTest, EveryPlanEqualsTheReferenceAtEveryLength) {
    Random random(1);
    for (const TensorType type : kTypes) {
        for (uint32_t cols = 1; cols <= 140; ++cols) {
            ASSERT_NO_FATAL_FAILURE(
                testing::expect_every_plan(all_plans, type, 1 + cols % 19, cols, random));
        }
    }
}

TEST(GemvFloatTest, LongRowsAndManyOfThem) {
    Random random(2);
    for (const TensorType type : kTypes) {
        for (const uint32_t cols : {2048u, 2304u, 5632u, 16384u}) {
            ASSERT_NO_FATAL_FAILURE(testing::expect_every_plan(all_plans, type, 9, cols, random));
        }
        for (const uint32_t rows : {255u, 256u, 257u, 300u, 1024u}) {
            ASSERT_NO_FATAL_FAILURE(testing::expect_every_plan(all_plans, type, rows, 24, random));
        }
    }
}

TEST(GemvFloatTest, AnyAlignment) {
    Random random(3);
    for (const TensorType type : kTypes) {
        const uint32_t aligned = type == TensorType::kF32 ? 4 : 1;  // compute/kernels/gemv.h
        ASSERT_NO_FATAL_FAILURE(
            testing::expect_any_alignment(all_plans, type, aligned, 16, random));
    }
}

TEST(GemvFloatTest, RandomPlansAndShapes) {
    Random random(4);
    for (uint32_t i = 0; i < 200; ++i) {
        ASSERT_NO_FATAL_FAILURE(testing::expect_random_plan(all_plans, kTypes[i % 3], 4, random));
    }
}

// Every f16 and every bf16 that is a number, and floats of every size.
TEST(GemvFloatTest, EveryNumberOfSixteenBits) {
    for (const TensorType type : {TensorType::kF16, TensorType::kBF16}) {
        constexpr uint32_t kCols = 1024;
        constexpr uint32_t kRows = 64;
        Operands operands(type, kRows, kCols);
        auto *const weights = operands.weights.as<uint16_t>();
        for (uint32_t i = 0; i < kCols * kRows; ++i) {
            const uint32_t exponents = type == TensorType::kF16 ? 0x7c00 : 0x7f80;
            // The numbers of a row are of about one size; otherwise the greatest would hide the
            // others.
            const uint32_t bits = i % kRows * kCols + i / kRows;
            weights[bits] = static_cast<uint16_t>((bits & exponents) == exponents ? 0 : bits);
        }
        Random random(5);
        operands.quantize(random.floats(kCols));
        const GemvShape shape = {type, kCols, operands.args.row_bytes};
        for (const GemvPlan &plan : all_plans(shape)) {
            const Generated generated(shape, plan);
            expect_twin(generated.kernel(), operands, kRows, type);
        }
    }
}

// Products and sums that overflow, cancel, vanish or have no value.
TEST(GemvFloatTest, FloatsAtTheirLimits) {
    Random random(6);
    const float limits[] = {3.4e38f, -3.4e38f, 1e-38f, -1e-45f, 0.0f, -0.0f, 1.0f, -65504.0f};
    for (const TensorType type : kTypes) {
        for (uint32_t cols = 1; cols < 40; ++cols) {
            constexpr uint32_t kRows = 7;
            Operands operands(type, kRows, cols);
            for (uint32_t i = 0; i < kRows * cols; ++i) {
                const float value = limits[random.below(8)];
                const auto bits = std::bit_cast<uint32_t>(value);
                if (type == TensorType::kF32) {
                    operands.weights.as<float>()[i] = value;
                } else {
                    operands.weights.as<uint16_t>()[i] = type == TensorType::kF16
                                                             ? f32_to_f16(value)
                                                             : static_cast<uint16_t>(bits >> 16);
                }
            }
            for (uint32_t i = 0; i < cols; ++i) {
                operands.x.as<float>()[i] = limits[random.below(8)];
            }
            const GemvShape shape = {type, cols, operands.args.row_bytes};
            for (const GemvPlan &plan : all_plans(shape)) {
                SCOPED_TRACE(about(type, kRows, cols, plan));
                const Generated generated(shape, plan);
                expect_twin(generated.kernel(), operands, kRows, type);
                if (HasFatalFailure()) {
                    return;
                }
            }
        }
    }
}

// The tails make the longest code, since they stand one after the other.
TEST(GemvFloatTest, RoomIsAlwaysEnough) {
    std::vector<uint8_t> out(1 << 16);
    for (const TensorType type : kTypes) {
        for (const uint8_t rows : {1, 2, 4, 8}) {
            for (const uint8_t unroll : {1, 2, 4, 8}) {
                const GemvPlan plan = {
                    .rows = rows, .unroll = unroll, .set = InstructionSet::kAvx2, .ahead = 4096};
                const uint32_t cols = 3 * unroll * 8 - 1;
                const GemvShape shape = {type, cols, testing::row_bytes(type, cols)};
                if (can_generate(shape, plan)) {
                    const auto room = std::span(out).first(kFloatGenerator.code_room(plan));
                    EXPECT_TRUE(generate_gemv(shape, plan, room, {}).ok())
                        << about(type, 1, cols, plan);
                }
            }
        }
    }
}

}  // namespace
}  // namespace bareflow::compute
