// Kernels compiled for one instruction set each. Equal to the portable ones bit for bit; reached
// through gemv_variants() only, which lists those that the processor can run.
#pragma once

#include <cstdint>

#include "compute/kernels/gemv.h"
#include "compute/numbers/tensor_types.h"

namespace bareflow::llama {

// Those that every processor can run, the portable reference first (kernels.cpp).
[[nodiscard]] std::span<const GemvVariant> scalar_variants(TensorType type);

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

}  // namespace bareflow::llama
