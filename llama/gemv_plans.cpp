#include "llama/gemv_plans.h"

#include <iterator>

#include "kernel_lib/platform/platform.h"

namespace bareflow::llama {
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
    const bool swar = plan.set == InstructionSet::kSse2;
    name.text(swar                                   ? "jit"
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
// Neighbours by halving or doubling one of the two.
constexpr Arrangement kArrangements[] = {{4, 2}, {1, 4}, {1, 8}, {2, 4}, {2, 2}, {8, 1}, {4, 1}};
constexpr uint16_t kAhead[] = {2048, 0, 1024, 512, 4096};
constexpr InstructionSet kSets[] = {InstructionSet::kAvx512, InstructionSet::kAvxVnni,
                                    InstructionSet::kAvx2};

// AVX2 in both its kinds is offered with fewer distances: a second-best choice as a rule.
constexpr size_t distances(InstructionSet set) {
    return set == InstructionSet::kAvx512 ? std::size(kAhead) : 3;
}
constexpr size_t kVectorPlans =
    std::size(kArrangements) * (distances(InstructionSet::kAvx512) + 2 * 3);

constexpr auto kPlans = [] {
    std::array<NamedPlan, std::size(kSwar) + kVectorPlans> all{};
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
    for (const GemvPlan &plan : kSwar) {
        all[count++] = named(plan);
    }
    return all;
}();

// Where vector instructions are slow by rule, one of each set shows whether that is so.
bool offered(TensorType type, const NamedPlan &named) {
    const GemvPlan &plan = named.plan;
    const bool vectors = plan.set != InstructionSet::kSse2;
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

}  // namespace bareflow::llama
