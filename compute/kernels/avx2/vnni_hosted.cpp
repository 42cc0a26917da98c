// AVX2 with the VEX encoding of `vpdpbusd`, for processors that have it without AVX-512: the texts
// of gemv.cpp and gemm_hosted.cpp once more.

#include "compute/kernels/gemv.h"
#include "compute/kernels/instruction_set.h"
#include "compute/kernels/registry.h"
#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"
#include "compute/numbers/weight_blocks.h"
#include "compute/numbers/weight_formats.h"

#include "compute/kernels/avx2/vnni_target_inl.h"

namespace bareflow::compute {
namespace {

constexpr bool kVnni = true;
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

GemvVariant avx_vnni_variant(TensorType type) {
    return with_format(type, []<typename Of>(Of) {
        using F = typename Of::Type;
        return GemvVariant{"avx_vnni", kOneVector<F>, 0, gemm<F>, InstructionSet::kAvxVnni};
    });
}

}  // namespace bareflow::compute
