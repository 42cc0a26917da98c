#include <sys/syscall.h>
#include <unistd.h>

#include "compute/kernels/instruction_set.h"
#include "compute/kernels/registry.h"
#include "compute/numbers/tensor_types.h"

namespace bareflow::compute {

namespace {

GemvVariant avx2_with_matrix(TensorType type) {
    GemvVariant variant = avx2_variant(type);
    variant.matrix = avx2_matrix(type);
    return variant;
}

// Linux lets a process use tile registers only after it has asked for them (arch_prctl(2),
// "ARCH_REQ_XCOMP_PERM").
bool tiles_permitted() {
    constexpr long kRequestPermission = 0x1023;
    constexpr long kTileData = 18;
    static const bool permitted = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
    return permitted;
}

GemvVariant permitted_amx_variant(TensorType type) {
    return can_run(InstructionSet::kAmx, cpu_features()) && tiles_permitted() ? amx_variant(type)
                                                                              : GemvVariant{};
}

}  // namespace

std::span<const VariantSource> linked_simd_variants() {
    static constexpr VariantSource kLinked[] = {avx2_with_matrix, avx_vnni_variant, avx512_variant,
                                                permitted_amx_variant};
    return kLinked;
}

}  // namespace bareflow::compute
