// Which bits of CPUID stand for which feature, and which register state each feature needs. A
// feature is usable only when XCR0 enables all of that state.
#include "kernel_lib/cpu/features.h"

#include "kernel_lib/runtime.h"

namespace bareflow {

namespace {

enum class Register : uint8_t { kEax, kEbx, kEcx, kEdx };
enum class State : uint8_t { kNone, kAvx, kAvx512, kAmx };

enum class Leaf : uint8_t { k1, k7, k7Sub1, kExt1, kExt7, kCount };
constexpr std::array<cpuid::LeafId, static_cast<size_t>(Leaf::kCount)> kFeatureLeaves{
    {{cpuid::kVersion, 0},
     {cpuid::kStructured, 0},
     {cpuid::kStructured, 1},
     {cpuid::kExtendedFeatures, 0},
     {cpuid::kPower, 0}}};

// Packed: the table is in the image.
struct FeatureBit {
    CpuFeature feature;
    char name[14];
    Leaf leaf;
    Register reg;
    uint8_t bit;
    State state;
};

using enum CpuFeature;
using enum Register;

// In the order of CpuFeature. BMI has VEX encodings but no vector state.
constexpr std::array<FeatureBit, static_cast<size_t>(kCount)> kFeatureBits{{
    {kSse3, "sse3", Leaf::k1, kEcx, 0, State::kNone},
    {kSsse3, "ssse3", Leaf::k1, kEcx, 9, State::kNone},
    {kSse41, "sse4_1", Leaf::k1, kEcx, 19, State::kNone},
    {kSse42, "sse4_2", Leaf::k1, kEcx, 20, State::kNone},
    {kPopcnt, "popcnt", Leaf::k1, kEcx, 23, State::kNone},
    {kCx16, "cx16", Leaf::k1, kEcx, 13, State::kNone},
    {kMovbe, "movbe", Leaf::k1, kEcx, 22, State::kNone},
    {kLzcnt, "lzcnt", Leaf::kExt1, kEcx, 5, State::kNone},
    {kBmi1, "bmi1", Leaf::k7, kEbx, 3, State::kNone},
    {kBmi2, "bmi2", Leaf::k7, kEbx, 8, State::kNone},
    {kAdx, "adx", Leaf::k7, kEbx, 19, State::kNone},
    {kErms, "erms", Leaf::k7, kEbx, 9, State::kNone},
    {kFsrm, "fsrm", Leaf::k7, kEdx, 4, State::kNone},
    {kRdrand, "rdrand", Leaf::k1, kEcx, 30, State::kNone},
    {kRdseed, "rdseed", Leaf::k7, kEbx, 18, State::kNone},
    {kXsave, "xsave", Leaf::k1, kEcx, 26, State::kNone},
    {kAvx, "avx", Leaf::k1, kEcx, 28, State::kAvx},
    {kF16c, "f16c", Leaf::k1, kEcx, 29, State::kAvx},
    {kFma, "fma", Leaf::k1, kEcx, 12, State::kAvx},
    {kAvx2, "avx2", Leaf::k7, kEbx, 5, State::kAvx},
    {kAvxVnni, "avx_vnni", Leaf::k7Sub1, kEax, 4, State::kAvx},
    {kAvx512F, "avx512f", Leaf::k7, kEbx, 16, State::kAvx512},
    {kAvx512Dq, "avx512dq", Leaf::k7, kEbx, 17, State::kAvx512},
    {kAvx512Bw, "avx512bw", Leaf::k7, kEbx, 30, State::kAvx512},
    {kAvx512Vl, "avx512vl", Leaf::k7, kEbx, 31, State::kAvx512},
    {kAvx512Vbmi, "avx512_vbmi", Leaf::k7, kEcx, 1, State::kAvx512},
    {kAvx512Vnni, "avx512_vnni", Leaf::k7, kEcx, 11, State::kAvx512},
    {kAvx512Bf16, "avx512_bf16", Leaf::k7Sub1, kEax, 5, State::kAvx512},
    {kAvx512Fp16, "avx512_fp16", Leaf::k7, kEdx, 23, State::kAvx512},
    {kAmxTile, "amx_tile", Leaf::k7, kEdx, 24, State::kAmx},
    {kAmxInt8, "amx_int8", Leaf::k7, kEdx, 25, State::kAmx},
    {kAmxBf16, "amx_bf16", Leaf::k7, kEdx, 22, State::kAmx},
    {kNx, "nx", Leaf::kExt1, kEdx, 20, State::kNone},
    {kPage1G, "page1gb", Leaf::kExt1, kEdx, 26, State::kNone},
    {kRdtscp, "rdtscp", Leaf::kExt1, kEdx, 27, State::kNone},
    {kX2apic, "x2apic", Leaf::k1, kEcx, 21, State::kNone},
    {kTscDeadline, "tsc_deadline", Leaf::k1, kEcx, 24, State::kNone},
    {kInvariantTsc, "invariant_tsc", Leaf::kExt7, kEdx, 8, State::kNone},
}};

constexpr bool in_order() {
    for (size_t i = 0; i < kFeatureBits.size(); ++i) {
        if (static_cast<size_t>(kFeatureBits[i].feature) != i) {
            return false;
        }
    }
    return true;
}
static_assert(in_order());

class Leaves {
  public:
    explicit Leaves(std::span<const CpuidLeaf> leaves) : leaves_(leaves) {
        highest_basic_ = find({cpuid::kBasic, 0}).eax;
        highest_extended_ = find({cpuid::kExtended, 0}).eax;
        // Without extended leaves the answer is that of some basic leaf.
        if (highest_extended_ < cpuid::kExtended) {
            highest_extended_ = 0;
        }
        hypervisor_ = (get({cpuid::kVersion, 0}).ecx & cpuid::kVersionEcxHypervisor) != 0;
    }
    [[nodiscard]] CpuidLeaf get(cpuid::LeafId id) const {
        const bool there = id.leaf >= cpuid::kExtended     ? id.leaf <= highest_extended_
                           : id.leaf >= cpuid::kHypervisor ? hypervisor_
                                                           : id.leaf <= highest_basic_;
        if (!there || (id.subleaf != 0 && id.subleaf > find({id.leaf, 0}).eax)) {
            return {};  // EAX of subleaf 0 is the highest subleaf, of the leaves we look at
        }
        return find(id);
    }

