// What a generator is asked for: the shape of a matrix, and the plan by which its kernel is
// written.
#pragma once

#include <cstdint>

#include "compute/kernels/instruction_set.h"
#include "compute/numbers/tensor_types.h"

namespace bareflow::compute {

struct GemvShape {
    TensorType type = TensorType::kQ8_0;
    uint32_t cols = 0;       // of block types: whole blocks
    uint64_t row_bytes = 0;  // from one row to the next; at least the bytes of `cols` columns
};

// The kinds of code that plans ask for.
enum class PlanKind : uint8_t {
    kSwar,    // 64-bit integers (compute/codegen/swar.h)
    kNarrow,  // 128-bit vectors (compute/codegen/narrow.h)
    kVector,  // 256-bit and 512-bit vectors (compute/codegen/vector.h, floats.h)
};

// How a generator writes one kernel.
struct GemvPlan {
    uint8_t rows = 1;     // rows computed together
    uint8_t unroll = 1;   // without a loop: groups (vector), blocks (others), eights (float types)
    bool direct = false;  // SWAR only: activations stay in memory operands, not in registers
    InstructionSet set = InstructionSet::kSse2;  // what the code asks of the processor
    uint16_t ahead = 0;                          // prefetch distance in bytes; 0: no prefetch
    bool narrow = false;                         // 128-bit vectors; with kSse2 or kSsse3 only

    [[nodiscard]] constexpr PlanKind kind() const {
        return narrow                         ? PlanKind::kNarrow
               : set == InstructionSet::kSse2 ? PlanKind::kSwar
                                              : PlanKind::kVector;
    }
};

}  // namespace bareflow::compute
