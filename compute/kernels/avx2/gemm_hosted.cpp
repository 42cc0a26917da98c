// AVX2, several vectors. A file of its own because the bootable image has no room for it beside
// gemv.cpp.

#include "compute/kernels/gemv.h"
#include "compute/kernels/registry.h"
#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"
#include "compute/numbers/weight_blocks.h"
#include "compute/numbers/weight_formats.h"

#include "compute/kernels/avx2/target_inl.h"

namespace bareflow::compute {
namespace {

constexpr bool kVnni = false;
#include "compute/kernels/avx2/gemv_inl.h"
#include "compute/kernels/per_target/matrix_pack_inl.h"

#include "compute/kernels/avx2/gemm_inl.h"

}  // namespace
}  // namespace bareflow::compute

#include "compute/kernels/per_target/end_target_inl.h"

namespace bareflow::compute {
namespace {

#include "compute/kernels/per_target/formats_table_inl.h"

}  // namespace

GemmKernel avx2_matrix(TensorType type) {
    return with_format(type, []<typename Of>(Of) { return GemmKernel{gemm<typename Of::Type>}; });
}

}  // namespace bareflow::compute
