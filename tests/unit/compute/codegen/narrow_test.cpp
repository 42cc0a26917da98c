// Generated products with vectors of 128 bits: every plan against the reference, bit for bit, at
// every length, every alignment and the limits of the values.
#include "compute/codegen/narrow.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "compute/codegen/generators.h"
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

bool narrow_writes(TensorType type, InstructionSet set) {
    return generator_for(type, PlanKind::kNarrow, set) != nullptr;
}

std::vector<TensorType> narrow_types() {
    std::vector<TensorType> types;
    for (uint32_t id = 0; id <= kLastTensorTypeId; ++id) {
        const auto type = static_cast<TensorType>(id);
        if (narrow_writes(type, InstructionSet::kSse2) ||
            narrow_writes(type, InstructionSet::kSsse3)) {
            types.push_back(type);
        }
    }
    return types;
}

std::vector<GemvPlan> all_plans(const GemvShape &shape) {
    std::vector<GemvPlan> plans;
    for (const InstructionSet set : {InstructionSet::kSse2, InstructionSet::kSsse3}) {
        for (const uint8_t unroll : {1, 2}) {
            const GemvPlan plan = {.rows = 4,
                                   .unroll = unroll,
                                   .set = set,
                                   .ahead = static_cast<uint16_t>(unroll * 512 - 512),
                                   .narrow = true};
            if (may_use(set) && can_generate(shape, plan)) {
                plans.push_back(plan);
            }
        }
    }
    return plans;
}

// F32 weights lie at multiples of four (compute/kernels/gemv.h).
uint32_t aligned(TensorType type) {
    return type == TensorType::kF32 ? 4 : 1;
}

TEST(GemvNarrowTest, EveryTypeHasOne) {
    EXPECT_EQ(narrow_types().size(), 14u);
    for (const TensorType type : narrow_types()) {
        EXPECT_EQ(narrow_writes(type, InstructionSet::kSse2), type != TensorType::kIQ4_NL);
    }
    EXPECT_FALSE(narrow_writes(TensorType::kQ8_0, InstructionSet::kAvx2));
}

TEST(GemvNarrowTest, EveryPlanEqualsTheReferenceAtEveryLength) {
    Random random(1);
    for (const TensorType type : narrow_types()) {
        const uint32_t step = tensor_type_info(type).block_elements;
        const uint32_t most = step == 1 ? 70 : step == 32 ? 896 : 2560;
        for (uint32_t cols = step; cols <= most; cols += step) {
            const uint32_t rows = 1 + cols / step % 11;
            ASSERT_NO_FATAL_FAILURE(
                testing::expect_every_plan(all_plans, type, rows, cols, random));
        }
    }
}

// Shapes of real models, with more rows than any plan computes together.
TEST(GemvNarrowTest, LongRows) {
    Random random(2);
    for (const TensorType type : narrow_types()) {
        for (const uint32_t cols : {2048u, 2304u, 5632u, 16384u}) {
            ASSERT_NO_FATAL_FAILURE(testing::expect_every_plan(all_plans, type, 9, cols, random));
        }
    }
}

TEST(GemvNarrowTest, AnyAlignment) {
    Random random(3);
    for (const TensorType type : narrow_types()) {
        ASSERT_NO_FATAL_FAILURE(
            testing::expect_any_alignment(all_plans, type, aligned(type), 16, random));
    }
}

TEST(GemvNarrowTest, ExtremesDoNotOverflow) {
    for (const TensorType type : narrow_types()) {
        if (tensor_type_info(type).scales != 0) {  // no float
            ASSERT_NO_FATAL_FAILURE(testing::expect_extremes(all_plans, type));
        }
    }
}

TEST(GemvNarrowTest, RandomPlansAndShapes) {
    Random random(4);
    const auto types = narrow_types();
    for (int i = 0; i < 300; ++i) {
        const TensorType type = types[random.below(static_cast<uint32_t>(types.size()))];
        ASSERT_NO_FATAL_FAILURE(testing::expect_random_plan(all_plans, type, 4, random));
    }
}

TEST(GemvNarrowTest, RoomIsAlwaysEnough) {
    std::vector<uint8_t> out(kNarrowCodeRoom);
    std::vector<uint8_t> constants(kNarrowConstantBytes);
    size_t longest = 0;
    for (const TensorType type : narrow_types()) {
        for (const InstructionSet set : {InstructionSet::kSse2, InstructionSet::kSsse3}) {
            for (const uint8_t unroll : {1, 2}) {
                for (const uint32_t blocks : {1u, 7u, 15u, 40u, 48u}) {
                    const GemvPlan plan = {
                        .rows = 4, .unroll = unroll, .set = set, .ahead = 4096, .narrow = true};
                    const uint32_t cols = blocks * tensor_type_info(type).block_elements;
                    const GemvShape shape = {type, cols, testing::row_bytes(type, cols)};
                    if (!can_generate(shape, plan)) {
                        continue;
                    }
                    const auto bytes = generate_gemv(shape, plan, out, {.room = constants});
                    ASSERT_TRUE(bytes.ok()) << about(type, 1, cols, plan);
                    longest = std::max(longest, bytes.value());
                }
            }
        }
    }
    EXPECT_GT(longest, kNarrowCodeRoom / 2) << "more room than is of use";
    const GemvShape shape = {TensorType::kQ8_0, 64, 68};
    const GemvPlan plan = {.rows = 4, .unroll = 1, .narrow = true};
    EXPECT_FALSE(generate_gemv(shape, plan, std::span(out).first(300), {.room = constants}).ok());
}

TEST(GemvNarrowTest, WhatCannotBeGenerated) {
    const auto can = [](const GemvShape &shape, uint8_t rows, uint8_t unroll,
                        InstructionSet set = InstructionSet::kSse2) {
        return can_generate(shape, {.rows = rows, .unroll = unroll, .set = set, .narrow = true});
    };
    EXPECT_TRUE(can({TensorType::kQ8_0, 64, 68}, 4, 1));
    EXPECT_FALSE(can({TensorType::kQ8_0, 0, 0}, 4, 1));
    EXPECT_FALSE(can({TensorType::kQ8_0, 40, 68}, 4, 1));
    EXPECT_FALSE(can({TensorType::kQ8_0, 64, 67}, 4, 1));
    EXPECT_FALSE(can({TensorType::kQ8_0, 64, 1ull << 40}, 4, 1));
    EXPECT_FALSE(can({TensorType::kQ8_0, 64, 68}, 2, 1));
    EXPECT_FALSE(can({TensorType::kQ8_0, 64, 68}, 4, 4));
    EXPECT_FALSE(can({TensorType::kQ4_K, 256, 144}, 4, 2));
    EXPECT_FALSE(can({TensorType::kQ4_K, 128, 144}, 4, 1));
    EXPECT_FALSE(can({TensorType::kIQ4_NL, 64, 36}, 4, 1));
    EXPECT_TRUE(can({TensorType::kIQ4_NL, 64, 36}, 4, 1, InstructionSet::kSsse3));
    EXPECT_TRUE(can({TensorType::kF32, 1, 4}, 4, 1));
}

}  // namespace
}  // namespace bareflow::compute
