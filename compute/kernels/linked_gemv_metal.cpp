#include "compute/kernels/registry.h"

namespace bareflow::compute {

std::span<const VariantSource> linked_simd_variants() {
    static constexpr VariantSource kLinked[] = {avx2_variant};
    return kLinked;
}

}  // namespace bareflow::compute
