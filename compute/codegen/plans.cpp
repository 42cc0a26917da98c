#include "compute/codegen/plans.h"

#include <iterator>

#include "compute/codegen/narrow.h"
#include "compute/codegen/vector.h"
#include "compute/kernels/instruction_set.h"
#include "compute/kernels/registry.h"
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
    name.text(plan.swar()                            ? "jit"
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
    if (!plan.swar()) {
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
// Neighbours by halving or doubling one of the two. The first is the best where memory is the
// limit.
constexpr Arrangement kArrangements[] = {{1, 4}, {1, 8}, {2, 4}, {2, 2}, {4, 2}, {4, 1}, {8, 1}};
constexpr uint16_t kAhead[] = {2048, 0, 1024, 512, 4096};
constexpr InstructionSet kSets[] = {InstructionSet::kAvx512, InstructionSet::kAvxVnni,
                                    InstructionSet::kAvx2};

constexpr GemvPlan kNarrow[] = {
    {.rows = 4, .unroll = 1, .ahead = 0},
    {.rows = 4, .unroll = 2, .ahead = 0},
    {.rows = 4, .unroll = 1, .ahead = 1024},
    {.rows = 4, .unroll = 2, .ahead = 1024},
};
constexpr InstructionSet kNarrowSets[] = {InstructionSet::kSsse3, InstructionSet::kSse2};

// AVX2 in both its kinds is offered with fewer distances: a second-best choice as a rule.
constexpr size_t distances(InstructionSet set) {
    return set == InstructionSet::kAvx512 ? std::size(kAhead) : 3;
}
constexpr size_t kVectorPlans =
    std::size(kArrangements) * (distances(InstructionSet::kAvx512) + 2 * 3);
constexpr size_t kNarrowPlans = std::size(kNarrowSets) * std::size(kNarrow);

constexpr auto kPlans = [] {
    std::array<NamedPlan, std::size(kSwar) + kVectorPlans + kNarrowPlans> all{};
    size_t count = 0;
    for (const InstructionSet set : kSets) {
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

// Of 128 bits, those of the better set; but in an emulator, where nothing is certain, of both, and
// beside longer vectors one if at all.
bool narrow_offered(TensorType type, const GemvPlan &plan) {
    const bool longer = may_use(InstructionSet::kAvx2);
    const bool better = plan.set == InstructionSet::kSse2 && may_use(InstructionSet::kSsse3) &&
                        can_generate_narrow_type(type, InstructionSet::kSsse3);
    const bool beaten = better || (longer && can_generate_vector_type(type, InstructionSet::kAvx2));
    return can_generate_type(type, plan) && may_use(plan.set) && (is_emulated() || !beaten) &&
           (!longer || (plan.unroll == 1 && plan.ahead == 0)) &&
           // Super-blocks have no loop to unroll.
           (plan.unroll == 1 || tensor_type_info(type).block_elements != kGroupElements);
}

// Where vector instructions are slow by rule, one of each set shows whether that is so.
bool offered(TensorType type, const NamedPlan &named) {
    const GemvPlan &plan = named.plan;
    if (plan.narrow) {
        return narrow_offered(type, plan);
    }
    const bool vectors = !plan.swar();
    const bool doubted = vectors && kernel_for(type).needs == InstructionSet::kSse2;
    const bool first = plan.rows == kArrangements[0].rows &&
                       plan.unroll == kArrangements[0].unroll && plan.ahead == kAhead[0];
    return can_generate_type(type, plan) && may_use(plan.set) && (!doubted || first);
}

}  // namespace

size_t gemv_plan_count(TensorType type) {
    size_t count = 0;
    for (const NamedPlan &plan : kPlans) {
        count += offered(type, plan);
    }
    return count;
}

const NamedPlan &gemv_plan(TensorType type, size_t index) {
    for (const NamedPlan &plan : kPlans) {
        if (offered(type, plan) && index-- == 0) {
            return plan;
        }
    }
    platform::panic("no such plan");
}

}  // namespace bareflow::compute
