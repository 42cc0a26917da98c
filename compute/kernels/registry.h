// The kernels that are compiled into the program, by weight type. Equal to the portable ones bit
// for bit; reached through gemv_variants() only, which lists those that the processor can run.
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
    ActivationForms forms = 0;    // packings of xq that it reads
    GemmKernel matrix = nullptr;  // its twin for several vectors; nullptr: there is none
    InstructionSet needs = InstructionSet::kSse2;
};

// The compiled variants for a type that this processor can run, none beyond the limit below. The
// first is the portable reference; then, in the order of what a rule of thumb thinks of them, the
// better ones.
[[nodiscard]] std::span<const GemvVariant> gemv_variants(TensorType type);
// The choice by CPUID alone, as everybody makes it: the last of them.
[[nodiscard]] const GemvVariant &gemv_rule_of_thumb(TensorType type);
// The one to start with: the rule of thumb, but where the processor says that it is emulated by
// QEMU, in which vector instructions are slow, the best one without them.
[[nodiscard]] const GemvVariant &kernel_for(TensorType type);
// Variants that break the numeric contract are in the lists from now on (setting `numerics=fast`);
// they are never where a rule begins. Before any list is asked for, as above.
void allow_relaxed_numerics(bool allowed);
[[nodiscard]] bool relaxed_numerics();
// For the type, with `kernel` nullptr where there is none.
[[nodiscard]] GemvVariant avx2_variant(TensorType type);
[[nodiscard]] GemmKernel avx2_matrix(TensorType type);  // nullptr: there is none
[[nodiscard]] GemvVariant avx_vnni_variant(TensorType type);
[[nodiscard]] GemvVariant avx512_variant(TensorType type);
[[nodiscard]] GemmKernel avx512_matrix(TensorType type);        // quantised types
[[nodiscard]] GemmKernel avx512_float_matrix(TensorType type);  // the others
[[nodiscard]] GemvVariant amx_variant(TensorType type);         // one vector: as avx512_variant

// Tiles have to be set up and given back, which takes microseconds: fewer products of one call
// (vectors * rows * columns) are left to AVX-512. Tests say 0.
inline constexpr uint64_t kAmxProducts = 4 << 20;
void use_amx_beyond(uint64_t products);

using VariantSource = GemvVariant (*)(TensorType type);
// Which of these are linked into this program, in the order of InstructionSet.
[[nodiscard]] std::span<const VariantSource> linked_simd_variants();

}  // namespace bareflow::compute
