// Writes matrix-vector kernels of AVX2 for F32, F16 and BF16: the eight lanes that the numeric
// contract gives a row lie in one vector. F16 needs F16C, which every processor with AVX2 has.
// Hosted only: the image is small, and emulators compute floats faster with SSE2.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "compute/codegen/generators.h"
#include "compute/codegen/plan.h"
#include "compute/codegen/vector.h"
#include "compute/kernels/instruction_set.h"
#include "kernel_lib/base/result.h"
#include "kernel_lib/jit/assembler.h"

namespace bareflow::compute {

// Plans: rows and eights of columns in line are powers of two, together at most 8.
[[nodiscard]] bool floats_fit(const GemvShape &shape, const GemvPlan &plan);
[[nodiscard]] Result<size_t> generate_floats(const GemvShape &shape, const GemvPlan &plan,
                                             std::span<uint8_t> out, jit::ConstantPool constants);

inline constexpr Generator kFloatGenerator = {.name = "floats",
                                              .kind = PlanKind::kVector,
                                              .abilities = {{{InstructionSet::kAvx2, kFloatTypes}}},
                                              .code_room = vector_code_room,
                                              .constant_room = kVectorConstantBytes,
                                              .fits = floats_fit,
                                              .generate = generate_floats};

}  // namespace bareflow::compute
