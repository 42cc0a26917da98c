// Writes matrix-vector kernels of 64-bit integers only (SWAR: two or four products in one
// multiply), with one conversion and two float operations for each group of 256 columns. That is
// what an emulator runs best.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "compute/codegen/generators.h"
#include "compute/codegen/plan.h"
#include "compute/kernels/instruction_set.h"
#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"
#include "kernel_lib/base/result.h"
#include "kernel_lib/jit/assembler.h"

namespace bareflow::compute {

// Plans: 1..kMaxSwarRows rows, `direct` 1 or 2; 1, 2, 4 or 8 blocks in line.
inline constexpr uint32_t kMaxSwarRows = 4;
[[nodiscard]] bool swar_fits(const GemvShape &shape, const GemvPlan &plan);
[[nodiscard]] size_t swar_code_room(const GemvPlan &plan);
[[nodiscard]] ActivationForms swar_forms(TensorType type);
[[nodiscard]] Result<size_t> generate_swar(const GemvShape &shape, const GemvPlan &plan,
                                           std::span<uint8_t> out, jit::ConstantPool constants);

inline constexpr Generator kSwarGenerator = {
    .name = "swar",
    .kind = PlanKind::kSwar,
    .abilities = {{{InstructionSet::kSse2,
                    {TensorType::kQ8_0, TensorType::kQ4_0, TensorType::kQ4_1}}}},
    .code_room = swar_code_room,
    .forms = swar_forms,
    .fits = swar_fits,
    .generate = generate_swar};

}  // namespace bareflow::compute
