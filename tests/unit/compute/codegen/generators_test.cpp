// The table of generators: no line is a duplicate, and every type and instruction set that a line
// names can be generated.
#include "compute/codegen/generators.h"

#include <gtest/gtest.h>

#include <set>
#include <string_view>
#include <vector>

#include "compute/codegen/narrow.h"
#include "compute/codegen/plans.h"
#include "compute/codegen/swar.h"
#include "compute/codegen/vector.h"
#include "compute/kernels/instruction_set.h"
#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"

namespace bareflow::compute {
namespace {

constexpr InstructionSet kSets[] = {InstructionSet::kSse2,   InstructionSet::kSsse3,
                                    InstructionSet::kAvx2,   InstructionSet::kAvxVnni,
                                    InstructionSet::kAvx512, InstructionSet::kAmx};
constexpr PlanKind kKinds[] = {PlanKind::kSwar, PlanKind::kNarrow, PlanKind::kVector};

std::vector<TensorType> all_types() {
    std::vector<TensorType> types;
    for (uint32_t id = 0; id <= kLastTensorTypeId; ++id) {
        types.push_back(static_cast<TensorType>(id));
    }
    return types;
}

bool is_supported(TensorType type) {
    const TensorTypeInfo *const info = find_tensor_type(static_cast<uint32_t>(type));
    return info != nullptr && info->supported;
}

TEST(TypeSetTest, HasWhatItWasGiven) {
    constexpr TypeSet kTwo = {TensorType::kF32, TensorType::kBF16};
    constexpr TypeSet kThree = kTwo | TypeSet{TensorType::kQ8_0};
    EXPECT_TRUE(kTwo.contains(TensorType::kF32));
    EXPECT_TRUE(kTwo.contains(TensorType::kBF16));
    EXPECT_FALSE(kTwo.contains(TensorType::kQ8_0));
    EXPECT_TRUE(kThree.contains(TensorType::kQ8_0));
    EXPECT_TRUE(kThree.contains(TensorType::kF32));
    EXPECT_FALSE(TypeSet().contains(TensorType::kF32));
}

TEST(TypeSetTest, TheNamedSetsHaveEverySupportedTypeOnce) {
    for (const TensorType type : all_types()) {
        const int sets = kFloatTypes.contains(type) + kBlockTypes.contains(type) +
                         kSuperBlockTypes.contains(type);
        EXPECT_EQ(sets, is_supported(type) ? 1 : 0) << static_cast<uint32_t>(type);
        if (is_supported(type)) {
            const uint32_t elements = tensor_type_info(type).block_elements;
            EXPECT_EQ(kFloatTypes.contains(type), elements == 1);
            EXPECT_EQ(kBlockTypes.contains(type), elements == kBlockElements);
            EXPECT_EQ(kSuperBlockTypes.contains(type), elements == kGroupElements);
        }
    }
}

TEST(GeneratorsTest, LinesAreComplete) {
    std::set<std::string_view> names;
    for (const Generator &generator : linked_generators()) {
        EXPECT_TRUE(names.insert(generator.name).second) << generator.name;
        EXPECT_NE(generator.code_room, nullptr) << generator.name;
        EXPECT_NE(generator.fits, nullptr) << generator.name;
        EXPECT_NE(generator.generate, nullptr) << generator.name;
    }
    EXPECT_EQ(names.size(), 5u);
}

TEST(GeneratorsTest, NoTwoWriteTheSame) {
    for (const TensorType type : all_types()) {
        for (const PlanKind kind : kKinds) {
            for (const InstructionSet set : kSets) {
                size_t count = 0;
                for (const Generator &generator : linked_generators()) {
                    count += generator.kind == kind && generator.writes(type, set);
                }
                EXPECT_EQ(count, generator_for(type, kind, set) == nullptr ? 0u : 1u);
                EXPECT_TRUE(count == 0 || is_supported(type));
            }
        }
    }
}

// A line that names a type and a set keeps its promise: some plan of that set can be generated.
TEST(GeneratorsTest, EveryTypeThatALineNamesCanBeWritten) {
    std::vector<uint8_t> out(1 << 17);
    std::vector<uint8_t> constants(1 << 12);
    for (const Generator &generator : linked_generators()) {
        for (const TensorType type : all_types()) {
            for (const InstructionSet set : kSets) {
                if (!generator.writes(type, set)) {
                    continue;
                }
                const TensorTypeInfo &info = tensor_type_info(type);
                const GemvShape shape = {type, 2 * info.block_elements, 2 * info.block_bytes};
                size_t written = 0;
                for (const NamedPlan &named : all_gemv_plans()) {
                    const GemvPlan &plan = named.plan;
                    if (plan.kind() != generator.kind || plan.set != set ||
                        !generator.fits(shape, plan)) {
                        continue;
                    }
                    EXPECT_EQ(generator_for(type, plan), &generator);
                    const auto bytes = generate_gemv(
                        shape, plan, std::span(out).first(generator.code_room(plan)),
                        {.room = std::span(constants).first(generator.constant_room)});
                    EXPECT_TRUE(bytes.ok()) << named.name();
                    ++written;
                }
                EXPECT_GT(written, 0u) << generator.name << " " << info.name;
            }
        }
    }
}

TEST(GeneratorsTest, WhoReadsWhichForms) {
    const auto forms = [](TensorType type, PlanKind kind, InstructionSet set) {
        return generator_for(type, kind, set)->forms_of(type);
    };
    const auto swar = [&](TensorType type) {
        return forms(type, PlanKind::kSwar, InstructionSet::kSse2);
    };
    EXPECT_EQ(swar(TensorType::kQ8_0), kFormPairs);
    EXPECT_EQ(swar(TensorType::kQ4_0), kFormQuads);
    EXPECT_EQ(swar(TensorType::kQ4_1), kFormQuads);
    EXPECT_EQ(forms(TensorType::kQ8_0, PlanKind::kVector, InstructionSet::kAvx2), 0u);
    EXPECT_EQ(forms(TensorType::kQ8_0, PlanKind::kNarrow, InstructionSet::kSse2), 0u);
}

TEST(GeneratorsTest, NoneForWhatNobodyWrites) {
    const auto none = [](TensorType type, PlanKind kind, InstructionSet set) {
        return generator_for(type, kind, set) == nullptr;
    };
    EXPECT_TRUE(none(TensorType::kQ5_0, PlanKind::kSwar, InstructionSet::kSse2));
    EXPECT_TRUE(none(TensorType::kF32, PlanKind::kVector, InstructionSet::kAvx512));
    EXPECT_TRUE(none(TensorType::kQ4_K, PlanKind::kVector, InstructionSet::kAvxVnni));
    EXPECT_TRUE(none(TensorType::kF32, PlanKind::kNarrow, InstructionSet::kSsse3));
    EXPECT_TRUE(none(TensorType::kQ8_0, PlanKind::kVector, InstructionSet::kAmx));
    EXPECT_FALSE(can_generate({TensorType::kQ5_0, 64, 44}, {}));
    // There is one, but not for this shape.
    EXPECT_FALSE(can_generate({TensorType::kQ8_0, 64, 67}, {}));
    EXPECT_TRUE(can_generate({TensorType::kQ8_0, 64, 68}, {}));
}

TEST(GeneratorsTest, ThePlanNamesItsKind) {
    constexpr GemvPlan kSwar = {};
    constexpr GemvPlan kNarrow = {.narrow = true};
    constexpr GemvPlan kVector = {.set = InstructionSet::kAvx2};
    EXPECT_EQ(kSwar.kind(), PlanKind::kSwar);
    EXPECT_EQ(kNarrow.kind(), PlanKind::kNarrow);
    EXPECT_EQ(kVector.kind(), PlanKind::kVector);
}

}  // namespace
}  // namespace bareflow::compute
