#include "compute/kernels/registry.h"

namespace bareflow::llama {

std::span<const VariantSource> linked_simd_variants() {
    static constexpr VariantSource kLinked[] = {avx2_variant};
    return kLinked;
}

}  // namespace bareflow::llama
