// The list of compiled kernels by weight type. Kernels are reached through gemv_variants() only,
// which lists those that the processor can run.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "compute/kernels/gemv.h"
#include "compute/kernels/instruction_set.h"
#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"

namespace bareflow::compute {

// A kernel compiled into the program.
struct GemvVariant {
    std::string_view name;  // "portable", "swar2", "avx2"
    GemvKernel kernel = nullptr;
    ActivationForms forms = 0;    // of xq that it reads
    GemmKernel matrix = nullptr;  // its twin for several vectors; nullptr: there is none
    InstructionSet needs = InstructionSet::kSse2;
};

// The compiled variants for a type that this processor can run, within limit_instruction_set(). The
// portable reference comes first, then better ones in the order of the rule of thumb.
[[nodiscard]] std::span<const GemvVariant> gemv_variants(TensorType type);
// The choice by CPUID alone: the last of them.
[[nodiscard]] const GemvVariant &gemv_rule_of_thumb(TensorType type);
// The kernel to start with: the rule of thumb, except on a processor that QEMU emulates. Vector
// instructions are slow there, so it is the best kernel without them.
[[nodiscard]] const GemvVariant &kernel_for(TensorType type);
// From now on the lists have relaxed variants, too (setting `numerics=fast`); they are never a rule
// of thumb. Must be called before any list is asked for, as limit_instruction_set().
void allow_relaxed_numerics(bool allowed);
[[nodiscard]] bool relaxed_numerics();

// What each instruction set has for the type; `kernel` is nullptr if there is none.
[[nodiscard]] GemvVariant avx2_variant(TensorType type);
[[nodiscard]] GemmKernel avx2_matrix(TensorType type);  // nullptr: there is none
[[nodiscard]] GemvVariant avx_vnni_variant(TensorType type);
[[nodiscard]] GemvVariant avx512_variant(TensorType type);
[[nodiscard]] GemmKernel avx512_matrix(TensorType type);        // block types
[[nodiscard]] GemmKernel avx512_float_matrix(TensorType type);  // float types
[[nodiscard]] GemvVariant amx_variant(TensorType type);         // one vector: as avx512_variant

// AMX tiles are configured and released in each call, which takes microseconds. Calls with at most
// this many products (vectors * rows * columns) use AVX-512 instead. Tests set 0.
inline constexpr uint64_t kAmxProducts = 4 << 20;
void use_amx_beyond(uint64_t products);

using VariantSource = GemvVariant (*)(TensorType type);
// The sources that are linked into this program, in the order of InstructionSet.
[[nodiscard]] std::span<const VariantSource> linked_simd_variants();

}  // namespace bareflow::compute
