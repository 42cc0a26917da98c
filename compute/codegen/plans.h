// The field of generated kernels: every plan that is worth trying for a weight type, by name. The
// first plan of a family was the fastest of it on some machine. Neighbours within a family differ
// in one of rows, unroll and prefetch distance.
//
// Users' saved profiles contain the names: a name must not change, nor get another meaning.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "compute/codegen/plan.h"
#include "compute/kernels/instruction_set.h"
#include "compute/numbers/tensor_types.h"

namespace bareflow::compute {

struct NamedPlan {
    static constexpr size_t kNameBytes = 20;

    std::array<char, kNameBytes> text{};
    uint8_t name_len = 0;
    GemvPlan plan;

    // "jit r2 u2 direct", "avx512 r1 u8 p1024". Static.
    [[nodiscard]] constexpr std::string_view name() const { return {text.data(), name_len}; }
};

// What decides, beside the weight type, which plans are offered.
struct PlanConditions {
    uint8_t usable_sets = 0;  // bit n: may_use() of the instruction set with number n
    bool emulated = false;    // is_emulated()

    // Those of this processor within instruction_set_limit().
    [[nodiscard]] static PlanConditions here();

    [[nodiscard]] constexpr bool may_use(InstructionSet set) const {
        return (usable_sets >> static_cast<uint8_t>(set) & 1) != 0;
    }
};

// All plans of all types, in the order in which they are offered.
[[nodiscard]] std::span<const NamedPlan> all_gemv_plans();
// A linked generator writes this type's code by the plan, the processor may run it, and it is worth
// trying.
[[nodiscard]] bool is_offered(TensorType type, const GemvPlan &plan,
                              const PlanConditions &conditions);

// The plans offered for a type here.
[[nodiscard]] size_t gemv_plan_count(TensorType type);
[[nodiscard]] const NamedPlan &gemv_plan(TensorType type, size_t index);

}  // namespace bareflow::compute
