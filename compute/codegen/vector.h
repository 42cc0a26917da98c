// Writes matrix-vector kernels of vector instructions for block types: AVX2, AVX-VNNI, and AVX-512
// with VNNI. 16 columns of a block lie in each 128-bit lane.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "compute/codegen/generators.h"
#include "compute/codegen/plan.h"
#include "compute/kernels/instruction_set.h"
#include "kernel_lib/base/result.h"
#include "kernel_lib/jit/assembler.h"

namespace bareflow::compute {

// Plans: rows and groups in line are powers of two, together 2 to 8. One row computed alone means
// two streams of memory: rows of the first and of the second half of the range alternate.
[[nodiscard]] bool vector_fits(const GemvShape &shape, const GemvPlan &plan);
[[nodiscard]] size_t vector_code_room(const GemvPlan &plan);
inline constexpr size_t kVectorConstantBytes = 640;
[[nodiscard]] Result<size_t> generate_vector(const GemvShape &shape, const GemvPlan &plan,
                                             std::span<uint8_t> out, jit::ConstantPool constants);

// Where parts have scales of their own, 256-bit VNNI has nothing to offer over AVX2.
inline constexpr Generator kVectorGenerator = {
    .name = "vector",
    .kind = PlanKind::kVector,
    .abilities = {{{InstructionSet::kAvx2, kBlockTypes | kSuperBlockTypes},
                   {InstructionSet::kAvxVnni, kBlockTypes},
                   {InstructionSet::kAvx512, kBlockTypes | kSuperBlockTypes}}},
    .code_room = vector_code_room,
    .constant_room = kVectorConstantBytes,
    .fits = vector_fits,
    .generate = generate_vector};

}  // namespace bareflow::compute
