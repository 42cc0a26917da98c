#include <algorithm>
#include <array>

#include "compute/kernels/float_ops.h"

namespace bareflow::compute {

std::span<const FloatVariant *const> linked_float_variants() {
    static constinit std::array<const FloatVariant *, kMaxFloatVariants> list{};
    static constinit size_t count = 0;
    if (count == 0) {
        const auto put = [](const FloatVariant &variant) { list[count++] = &variant; };
        put(portable_float_ops());
        put(sse2_float_ops());
        put(avx2_float_ops());
        put(sse2_fused_float_ops());
        put(avx2_fused_float_ops());
        put(sse2_head16_float_ops());
        put(sse2_relaxed_float_ops());
        put(avx2_relaxed_float_ops());
        std::ranges::for_each(avx2_sized_float_ops(), put);
    }
    return std::span(list).first(count);
}

}  // namespace bareflow::compute
