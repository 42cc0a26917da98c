// Writes matrix-vector kernels of 128-bit vectors, SSE2 or SSSE3, four rows at once: for float
// types (narrow_floats.cpp) and for block types (narrow_blocks_hosted.cpp). The code needs 448
// bytes of stack.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "compute/codegen/generators.h"
#include "compute/codegen/plan.h"
#include "compute/kernels/instruction_set.h"
#include "compute/numbers/tensor_types.h"
#include "kernel_lib/base/result.h"
#include "kernel_lib/jit/assembler.h"

namespace bareflow::compute {

// Plans: `narrow`, four rows, one or two blocks of 32 (or eights of columns) in line.
[[nodiscard]] bool narrow_fits(const GemvShape &shape, const GemvPlan &plan);
inline constexpr size_t kNarrowCodeRoom = 12 << 10;
[[nodiscard]] size_t narrow_code_room(const GemvPlan &plan);  // the same for every plan
inline constexpr size_t kNarrowConstantBytes = 640;
[[nodiscard]] Result<size_t> generate_narrow_floats(const GemvShape &shape, const GemvPlan &plan,
                                                    std::span<uint8_t> out,
                                                    jit::ConstantPool constants);
[[nodiscard]] Result<size_t> generate_narrow_blocks(const GemvShape &shape, const GemvPlan &plan,
                                                    std::span<uint8_t> out,
                                                    jit::ConstantPool constants);

inline constexpr Generator kNarrowFloatGenerator = {
    .name = "narrow floats",
    .kind = PlanKind::kNarrow,
    .abilities = {{{InstructionSet::kSse2, kFloatTypes}}},
    .code_room = narrow_code_room,
    .constant_room = kNarrowConstantBytes,
    .fits = narrow_fits,
    .generate = generate_narrow_floats};

// IQ4_NL looks its weights up with `pshufb`, which SSE2 does not have.
inline constexpr Generator kNarrowBlockGenerator = {
    .name = "narrow blocks",
    .kind = PlanKind::kNarrow,
    .abilities = {{{InstructionSet::kSse2, kLinearBlockTypes | kSuperBlockTypes},
                   {InstructionSet::kSsse3, kBlockTypes | kSuperBlockTypes}}},
    .code_room = narrow_code_room,
    .constant_room = kNarrowConstantBytes,
    .fits = narrow_fits,
    .generate = generate_narrow_blocks};

}  // namespace bareflow::compute
