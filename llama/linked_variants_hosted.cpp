#include "llama/kernels_simd.h"

namespace bareflow::llama {

namespace {

GemvVariant avx2_with_matrix(TensorType type) {
    GemvVariant variant = avx2_variant(type);
    variant.matrix = avx2_matrix(type);
    return variant;
}

}  // namespace

std::span<const VariantSource> linked_simd_variants() {
    static constexpr VariantSource kLinked[] = {avx2_with_matrix, avx_vnni_variant, avx512_variant};
    return kLinked;
}

}  // namespace bareflow::llama
