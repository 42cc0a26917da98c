#include "llama/kernels_simd.h"

namespace bareflow::llama {

std::span<const VariantSource> linked_simd_variants() {
    return {};
}

}  // namespace bareflow::llama
