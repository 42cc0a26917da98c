// The field of generated kernels: every plan that is worth making for a weight type on this
// processor, by name. What was best somewhere comes first in its family (an instruction set, a way
// to hold activations); neighbours differ in one of rows, unroll and prefetch distance.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "compute/codegen/codegen.h"
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

// Plans that need more than CPUID, XCR0 and `jit.isa` allow are left out.
[[nodiscard]] size_t gemv_plan_count(TensorType type);
[[nodiscard]] const NamedPlan &gemv_plan(TensorType type, size_t index);

}  // namespace bareflow::compute
