// The table of all plans by name, and the rules by which they are offered.
//
// What must hold: the first plan of a family is the one that was its fastest on some machine. The
// search times the first plan of every family before all others. No name changes.
#include "compute/codegen/plans.h"

#include <iterator>

#include "compute/codegen/generators.h"
#include "compute/kernels/instruction_set.h"
#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow::compute {
namespace {

class NameWriter {
  public:
    constexpr explicit NameWriter(NamedPlan &to) : to_(to) {}
    constexpr void text(std::string_view words) {
        for (const char c : words) {
            to_.text[to_.name_len++] = c;
        }
    }
    constexpr void number(char before, uint32_t value) {
        text(" ");
        to_.text[to_.name_len++] = before;
        uint32_t unit = 1;
        while (value / unit >= 10) {
            unit *= 10;
        }
        for (; unit != 0; unit /= 10) {
            to_.text[to_.name_len++] = static_cast<char>('0' + value / unit % 10);
        }
    }

  private:
    NamedPlan &to_;
};

constexpr NamedPlan named(const GemvPlan &plan) {
    NamedPlan out;
    out.plan = plan;
    NameWriter name(out);
    const bool swar = plan.kind() == PlanKind::kSwar;
    name.text(swar                                   ? "jit"
              : plan.set == InstructionSet::kSse2    ? "sse2"
              : plan.set == InstructionSet::kSsse3   ? "ssse3"
              : plan.set == InstructionSet::kAvx512  ? "avx512"
              : plan.set == InstructionSet::kAvxVnni ? "avx_vnni"
                                                     : "avx2");
    name.number('r', plan.rows);
    name.number('u', plan.unroll);
    if (plan.direct) {
        name.text(" direct");
    }
    if (!swar) {
        name.number('p', plan.ahead);
    }
    return out;
}

constexpr GemvPlan kSwar[] = {
    {.rows = 4, .unroll = 2},
    {.rows = 2, .unroll = 2},
    {.rows = 3, .unroll = 2},
    {.rows = 2, .unroll = 2, .direct = true},
    {.rows = 1, .unroll = 4, .direct = true},
    {.rows = 2, .unroll = 1},
    {.rows = 2, .unroll = 4},
    {.rows = 4, .unroll = 4},
    {.rows = 1, .unroll = 4},
    {.rows = 1, .unroll = 1, .direct = true},
    {.rows = 1, .unroll = 8, .direct = true},
};

struct Arrangement {
    uint8_t rows;
    uint8_t unroll;
};
// Neighbours differ by halving or doubling one of the two. The first arrangement is the fastest
// where memory is the limit.
constexpr Arrangement kArrangements[] = {{1, 4}, {1, 8}, {2, 4}, {2, 2}, {4, 2}, {4, 1}, {8, 1}};
constexpr uint16_t kAhead[] = {2048, 0, 1024, 512, 4096};
constexpr InstructionSet kVectorSets[] = {InstructionSet::kAvx512, InstructionSet::kAvxVnni,
                                          InstructionSet::kAvx2};

constexpr GemvPlan kNarrow[] = {
    {.rows = 4, .unroll = 1, .ahead = 0},
    {.rows = 4, .unroll = 2, .ahead = 0},
    {.rows = 4, .unroll = 1, .ahead = 1024},
    {.rows = 4, .unroll = 2, .ahead = 1024},
};
constexpr InstructionSet kNarrowSets[] = {InstructionSet::kSsse3, InstructionSet::kSse2};

// AVX2 and AVX-VNNI have fewer prefetch distances: where there is AVX-512, they are second best.
constexpr size_t distances(InstructionSet set) {
    return set == InstructionSet::kAvx512 ? std::size(kAhead) : 3;
}
constexpr size_t kVectorPlans =
    std::size(kArrangements) * (distances(InstructionSet::kAvx512) + 2 * 3);
constexpr size_t kNarrowPlans = std::size(kNarrowSets) * std::size(kNarrow);

constexpr auto kPlans = [] {
    std::array<NamedPlan, std::size(kSwar) + kVectorPlans + kNarrowPlans> all{};
    size_t count = 0;
    for (const InstructionSet set : kVectorSets) {
        for (const Arrangement &arrangement : kArrangements) {
            for (size_t i = 0; i < distances(set); ++i) {
                all[count++] = named({.rows = arrangement.rows,
                                      .unroll = arrangement.unroll,
                                      .set = set,
                                      .ahead = kAhead[i]});
            }
        }
    }
    for (const InstructionSet set : kNarrowSets) {
        for (GemvPlan plan : kNarrow) {
            plan.set = set;
            plan.narrow = true;
            all[count++] = named(plan);
        }
    }
    for (const GemvPlan &plan : kSwar) {
        all[count++] = named(plan);
    }
    return all;
}();

// 128-bit plans. Only those of the better set are offered, and none where AVX2 has a generator for
// the type. Under an emulator, where CPUID says nothing about speed, both sets are offered. Where
// the processor has AVX2, a set offers only its first plan.
bool narrow_offered(TensorType type, const GemvPlan &plan, const PlanConditions &conditions) {
    const bool avx2 = conditions.may_use(InstructionSet::kAvx2);
    const bool ssse3_is_better =
        plan.set == InstructionSet::kSse2 && conditions.may_use(InstructionSet::kSsse3) &&
        generator_for(type, PlanKind::kNarrow, InstructionSet::kSsse3) != nullptr;
    const bool avx2_is_better =
        avx2 && generator_for(type, PlanKind::kVector, InstructionSet::kAvx2) != nullptr;
    if ((ssse3_is_better || avx2_is_better) && !conditions.emulated) {
        return false;
    }
    if (avx2 && (plan.unroll != 1 || plan.ahead != 0)) {
        return false;
    }
    // Super-blocks have no loop to unroll.
    return plan.unroll == 1 || tensor_type_info(type).block_elements != kGroupElements;
}

// Emulators are slow with vector instructions as a rule. The first plan of each set shows whether
// this one is.
bool vector_offered(const GemvPlan &plan, const PlanConditions &conditions) {
    const bool first = plan.rows == kArrangements[0].rows &&
                       plan.unroll == kArrangements[0].unroll && plan.ahead == kAhead[0];
    return !conditions.emulated || first;
}

}  // namespace

