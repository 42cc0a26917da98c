// Generated products with AVX2, AVX-VNNI and AVX-512: every plan against the reference, bit for
// bit, at every length, every alignment and the limits of the values.
#include "compute/codegen/vector.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "compute/codegen/generators.h"
#include "compute/kernels/instruction_set.h"
#include "compute/numbers/tensor_types.h"
#include "tests/unit/compute/codegen/generated_gemv.h"
#include "tests/unit/compute/random_numbers.h"

namespace bareflow::compute {
namespace {

using testing::about;
using testing::Generated;
using testing::Operands;
using testing::Random;

std::vector<TensorType> vector_types() {
    std::vector<TensorType> types;
    for (uint32_t id = 0; id <= kLastTensorTypeId; ++id) {
        const auto type = static_cast<TensorType>(id);
        if (kVectorGenerator.writes(type, InstructionSet::kAvx2)) {
            types.push_back(type);
        }
    }
    return types;
}

std::vector<InstructionSet> usable_sets() {
    std::vector<InstructionSet> sets;
    for (const InstructionSet set :
         {InstructionSet::kAvx2, InstructionSet::kAvxVnni, InstructionSet::kAvx512}) {
        if (may_use(set)) {
            sets.push_back(set);
        }
    }
    return sets;
}

// Every arrangement of rows and groups, of every instruction set.
std::vector<GemvPlan> all_plans(const GemvShape &shape) {
    std::vector<GemvPlan> plans;
    for (const InstructionSet set : usable_sets()) {
        for (const uint8_t rows : {1, 2, 4, 8}) {
            for (const uint8_t unroll : {1, 2, 4, 8}) {
                const GemvPlan plan = {.rows = rows,
                                       .unroll = unroll,
                                       .set = set,
                                       .ahead = static_cast<uint16_t>(rows * 512)};
                if (can_generate(shape, plan)) {
                    plans.push_back(plan);
                }
            }
        }
    }
    return plans;
}

uint32_t step_of(TensorType type) {
    return tensor_type_info(type).block_elements;
}

TEST(GemvVectorTest, EveryPlanEqualsTheReferenceAtEveryLength) {
    Random random(1);
    for (const TensorType type : vector_types()) {
        const uint32_t step = tensor_type_info(type).block_elements;
        const uint32_t most = step == 32 ? 896 : 2560;
        for (uint32_t cols = step; cols <= most; cols += step) {
            const uint32_t rows = 1 + cols / step % 11;
            ASSERT_NO_FATAL_FAILURE(
                testing::expect_every_plan(all_plans, type, rows, cols, random));
        }
    }
}

// Shapes of real models, with more rows than any plan computes together.
TEST(GemvVectorTest, LongRows) {
    Random random(2);
    for (const TensorType type : vector_types()) {
        for (const uint32_t cols : {2048u, 2304u, 5632u, 4864u, 12288u}) {
            ASSERT_NO_FATAL_FAILURE(testing::expect_every_plan(all_plans, type, 9, cols, random));
        }
    }
}

TEST(GemvVectorTest, AnyAlignment) {
    Random random(3);
    for (const TensorType type : vector_types()) {
        ASSERT_NO_FATAL_FAILURE(testing::expect_any_alignment(all_plans, type, 1, 4, random));
    }
}

TEST(GemvVectorTest, ExtremesDoNotOverflow) {
    const auto some_plans = [](const GemvShape &shape) {
        std::vector<GemvPlan> plans = all_plans(shape);
        std::erase_if(plans, [](const GemvPlan &p) { return p.rows != 2 || p.unroll != 4; });
        return plans;
    };
    for (const TensorType type : vector_types()) {
        ASSERT_NO_FATAL_FAILURE(testing::expect_extremes(some_plans, type));
    }
}

TEST(GemvVectorTest, RandomPlansAndShapes) {
    Random random(4);
    const auto types = vector_types();
    for (int i = 0; i < 300; ++i) {
        const TensorType type = types[random.below(static_cast<uint32_t>(types.size()))];
        ASSERT_NO_FATAL_FAILURE(testing::expect_random_plan(all_plans, type, 1, random));
    }
}

TEST(GemvVectorTest, RoomIsAlwaysEnough) {
    std::vector<uint8_t> out(1 << 20);
    std::vector<uint8_t> constants(kVectorConstantBytes);
    size_t longest = 0;
    for (const TensorType type : vector_types()) {
        for (const InstructionSet set :
             {InstructionSet::kAvx2, InstructionSet::kAvxVnni, InstructionSet::kAvx512}) {
            for (const uint8_t rows : {1, 2, 4, 8}) {
                for (const uint8_t unroll : {1, 2, 4, 8}) {
                    for (const uint32_t blocks : {1u, 15u, 31u, 40u, 48u}) {
                        const GemvPlan plan = {
                            .rows = rows, .unroll = unroll, .set = set, .ahead = 4096};
                        const uint32_t cols = blocks * step_of(type);
                        const GemvShape shape = {type, cols, testing::row_bytes(type, cols)};
                        if (!can_generate(shape, plan)) {
                            continue;
                        }
                        const size_t room = vector_code_room(plan);
                        const auto bytes = generate_gemv(shape, plan, std::span(out).first(room),
                                                         {.room = constants});
                        ASSERT_TRUE(bytes.ok()) << about(type, 1, cols, plan);
                        longest = std::max(longest, bytes.value() * 100 / room);
                    }
                }
            }
        }
    }
    EXPECT_GT(longest, 50u) << "more room than is of use";
    const GemvShape shape = {TensorType::kQ8_0, 64, 68};
    const GemvPlan plan = {.rows = 2, .unroll = 2, .set = InstructionSet::kAvx2};
    EXPECT_FALSE(generate_gemv(shape, plan, std::span(out).first(300), {.room = constants}).ok());
}

TEST(GemvVectorTest, WhatCannotBeGenerated) {
    const GemvPlan plan = {.rows = 2, .unroll = 4, .set = InstructionSet::kAvx2};
    const auto with = [&](uint8_t rows, uint8_t unroll) {
        GemvPlan other = plan;
        other.rows = rows;
        other.unroll = unroll;
        return can_generate({TensorType::kQ8_0, 64, 68}, other);
    };
    EXPECT_TRUE(can_generate({TensorType::kQ8_0, 64, 68}, plan));
    EXPECT_FALSE(can_generate({TensorType::kQ8_0, 0, 0}, plan));
    EXPECT_FALSE(can_generate({TensorType::kQ8_0, 40, 68}, plan));
    EXPECT_FALSE(can_generate({TensorType::kQ8_0, 64, 67}, plan));
    EXPECT_FALSE(can_generate({TensorType::kQ8_0, 64, 1ull << 40}, plan));
    EXPECT_FALSE(can_generate({TensorType::kQ8_0, 1 << 20, 2 << 20}, plan));
    EXPECT_TRUE(can_generate({TensorType::kIQ4_NL, 64, 36}, plan));
    EXPECT_TRUE(can_generate({TensorType::kQ3_K, 256, 110}, plan));
    EXPECT_TRUE(can_generate({TensorType::kQ4_K, 256, 144}, plan));
    EXPECT_FALSE(can_generate({TensorType::kQ4_K, 288, 162}, plan));
    EXPECT_FALSE(can_generate({TensorType::kQ4_K, 256, 144},
                              {.rows = 2, .unroll = 4, .set = InstructionSet::kAvxVnni}));
    EXPECT_TRUE(with(8, 1));
    EXPECT_FALSE(with(8, 2));
    EXPECT_FALSE(with(3, 1));
    EXPECT_FALSE(with(1, 1));
    EXPECT_FALSE(with(16, 1));
    EXPECT_FALSE(with(0, 1));
}

}  // namespace
}  // namespace bareflow::compute
