// AVX2 with the VEX form of `vpdpbusd`, of processors without AVX-512. See gemv_inl.h.
//
// The target is set for the functions of this file, as in gemv.cpp.
#include <immintrin.h>

#include "compute/kernels/registry.h"
#include "compute/numbers/weight_blocks.h"

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avxvnni"))), apply_to = function)

namespace bareflow::compute {
namespace {

constexpr bool kVnni = true;
#include "compute/kernels/avx2/gemv_inl.h"
#include "compute/kernels/per_target/matrix_pack_inl.h"

#include "compute/kernels/avx2/gemm_inl.h"

}  // namespace
}  // namespace bareflow::compute

// What follows runs on any processor.
#pragma clang attribute pop

namespace bareflow::compute {

namespace {

#include "compute/kernels/instruction_set.h"
#include "compute/kernels/per_target/formats_table_inl.h"
#include "compute/numbers/tensor_types.h"

}  // namespace

GemvVariant avx_vnni_variant(TensorType type) {
    return with_format(type, []<typename Of>(Of) {
        using F = typename Of::Type;
        return GemvVariant{"avx_vnni", kOneVector<F>, 0, gemm<F>, InstructionSet::kAvxVnni};
    });
}

}  // namespace bareflow::compute
