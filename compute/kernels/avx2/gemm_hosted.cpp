// AVX2 for several vectors. Apart from gemv.cpp because the bootable image has no room for
// both.
//
// The target is set for the functions of this file, as in gemv.cpp.
#include <immintrin.h>

#include "compute/kernels/registry.h"
#include "compute/numbers/weight_blocks.h"

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)

namespace bareflow::compute {
namespace {

constexpr bool kVnni = false;
#include "compute/kernels/avx2/gemv_inl.h"
#include "compute/kernels/per_target/matrix_pack_inl.h"

#include "compute/kernels/avx2/gemm_inl.h"

}  // namespace
}  // namespace bareflow::compute

// What follows runs on any processor.
#pragma clang attribute pop

namespace bareflow::compute {

namespace {

#include "compute/kernels/gemv.h"
#include "compute/kernels/per_target/formats_table_inl.h"
#include "compute/numbers/tensor_types.h"

}  // namespace

GemmKernel avx2_matrix(TensorType type) {
    return with_format(type, []<typename Of>(Of) { return GemmKernel{gemm<typename Of::Type>}; });
}

}  // namespace bareflow::compute
