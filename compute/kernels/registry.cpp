#include "compute/kernels/registry.h"

#include <array>

#include "compute/kernels/portable/gemv.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow::compute {
namespace {

constexpr size_t kMaxVariants = 8;
constexpr size_t kTypeNumbers = kLastTensorTypeId + 1;

struct List {
    std::array<GemvVariant, kMaxVariants> variants;
    size_t count;  // 0: not made yet
    size_t scalar;
    InstructionSet limit;  // that it was made under
};
constinit std::array<List, kTypeNumbers> lists{};
constinit bool relaxed_allowed = false;

void append(List &list, const GemvVariant &variant) {
    if (list.count == list.variants.size()) {
        platform::panic("more compiled kernels than there is room for");
    }
    list.variants[list.count++] = variant;
}

List &list_of(TensorType type) {
    List &list = lists[static_cast<size_t>(type)];
    if (list.count != 0 && list.limit == instruction_set_limit()) {
        return list;
    }
    list.count = 0;
    list.limit = instruction_set_limit();
    for (const GemvVariant &variant : scalar_variants(type)) {
        append(list, variant);
    }
    list.scalar = list.count;
    for (const VariantSource source : linked_simd_variants()) {
        const GemvVariant variant = source(type);
        if (variant.kernel != nullptr && may_use(variant.needs)) {
            append(list, variant);
        }
    }
    return list;
}

}  // namespace

std::span<const GemvVariant> gemv_variants(TensorType type) {
    const List &list = list_of(type);
    return std::span(list.variants).first(list.count);
}

const GemvVariant &gemv_rule_of_thumb(TensorType type) {
    const List &list = list_of(type);
    return list.variants[list.count - 1];
}

const GemvVariant &kernel_for(TensorType type) {
    const List &list = list_of(type);
    return list.variants[(is_emulated() ? list.scalar : list.count) - 1];
}

void allow_relaxed_numerics(bool allowed) {
    relaxed_allowed = allowed;
}

bool relaxed_numerics() {
    return relaxed_allowed;
}

}  // namespace bareflow::compute
