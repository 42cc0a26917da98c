#include "compute/kernels/instruction_set.h"

#include <array>

namespace bareflow::compute {
namespace {

constexpr std::array<std::string_view, 6> kNames = {"sse2",     "ssse3",  "avx2",
                                                    "avx_vnni", "avx512", "amx"};
static_assert(static_cast<size_t>(InstructionSet::kAmx) + 1 == kNames.size());

constinit InstructionSet limit = InstructionSet::kAmx;

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

bool is_emulated() {
    return cpu_features().hypervisor() == "TCGTCGTCGTCG";
}

void limit_instruction_set(InstructionSet most) {
    limit = most;
}

InstructionSet instruction_set_limit() {
    return limit;
}

}  // namespace bareflow::compute
