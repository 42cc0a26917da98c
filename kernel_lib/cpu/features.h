// What the processor can do, and what of it may be used now: AVX and its like count as usable only
// when the system software has switched their register state on (OSXSAVE, XCR0).
//
// Says nothing about what is fast: only a measurement does. Pure functions over CPUID leaves, so
// that the tests run them over dumps of real processors; any processor may call them.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernel_lib/base/text_writer.h"
#include "kernel_lib/cpu/cpuid_regs.h"

namespace bareflow {

enum class CpuFeature : uint8_t {
    kSse3,
    kSsse3,
    kSse41,
    kSse42,
    kPopcnt,
    kCx16,
    kMovbe,
    kLzcnt,
    kBmi1,
    kBmi2,
    kAdx,
    kErms,
    kFsrm,
    kRdrand,
    kRdseed,
    kXsave,
    kAvx,
    kF16c,
    kFma,
    kAvx2,
    kAvxVnni,
    kAvx512F,
    kAvx512Dq,
    kAvx512Bw,
    kAvx512Vl,
    kAvx512Vbmi,
    kAvx512Vnni,
    kAvx512Bf16,
    kAvx512Fp16,
    kAmxTile,
    kAmxInt8,
    kAmxBf16,
    kNx,
    kPage1G,
    kRdtscp,
    kX2apic,
    kTscDeadline,
    kInvariantTsc,
    kCount,
};

struct CpuidLeaf {
    uint32_t leaf = 0;
    uint32_t subleaf = 0;
    uint32_t eax = 0;
    uint32_t ebx = 0;
    uint32_t ecx = 0;
    uint32_t edx = 0;
};

struct CpuFeatures {
    uint64_t present = 0;  // bit per CpuFeature
    uint64_t usable = 0;
    uint32_t family = 0;
    uint32_t model = 0;
    uint32_t stepping = 0;
    std::array<char, 13> vendor_text{};
    std::array<char, 49> brand_text{};
    std::array<char, 13> hypervisor_text{};

    [[nodiscard]] bool has(CpuFeature f) const {
        return ((present >> static_cast<int>(f)) & 1) != 0;
    }
    [[nodiscard]] bool can_use(CpuFeature f) const {
        return ((usable >> static_cast<int>(f)) & 1) != 0;
    }
    [[nodiscard]] std::string_view vendor() const { return vendor_text.data(); }
    // Without the blanks around it; empty when the processor has none.
    [[nodiscard]] std::string_view brand() const;
    // "KVMKVMKVM", "TCGTCGTCGTCG", ...; empty on bare hardware.
    [[nodiscard]] std::string_view hypervisor() const { return hypervisor_text.data(); }
};

// A leaf that `leaves` lacks, or that lies beyond the highest one the processor reports (where
// CPUID answers with data of another leaf), counts as all zeros. xcr0: 0 when OSXSAVE is off.
[[nodiscard]] CpuFeatures features_from(std::span<const CpuidLeaf> leaves, uint64_t xcr0);

// "sse3", "avx512_vnni", ...
[[nodiscard]] std::string_view feature_name(CpuFeature feature);
// The usable ones by name, separated by blanks.
void format_features(TextWriter &out, const CpuFeatures &features);

// This processor's, read at the first call; and read again, for when XCR0 has been changed.
[[nodiscard]] const CpuFeatures &cpu_features();
const CpuFeatures &refresh_cpu_features();

}  // namespace bareflow