PlanConditions PlanConditions::here() {
    PlanConditions conditions;
    for (uint8_t set = 0; set <= static_cast<uint8_t>(InstructionSet::kAmx); ++set) {
        const bool usable = compute::may_use(static_cast<InstructionSet>(set));
        conditions.usable_sets = static_cast<uint8_t>(conditions.usable_sets | usable << set);
    }
    conditions.emulated = is_emulated();
    return conditions;
}

std::span<const NamedPlan> all_gemv_plans() {
    return kPlans;
}

bool is_offered(TensorType type, const GemvPlan &plan, const PlanConditions &conditions) {
    if (generator_for(type, plan) == nullptr || !conditions.may_use(plan.set)) {
        return false;
    }
    switch (plan.kind()) {
        case PlanKind::kSwar:
            return true;
        case PlanKind::kNarrow:
            return narrow_offered(type, plan, conditions);
        case PlanKind::kVector:
            return vector_offered(plan, conditions);
    }
    return false;
}

size_t gemv_plan_count(TensorType type) {
    const PlanConditions conditions = PlanConditions::here();
    size_t count = 0;
    for (const NamedPlan &named : kPlans) {
        count += is_offered(type, named.plan, conditions);
    }
    return count;
}

const NamedPlan &gemv_plan(TensorType type, size_t index) {
    const PlanConditions conditions = PlanConditions::here();
    for (const NamedPlan &named : kPlans) {
        if (is_offered(type, named.plan, conditions) && index-- == 0) {
            return named;
        }
    }
    platform::panic("no such plan");
}

}  // namespace bareflow::compute
