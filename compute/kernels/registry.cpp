// Which of the compiled kernels there are to choose from on this processor.
#include <array>

#include "compute/kernels/gemv.h"
#include "compute/kernels/registry.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow::llama {
namespace {

constexpr std::array<std::string_view, 6> kNames = {"sse2",     "ssse3",  "avx2",
                                                    "avx_vnni", "avx512", "amx"};
static_assert(static_cast<size_t>(InstructionSet::kAmx) + 1 == kNames.size());

constexpr size_t kMaxVariants = 8;
constexpr size_t kTypeNumbers = kLastTensorTypeId + 1;

struct List {
    std::array<GemvVariant, kMaxVariants> variants;
    size_t count;  // 0: not made yet
    size_t scalar;
};
constinit std::array<List, kTypeNumbers> lists{};
constinit InstructionSet limit = InstructionSet::kAmx;
constinit bool relaxed_allowed = false;

void append(List &list, const GemvVariant &variant) {
    if (list.count == list.variants.size()) {
        platform::panic("more compiled kernels than there is room for");
    }
    list.variants[list.count++] = variant;
}

List &list_of(TensorType type) {
    List &list = lists[static_cast<size_t>(type)];
    if (list.count != 0) {
        return list;
    }
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

std::optional<InstructionSet> instruction_set_named(std::string_view name) {
    for (size_t i = 0; i < kNames.size(); ++i) {
        if (kNames[i] == name) {
            return static_cast<InstructionSet>(i);
        }
    }
    return std::nullopt;
}

bool can_run(InstructionSet set, const CpuFeatures &features) {
    using enum CpuFeature;
    const auto all = [&](std::initializer_list<CpuFeature> needed) {
        for (const CpuFeature feature : needed) {
            if (!features.can_use(feature)) {
                return false;
            }
        }
        return true;
    };
    const auto avx512 = [&] {
        return all({kAvx2, kFma, kF16c, kAvx512F, kAvx512Bw, kAvx512Dq, kAvx512Vl, kAvx512Vnni});
    };
    switch (set) {
        case InstructionSet::kSse2:
            return true;
        case InstructionSet::kSsse3:
            return all({kSsse3});
        case InstructionSet::kAvx2:
            return all({kAvx2, kFma, kF16c});
        case InstructionSet::kAvxVnni:
            return all({kAvx2, kFma, kF16c, kAvxVnni});
        case InstructionSet::kAvx512:
            return avx512();
        case InstructionSet::kAmx:
            return avx512() && all({kAmxTile, kAmxInt8});
    }
    return false;
}

bool may_use(InstructionSet set) {
    return set <= limit && can_run(set, cpu_features());
}

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

bool is_emulated() {
    return cpu_features().hypervisor() == "TCGTCGTCGTCG";
}

void allow_relaxed_numerics(bool allowed) {
    relaxed_allowed = allowed;
}

bool relaxed_numerics() {
    return relaxed_allowed;
}

void limit_instruction_set(InstructionSet most) {
    limit = most;
    for (List &list : lists) {
        list.count = 0;
    }
}

}  // namespace bareflow::llama
