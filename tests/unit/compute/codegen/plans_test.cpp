// The plans that each kind of processor is offered, compared with lists that are written out. Their
// names and their order must not change.
#include "compute/codegen/plans.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <initializer_list>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "compute/codegen/generators.h"
#include "compute/kernels/instruction_set.h"
#include "compute/kernels/registry.h"
#include "compute/numbers/tensor_types.h"

namespace bareflow::compute {
namespace {

using Names = std::vector<std::string_view>;
using enum InstructionSet;

// Saved profiles contain these names. They and their order are what they have always been.
const Names kAvx512Names = {
    "avx512 r1 u4 p2048", "avx512 r1 u4 p0",    "avx512 r1 u4 p1024", "avx512 r1 u4 p512",
    "avx512 r1 u4 p4096", "avx512 r1 u8 p2048", "avx512 r1 u8 p0",    "avx512 r1 u8 p1024",
    "avx512 r1 u8 p512",  "avx512 r1 u8 p4096", "avx512 r2 u4 p2048", "avx512 r2 u4 p0",
    "avx512 r2 u4 p1024", "avx512 r2 u4 p512",  "avx512 r2 u4 p4096", "avx512 r2 u2 p2048",
    "avx512 r2 u2 p0",    "avx512 r2 u2 p1024", "avx512 r2 u2 p512",  "avx512 r2 u2 p4096",
    "avx512 r4 u2 p2048", "avx512 r4 u2 p0",    "avx512 r4 u2 p1024", "avx512 r4 u2 p512",
    "avx512 r4 u2 p4096", "avx512 r4 u1 p2048", "avx512 r4 u1 p0",    "avx512 r4 u1 p1024",
    "avx512 r4 u1 p512",  "avx512 r4 u1 p4096", "avx512 r8 u1 p2048", "avx512 r8 u1 p0",
    "avx512 r8 u1 p1024", "avx512 r8 u1 p512",  "avx512 r8 u1 p4096"};
const Names kAvxVnniNames = {"avx_vnni r1 u4 p2048", "avx_vnni r1 u4 p0", "avx_vnni r1 u4 p1024",
                             "avx_vnni r1 u8 p2048", "avx_vnni r1 u8 p0", "avx_vnni r1 u8 p1024",
                             "avx_vnni r2 u4 p2048", "avx_vnni r2 u4 p0", "avx_vnni r2 u4 p1024",
                             "avx_vnni r2 u2 p2048", "avx_vnni r2 u2 p0", "avx_vnni r2 u2 p1024",
                             "avx_vnni r4 u2 p2048", "avx_vnni r4 u2 p0", "avx_vnni r4 u2 p1024",
                             "avx_vnni r4 u1 p2048", "avx_vnni r4 u1 p0", "avx_vnni r4 u1 p1024",
                             "avx_vnni r8 u1 p2048", "avx_vnni r8 u1 p0", "avx_vnni r8 u1 p1024"};
const Names kAvx2Names = {"avx2 r1 u4 p2048", "avx2 r1 u4 p0", "avx2 r1 u4 p1024",
                          "avx2 r1 u8 p2048", "avx2 r1 u8 p0", "avx2 r1 u8 p1024",
                          "avx2 r2 u4 p2048", "avx2 r2 u4 p0", "avx2 r2 u4 p1024",
                          "avx2 r2 u2 p2048", "avx2 r2 u2 p0", "avx2 r2 u2 p1024",
                          "avx2 r4 u2 p2048", "avx2 r4 u2 p0", "avx2 r4 u2 p1024",
                          "avx2 r4 u1 p2048", "avx2 r4 u1 p0", "avx2 r4 u1 p1024",
                          "avx2 r8 u1 p2048", "avx2 r8 u1 p0", "avx2 r8 u1 p1024"};
const Names kSsse3Names = {"ssse3 r4 u1 p0", "ssse3 r4 u2 p0", "ssse3 r4 u1 p1024",
                           "ssse3 r4 u2 p1024"};
const Names kSse2Names = {"sse2 r4 u1 p0", "sse2 r4 u2 p0", "sse2 r4 u1 p1024", "sse2 r4 u2 p1024"};
const Names kSwarNames = {
    "jit r4 u2", "jit r2 u2", "jit r3 u2", "jit r2 u2 direct", "jit r1 u4 direct", "jit r2 u1",
    "jit r2 u4", "jit r4 u4", "jit r1 u4", "jit r1 u1 direct", "jit r1 u8 direct"};

Names joined(std::initializer_list<Names> lists) {
    Names all;
    for (const Names &list : lists) {
        all.insert(all.end(), list.begin(), list.end());
    }
    return all;
}

// Super-blocks have no loop to unroll.
Names without_unrolling(const Names &names) {
    Names out;
    for (const std::string_view name : names) {
        if (name.find(" u1 ") != std::string_view::npos) {
            out.push_back(name);
        }
    }
    return out;
}

PlanConditions processor_with(std::initializer_list<InstructionSet> sets, bool emulated = false) {
    PlanConditions conditions{.emulated = emulated};
    for (const InstructionSet set : sets) {
        conditions.usable_sets |= static_cast<uint8_t>(1 << static_cast<int>(set));
    }
    return conditions;
}

Names offered(TensorType type, const PlanConditions &conditions) {
    Names names;
    for (const NamedPlan &named : all_gemv_plans()) {
        if (is_offered(type, named.plan, conditions)) {
            names.push_back(named.name());
        }
    }
    return names;
}

std::vector<TensorType> types_in(const TypeSet &set) {
    std::vector<TensorType> types;
    for (uint32_t id = 0; id <= kLastTensorTypeId; ++id) {
        if (set.contains(static_cast<TensorType>(id))) {
            types.push_back(static_cast<TensorType>(id));
        }
    }
    return types;
}

// What the types of a set are offered, without and with SWAR (which Q8_0, Q4_0 and Q4_1 have).
void expect_offered(const TypeSet &types, const PlanConditions &conditions, const Names &vectors) {
    for (const TensorType type : types_in(types)) {
        const bool swar = generator_for(type, PlanKind::kSwar, kSse2) != nullptr;
        EXPECT_EQ(offered(type, conditions), swar ? joined({vectors, kSwarNames}) : vectors)
            << tensor_type_info(type).name;
    }
}

const TypeSet kTableTypes = {TensorType::kIQ4_NL};

TEST(GemvPlansTest, EveryPlanHasItsOldName) {
    Names names;
    for (const NamedPlan &named : all_gemv_plans()) {
        names.push_back(named.name());
    }
    EXPECT_EQ(names, joined({kAvx512Names, kAvxVnniNames, kAvx2Names, kSsse3Names, kSse2Names,
                             kSwarNames}));
    EXPECT_EQ(types_in(kFloatTypes | kBlockTypes | kSuperBlockTypes).size(), 14u);
    for (const TensorType type : {TensorType::kQ8_0, TensorType::kQ4_0, TensorType::kQ4_1}) {
        EXPECT_NE(generator_for(type, PlanKind::kSwar, kSse2), nullptr);
    }
}

TEST(GemvPlansTest, OfAProcessorWithEverything) {
    const auto here = processor_with({kSse2, kSsse3, kAvx2, kAvxVnni, kAvx512, kAmx});
    expect_offered(kBlockTypes, here, joined({kAvx512Names, kAvxVnniNames, kAvx2Names}));
    expect_offered(kSuperBlockTypes, here, joined({kAvx512Names, kAvx2Names}));
    expect_offered(kFloatTypes, here, kAvx2Names);
}

TEST(GemvPlansTest, OfAProcessorWithAvx2) {
    const auto here = processor_with({kSse2, kSsse3, kAvx2});
    expect_offered(kFloatTypes | kBlockTypes | kSuperBlockTypes, here, kAvx2Names);
}

TEST(GemvPlansTest, OfAProcessorWithSsse3) {
    const auto here = processor_with({kSse2, kSsse3});
    expect_offered(kBlockTypes, here, kSsse3Names);
    expect_offered(kSuperBlockTypes, here, without_unrolling(kSsse3Names));
    expect_offered(kFloatTypes, here, kSse2Names);
}

TEST(GemvPlansTest, OfAProcessorWithSse2) {
    const auto here = processor_with({kSse2});
    expect_offered(kLinearBlockTypes | kFloatTypes, here, kSse2Names);
    expect_offered(kSuperBlockTypes, here, without_unrolling(kSse2Names));
    expect_offered(kTableTypes, here, {});
}

TEST(GemvPlansTest, OfAnEmulator) {
    const auto here = processor_with({kSse2, kSsse3, kAvx2, kAvxVnni, kAvx512}, true);
    const Names both = {"ssse3 r4 u1 p0", "sse2 r4 u1 p0"};
    const Names blocks = {"avx512 r1 u4 p2048", "avx_vnni r1 u4 p2048", "avx2 r1 u4 p2048"};
    expect_offered(kLinearBlockTypes, here, joined({blocks, both}));
    expect_offered(kTableTypes, here, joined({blocks, {"ssse3 r4 u1 p0"}}));
    expect_offered(kSuperBlockTypes, here,
                   joined({{"avx512 r1 u4 p2048", "avx2 r1 u4 p2048"}, both}));
    expect_offered(kFloatTypes, here, {"avx2 r1 u4 p2048", "sse2 r4 u1 p0"});

    const auto old = processor_with({kSse2, kSsse3}, true);
    expect_offered(kLinearBlockTypes, old, joined({kSsse3Names, kSse2Names}));
    expect_offered(kTableTypes, old, kSsse3Names);
    expect_offered(kSuperBlockTypes, old, without_unrolling(joined({kSsse3Names, kSse2Names})));
    expect_offered(kFloatTypes, old, kSse2Names);
}

// gemv_plan() is the same list, for this processor.
TEST(GemvPlansTest, HereIsThisProcessor) {
    for (const TensorType type : types_in(kFloatTypes | kBlockTypes | kSuperBlockTypes)) {
        Names names;
        for (size_t i = 0; i < gemv_plan_count(type); ++i) {
            names.push_back(gemv_plan(type, i).name());
        }
        EXPECT_EQ(names, offered(type, PlanConditions::here()));
    }
}

// A processor that is not emulated starts with vectors where it has AVX2, for every type: no rule
// doubts them.
TEST(GemvPlansTest, OnlyEmulatorsStartWithoutVectors) {
    for (const TensorType type : types_in(kFloatTypes | kBlockTypes | kSuperBlockTypes)) {
        if (may_use(kAvx2)) {
            EXPECT_EQ(kernel_for(type).needs == kSse2, is_emulated());
        }
    }
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
}

TEST(GemvPlansTest, NoneBeyondTheLimit) {
    limit_instruction_set(InstructionSet::kSsse3);
    for (size_t i = 0; i < gemv_plan_count(TensorType::kQ4_0); ++i) {
        EXPECT_LE(gemv_plan(TensorType::kQ4_0, i).plan.set, InstructionSet::kSsse3);
    }
    limit_instruction_set(InstructionSet::kAmx);
}

// What a processor without AVX2 chooses from.
TEST(GemvPlansTest, OfferedWithinTheLimit) {
    const auto names = [](TensorType type) {
        std::vector<std::string_view> out;
        for (size_t i = 0; i < gemv_plan_count(type); ++i) {
            out.push_back(gemv_plan(type, i).name());
        }
        return out;
    };
    const auto has = [&](TensorType type, std::string_view name) {
        const auto all = names(type);
        return std::find(all.begin(), all.end(), name) != all.end();
    };
    limit_instruction_set(InstructionSet::kSse2);
    EXPECT_TRUE(has(TensorType::kQ8_0, "sse2 r4 u2 p1024"));
    EXPECT_TRUE(has(TensorType::kF16, "sse2 r4 u1 p0"));
    EXPECT_TRUE(has(TensorType::kQ6_K, "sse2 r4 u1 p0"));
    EXPECT_FALSE(has(TensorType::kQ6_K, "sse2 r4 u2 p0"));
    EXPECT_TRUE(names(TensorType::kIQ4_NL).empty());
    limit_instruction_set(InstructionSet::kSsse3);
    if (may_use(InstructionSet::kSsse3)) {
        EXPECT_TRUE(has(TensorType::kIQ4_NL, "ssse3 r4 u1 p0"));
        EXPECT_EQ(has(TensorType::kQ8_0, "sse2 r4 u2 p1024"), is_emulated());
    }
    limit_instruction_set(InstructionSet::kAmx);
}

}  // namespace
}  // namespace bareflow::compute