  private:
    [[nodiscard]] CpuidLeaf find(cpuid::LeafId id) const {
        for (const CpuidLeaf &leaf : leaves_) {
            if (leaf.leaf == id.leaf && leaf.subleaf == id.subleaf) {
                return leaf;
            }
        }
        return {};
    }

    std::span<const CpuidLeaf> leaves_;
    uint32_t highest_basic_ = 0;
    uint32_t highest_extended_ = 0;
    bool hypervisor_ = false;
};

uint32_t register_of(const CpuidLeaf &leaf, Register reg) {
    switch (reg) {
        case kEax:
            return leaf.eax;
        case kEbx:
            return leaf.ebx;
        case kEcx:
            return leaf.ecx;
        case kEdx:
            return leaf.edx;
    }
    return 0;
}

bool state_on(State state, uint64_t xcr0) {
    uint64_t needed = 0;
    switch (state) {
        case State::kNone:
            break;
        case State::kAvx:
            needed = cpuid::kXcr0Avx;
            break;
        case State::kAvx512:
            needed = cpuid::kXcr0Avx512;
            break;
        case State::kAmx:
            needed = cpuid::kXcr0Amx;
            break;
    }
    return (xcr0 & needed) == needed;
}

// Four letters a register, the first in its lowest byte.
void append_letters(char *&out, std::initializer_list<uint32_t> registers) {
    for (const uint32_t letters : registers) {
        for (int shift = 0; shift < 32; shift += 8) {
            *out++ = static_cast<char>(letters >> shift);
        }
    }
}

}  // namespace

std::string_view CpuFeatures::brand() const {
    std::string_view text = brand_text.data();
    while (!text.empty() && text.front() == ' ') {
        text.remove_prefix(1);
    }
    while (!text.empty() && text.back() == ' ') {
        text.remove_suffix(1);
    }
    return text;
}

CpuFeatures features_from(std::span<const CpuidLeaf> leaves, uint64_t xcr0) {
    const Leaves all(leaves);
    CpuFeatures out;

    const CpuidLeaf basic = all.get({cpuid::kBasic, 0});
    char *text = out.vendor_text.data();
    append_letters(text, {basic.ebx, basic.edx, basic.ecx});
    text = out.brand_text.data();
    for (uint32_t i = 0; i < cpuid::kBrandLeaves; ++i) {
        const CpuidLeaf part = all.get({cpuid::kBrand + i, 0});
        append_letters(text, {part.eax, part.ebx, part.ecx, part.edx});
    }
    const CpuidLeaf hypervisor = all.get({cpuid::kHypervisor, 0});
    text = out.hypervisor_text.data();
    append_letters(text, {hypervisor.ebx, hypervisor.ecx, hypervisor.edx});

    const CpuidLeaf version = all.get({cpuid::kVersion, 0});
    const uint32_t base_family = (version.eax >> 8) & 0xF;
    const uint32_t base_model = (version.eax >> 4) & 0xF;
    constexpr uint32_t kFamilyExtended = 0xF;  // the extended family counts from here on
    out.family =
        base_family == kFamilyExtended ? base_family + ((version.eax >> 20) & 0xFF) : base_family;
    out.model = base_family == 6 || base_family == kFamilyExtended
                    ? base_model | ((version.eax >> 12) & 0xF0)
                    : base_model;
    out.stepping = version.eax & 0xF;

    const uint64_t states = (version.ecx & cpuid::kVersionEcxOsXsave) != 0 ? xcr0 : 0;
    for (const FeatureBit &feature : kFeatureBits) {
        const uint32_t bits =
            register_of(all.get(kFeatureLeaves[static_cast<size_t>(feature.leaf)]), feature.reg);
        if (((bits >> feature.bit) & 1) == 0) {
            continue;
        }
        const uint64_t mask = uint64_t{1} << static_cast<int>(feature.feature);
        out.present |= mask;
        // A vector extension without the one it builds on is a hypervisor's mistake: not usable.
        const bool base_missing =
            (feature.state == State::kAvx && !out.has(kAvx)) ||
            (feature.state == State::kAvx512 && (!out.has(kAvx2) || !out.has(kAvx512F))) ||
            (feature.state == State::kAmx && !out.has(kAmxTile));
        if (state_on(feature.state, states) && !base_missing) {
            out.usable |= mask;
        }
    }
    return out;
}

std::string_view feature_name(CpuFeature feature) {
    const auto index = static_cast<size_t>(feature);
    return index < kFeatureBits.size() ? std::string_view(kFeatureBits[index].name)
                                       : std::string_view("?");
}

void format_features(TextWriter &out, const CpuFeatures &features) {
    bool first = true;
    for (const FeatureBit &feature : kFeatureBits) {
        if (features.can_use(feature.feature)) {
            out.put(first ? "" : " ", std::string_view(feature.name));
            first = false;
        }
    }
}

namespace {

constinit CpuFeatures this_processor;
constinit bool read_already = false;

uint64_t read_xcr0() {
    uint32_t low = 0;
    uint32_t high = 0;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return static_cast<uint64_t>(high) << 32 | low;
}

}  // namespace

const CpuFeatures &refresh_cpu_features() {
    std::array<CpuidLeaf, cpuid::kLeavesUsed.size()> leaves{};
    bool os_xsave = false;
    for (size_t i = 0; i < leaves.size(); ++i) {
        const auto [leaf, subleaf] = cpuid::kLeavesUsed[i];
        uint32_t registers[4];
        cpu_cpuid(leaf, subleaf, registers);
        leaves[i] = {leaf, subleaf, registers[0], registers[1], registers[2], registers[3]};
        os_xsave = os_xsave ||
                   (leaf == cpuid::kVersion && (registers[2] & cpuid::kVersionEcxOsXsave) != 0);
    }
    this_processor = features_from(leaves, os_xsave ? read_xcr0() : 0);
    read_already = true;
    return this_processor;
}

const CpuFeatures &cpu_features() {
    return read_already ? this_processor : refresh_cpu_features();
}

}  // namespace bareflow

extern "C" {

uint64_t cpu_rdtsc(void) {
    uint32_t low = 0;
    uint32_t high = 0;
    asm volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return static_cast<uint64_t>(high) << 32 | low;
}
void cpu_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t registers[4]) {
    asm volatile("cpuid"
                 : "=a"(registers[0]), "=b"(registers[1]), "=c"(registers[2]), "=d"(registers[3])
                 : "a"(leaf), "c"(subleaf));
}
}
