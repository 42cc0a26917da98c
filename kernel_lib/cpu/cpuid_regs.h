// CPUID leaves and bits. Source: Intel SDM volume 2A, "CPUID"; AMD64 APM volume 3, appendix E for
// the leaves from 8000_0000h on; hypervisor leaves as Linux documents them (virt/kvm/x86/cpuid).
// XCR0: Intel SDM volume 1, 13.3.
#pragma once

#include <array>
#include <cstdint>

namespace bareflow::cpuid {

struct LeafId {
    uint32_t leaf;
    uint32_t subleaf;
};

inline constexpr uint32_t kBasic = 0;
inline constexpr uint32_t kVersion = 1;
inline constexpr uint32_t kStructured = 7;
inline constexpr uint32_t kHypervisor = 0x4000'0000;
inline constexpr uint32_t kExtended = 0x8000'0000;
inline constexpr uint32_t kExtendedFeatures = 0x8000'0001;
inline constexpr uint32_t kBrand = 0x8000'0002;  // and the two after it
inline constexpr uint32_t kBrandLeaves = 3;
inline constexpr uint32_t kPower = 0x8000'0007;

// All that features_from() looks at.
inline constexpr std::array<LeafId, 11> kLeavesUsed{{{kBasic, 0},
                                                     {kVersion, 0},
                                                     {kStructured, 0},
                                                     {kStructured, 1},
                                                     {kHypervisor, 0},
                                                     {kExtended, 0},
                                                     {kExtendedFeatures, 0},
                                                     {kBrand, 0},
                                                     {kBrand + 1, 0},
                                                     {kBrand + 2, 0},
                                                     {kPower, 0}}};

inline constexpr uint32_t kVersionEcxOsXsave = 1U << 27;
inline constexpr uint32_t kVersionEcxHypervisor = 1U << 31;

// XCR0: register state that the system software has switched on.
inline constexpr uint64_t kXcr0Avx = 0b110;                // SSE, upper halves of YMM
inline constexpr uint64_t kXcr0Avx512 = kXcr0Avx | 0xE0;   // masks, upper ZMM, ZMM16-31
inline constexpr uint64_t kXcr0Amx = kXcr0Avx | 0x6'0000;  // tile configuration and data

}  // namespace bareflow::cpuid
