#include "llama/gemv_vector.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "llama/gemv_plans.h"
#include "tests/unit/llama/generated_gemv.h"
#include "tests/unit/llama/random_numbers.h"

namespace bareflow::llama {
namespace {

using testing::expect_twin;
using testing::Generated;
using testing::Operands;
using testing::Random;

std::vector<TensorType> vector_types() {
    std::vector<TensorType> types;
    for (uint32_t id = 0; id <= kLastTensorTypeId; ++id) {
        if (can_generate_vector_type(static_cast<TensorType>(id), InstructionSet::kAvx2)) {
            types.push_back(static_cast<TensorType>(id));
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

// Every arrangement of rows and groups that there is, of every set.
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

::testing::Message about(TensorType type, uint32_t rows, uint32_t cols, const GemvPlan &plan) {
    return ::testing::Message() << tensor_type_info(type).name << " " << rows << "x" << cols
                                << " set " << static_cast<int>(plan.set) << " r" << int{plan.rows}
                                << " u" << int{plan.unroll} << " p" << plan.ahead;
}

uint32_t step_of(TensorType type) {
    return tensor_type_info(type).block_elements;
}

TEST(GemvVectorTest, EveryPlanEqualsTheReferenceAtEveryLength) {
    Random random(1);
    for (const TensorType type : vector_types()) {
        const uint32_t step = step_of(type);
        for (uint32_t cols = step; cols <= (step == 32 ? 896 : 2560); cols += step) {
            const uint32_t rows = 1 + cols / step % 11;
            Operands operands(type, rows, cols);
            const auto weights = testing::random_weights(type, rows, cols, random);
            std::copy(weights.begin(), weights.end(), operands.weights.as<uint8_t>());
            operands.quantize(random.floats(cols, 3.0f));
            const GemvShape shape = {type, cols, operands.args.row_bytes};
            for (const GemvPlan &plan : all_plans(shape)) {
                SCOPED_TRACE(about(type, rows, cols, plan));
                const Generated generated(shape, plan);
                ASSERT_NE(generated.kernel(), nullptr);
                expect_twin(generated.kernel(), operands, rows, type);
                if (HasFatalFailure()) {
                    return;
                }
            }
        }
    }
}

// Shapes of real models, with more rows than any plan has at once.
TEST(GemvVectorTest, LongRows) {
    Random random(2);
    for (const TensorType type : vector_types()) {
        for (const uint32_t cols : {2048u, 2304u, 5632u, 4864u, 12288u}) {
            const uint32_t rows = 9;
            Operands operands(type, rows, cols);
            const auto weights = testing::random_weights(type, rows, cols, random);
            std::copy(weights.begin(), weights.end(), operands.weights.as<uint8_t>());
            operands.quantize(random.floats(cols, 3.0f));
            const GemvShape shape = {type, cols, operands.args.row_bytes};
            for (const GemvPlan &plan : all_plans(shape)) {
                SCOPED_TRACE(about(type, rows, cols, plan));
                const Generated generated(shape, plan);
                expect_twin(generated.kernel(), operands, rows, type);
                if (HasFatalFailure()) {
                    return;
                }
            }
        }
    }
}

// Right behind a page that cannot be touched, and at any distance from it.
TEST(GemvVectorTest, AnyAlignment) {
    Random random(3);
    for (const TensorType type : vector_types()) {
        const uint32_t cols = step_of(type) == 32 ? 352 : 512;
        const uint32_t rows = 6;
        const auto weights = testing::random_weights(type, rows, cols, random);
        Operands operands(type, rows, cols);
        operands.quantize(random.floats(cols));
        const GemvShape shape = {type, cols, operands.args.row_bytes};
        for (const GemvPlan &plan : all_plans(shape)) {
            const Generated generated(shape, plan);
            for (uint32_t shift = 0; shift < 5; ++shift) {
                SCOPED_TRACE(about(type, rows, cols, plan) << " shift " << shift);
                testing::Fenced memory(weights.size() + shift, true);
                uint8_t *const at = memory.as<uint8_t>() + shift;
                std::copy(weights.begin(), weights.end(), at);
                operands.args.weights = at;
                expect_twin(generated.kernel(), operands, rows, type);
                if (HasFatalFailure()) {
                    return;
                }
            }
        }
    }
}

// Weights and activations at either end of their range, in every arrangement of signs that repeats
// within a word or a block, and scales of every kind.
TEST(GemvVectorTest, ExtremesDoNotOverflow) {
    const uint8_t fills[] = {0x80, 0x7f, 0xff, 0x00, 0xf0, 0x0f, 0x88, 0x77};
    constexpr uint32_t kRows = 3;
    for (const TensorType type : vector_types()) {
        const TensorTypeInfo &info = tensor_type_info(type);
        const auto most = static_cast<uint16_t>(info.scale_limit - 1);
        const uint16_t scales[] = {
            most, static_cast<uint16_t>(most | 0x8000), 0x0001, 0x83ff, 0x0400, 0x0000};
        const uint32_t cols = step_of(type) == 32 ? 288 : 512;
        const GemvShape shape = {type, cols, testing::row_bytes(type, cols)};
        std::vector<std::unique_ptr<Generated>> kernels;
        for (const GemvPlan &plan : all_plans(shape)) {
            if (plan.rows == 2 && plan.unroll == 4) {
                kernels.push_back(std::make_unique<Generated>(shape, plan));
            }
        }
        Operands operands(type, kRows, cols);
        for (const uint16_t scale : scales) {
            for (const uint8_t fill : fills) {
                std::vector<uint8_t> weights(shape.row_bytes * kRows, fill);
                for (size_t at = 0; at < weights.size(); at += info.block_bytes) {
                    for (uint32_t i = 0; i < info.scales; ++i) {
                        testing::put_u16(weights, at + info.scale_offset + 2 * i, scale);
                    }
                }
                std::copy(weights.begin(), weights.end(), operands.weights.as<uint8_t>());
                for (uint32_t signs = 0; signs < 7; ++signs) {
                    std::vector<float> x(cols);
                    for (uint32_t i = 0; i < cols; ++i) {
                        const bool negative = signs == 0   ? false
                                              : signs == 1 ? true
                                                           : (i >> (signs - 2) & 1) != 0;
                        x[i] = negative ? -2.5f : 2.5f;
                    }
                    operands.quantize(x);
                    SCOPED_TRACE(::testing::Message() << info.name << " scale " << scale << " fill "
                                                      << int{fill} << " signs " << signs);
                    for (const auto &kernel : kernels) {
                        expect_twin(kernel->kernel(), operands, kRows, type);
                    }
                    if (HasFatalFailure()) {
                        return;
                    }
                }
            }
        }
    }
}

TEST(GemvVectorTest, RandomPlansAndShapes) {
    Random random(4);
    const auto types = vector_types();
    for (int i = 0; i < 300; ++i) {
        const TensorType type = types[random.below(static_cast<uint32_t>(types.size()))];
        const uint32_t cols = step_of(type) * (1 + random.below(3072 / step_of(type)));
        const uint32_t rows = 1 + random.below(20);
        const uint64_t row_bytes =
            testing::row_bytes(type, cols) + random.below(2) * random.below(99);
        const GemvShape shape = {type, cols, row_bytes};
        const auto plans = all_plans(shape);
        if (plans.empty()) {
            return;
        }
        const GemvPlan plan = plans[random.below(static_cast<uint32_t>(plans.size()))];
        SCOPED_TRACE(about(type, rows, cols, plan) << " row bytes " << row_bytes);
        Operands operands(type, rows, cols);
        operands.quantize(random.floats(cols, 5.0f));
        // Rows that are further apart than they are long, the last one up against the fence.
        const uint64_t length = testing::row_bytes(type, cols);
        testing::Fenced memory((rows - 1) * row_bytes + length);
        const auto weights = testing::random_weights(type, rows, cols, random);
        for (uint32_t row = 0; row < rows; ++row) {
            std::copy_n(weights.data() + row * length, length,
                        memory.as<uint8_t>() + row * row_bytes);
        }
        operands.args.weights = memory.as<uint8_t>();
        operands.args.row_bytes = row_bytes;
        const Generated generated(shape, plan);
        expect_twin(generated.kernel(), operands, rows, type);
        if (HasFatalFailure()) {
            return;
        }
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
                        const size_t room = gemv_code_room(plan);
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
    EXPECT_FALSE(can_generate({TensorType::kIQ4_NL, 64, 36}, plan));
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

TEST(GemvPlansTest, NamesAreTheirOwn) {
    std::set<std::string_view> names;
    const size_t count = gemv_plan_count(TensorType::kQ8_0);
    for (size_t i = 0; i < count; ++i) {
        const NamedPlan &plan = gemv_plan(TensorType::kQ8_0, i);
        EXPECT_TRUE(names.insert(plan.name()).second) << plan.name();
        EXPECT_TRUE(can_generate({TensorType::kQ8_0, 2048, 2176}, plan.plan)) << plan.name();
    }
    EXPECT_TRUE(names.contains("jit r4 u2"));
    EXPECT_TRUE(names.contains("jit r2 u2 direct"));
    EXPECT_EQ(names.contains("avx2 r1 u8 p1024"), may_use(InstructionSet::kAvx2));
    EXPECT_EQ(names.contains("avx512 r8 u1 p4096"), may_use(InstructionSet::kAvx512));
    EXPECT_LE(gemv_plan_count(TensorType::kF32), 1u);
}

TEST(GemvPlansTest, NoneBeyondTheLimit) {
    limit_instruction_set(InstructionSet::kSsse3);
    for (size_t i = 0; i < gemv_plan_count(TensorType::kQ4_0); ++i) {
        EXPECT_LE(gemv_plan(TensorType::kQ4_0, i).plan.set, InstructionSet::kSsse3);
    }
    limit_instruction_set(InstructionSet::kAmx);
}

}  // namespace
}  // namespace bareflow::llama
