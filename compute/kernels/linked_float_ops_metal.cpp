#include "compute/kernels/float_ops.h"

namespace bareflow::compute {

std::span<const FloatVariant *const> linked_float_variants() {
    static const FloatVariant *const kLinked[] = {
        &portable_float_ops(),    &sse2_float_ops(),       &avx2_float_ops(),
        &sse2_fused_float_ops(),  &avx2_fused_float_ops(), &sse2_head16_float_ops(),
        &sse2_relaxed_float_ops()};
    return kLinked;
}

}  // namespace bareflow::compute
