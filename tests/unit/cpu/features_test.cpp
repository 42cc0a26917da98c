// Which instruction sets are usable, decided from recorded CPUID leaves of several processors and
// from the processor that runs the test.
#include "kernel_lib/cpu/features.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kernel_lib/cpu/cpuid_regs.h"
#include "tests/unit/cpu/cpuid_dumps.h"

namespace bareflow {
namespace {

using enum CpuFeature;

std::string usable(const CpuFeatures &features) {
    char buffer[512];
    TextWriter out(buffer);
    format_features(out, features);
    return std::string(out.view());
}

template <size_t kCount>
std::vector<CpuidLeaf> with_osxsave(const std::array<CpuidLeaf, kCount> &dump) {
    std::vector<CpuidLeaf> leaves(dump.begin(), dump.end());
    for (CpuidLeaf &leaf : leaves) {
        if (leaf.leaf == cpuid::kVersion) {
            leaf.ecx |= cpuid::kVersionEcxOsXsave;
        }
    }
    return leaves;
}

TEST(Features, Qemu64) {
    const CpuFeatures f = features_from(dumps::kQemu64, 0);
    EXPECT_EQ(f.vendor(), "AuthenticAMD");
    EXPECT_EQ(f.brand(), "QEMU Virtual CPU version 2.5+");
    EXPECT_EQ(f.hypervisor(), "TCGTCGTCGTCG");
    EXPECT_EQ(f.family, 15U);
    EXPECT_EQ(f.model, 107U);
    EXPECT_EQ(f.stepping, 1U);
    EXPECT_EQ(usable(f), "sse3 cx16 nx");
    EXPECT_EQ(f.present, f.usable);
}

TEST(Features, QemuMaxBeforeXsaveIsOn) {
    // XCR0 must be ignored while OSXSAVE is off, whatever it seems to hold.
    const CpuFeatures f = features_from(dumps::kQemuMax, 7);
    EXPECT_EQ(f.hypervisor(), "TCGTCGTCGTCG");
    EXPECT_TRUE(f.has(kAvx2) && f.has(kFma) && f.has(kF16c) && f.has(kAvx));
    EXPECT_FALSE(f.can_use(kAvx) || f.can_use(kAvx2) || f.can_use(kFma) || f.can_use(kF16c));
    EXPECT_TRUE(f.can_use(kBmi2) && f.can_use(kRdrand) && f.can_use(kSse42));
    EXPECT_FALSE(f.has(kInvariantTsc) || f.has(kX2apic) || f.has(kTscDeadline));
}

TEST(Features, QemuMaxWithXsaveOn) {
    const CpuFeatures f = features_from(with_osxsave(dumps::kQemuMax), 7);
    EXPECT_EQ(usable(f),
              "sse3 ssse3 sse4_1 sse4_2 popcnt cx16 movbe lzcnt bmi1 bmi2 adx erms rdrand "
              "xsave avx f16c fma avx2 nx page1gb rdtscp");
    EXPECT_FALSE(f.has(kAvx512F));
}

TEST(Features, RegisterStateDecides) {
    const auto leaves = with_osxsave(dumps::kGenoa);
    for (const uint64_t xcr0 : {0x0, 0x1, 0x2, 0x3, 0x4, 0x5}) {
        const CpuFeatures f = features_from(leaves, xcr0);
        EXPECT_FALSE(f.can_use(kAvx) || f.can_use(kAvx2) || f.can_use(kAvx512F)) << xcr0;
        EXPECT_TRUE(f.can_use(kBmi2));  // VEX encoded, but no vector state
    }
    const CpuFeatures avx_only = features_from(leaves, 0x7);
    EXPECT_TRUE(avx_only.can_use(kAvx2) && avx_only.can_use(kFma));
    EXPECT_FALSE(avx_only.can_use(kAvx512F) || avx_only.can_use(kAvx512Vnni));
    for (const uint64_t part : {0x27, 0x47, 0x87, 0x67, 0xA7, 0xC7, 0xE1}) {
        EXPECT_FALSE(features_from(leaves, part).can_use(kAvx512Vnni)) << part;
    }
    EXPECT_TRUE(features_from(leaves, 0xE7).can_use(kAvx512Vnni));
}

TEST(Features, Genoa) {
    const CpuFeatures f = features_from(dumps::kGenoa, dumps::kGenoaXcr0);
    EXPECT_EQ(f.vendor(), "AuthenticAMD");
    EXPECT_EQ(f.brand(), "AMD EPYC 9124 16-Core Processor");
    EXPECT_EQ(f.hypervisor(), "");
    EXPECT_EQ(f.family, 0x19U);
    EXPECT_EQ(f.model, 0x11U);
    EXPECT_EQ(usable(f),
              "sse3 ssse3 sse4_1 sse4_2 popcnt cx16 movbe lzcnt bmi1 bmi2 adx erms fsrm rdrand "
              "rdseed xsave avx f16c fma avx2 avx512f avx512dq avx512bw avx512vl avx512_vbmi "
              "avx512_vnni avx512_bf16 nx page1gb rdtscp x2apic invariant_tsc");
    EXPECT_FALSE(f.has(kAvxVnni) || f.has(kAmxTile) || f.has(kTscDeadline));
}

TEST(Features, XeonUnderKvm) {
    const CpuFeatures f = features_from(dumps::kXeonKvm, dumps::kXeonKvmXcr0);
    EXPECT_EQ(f.vendor(), "GenuineIntel");
    EXPECT_EQ(f.brand(), "Intel(R) Xeon(R) Processor");
    EXPECT_EQ(f.hypervisor(), "KVMKVMKVM");
    EXPECT_EQ(f.family, 6U);
    EXPECT_EQ(f.model, 167U);
    for (const CpuFeature feature : {kAvx512Vnni, kAvx512Fp16, kAvx512Bf16, kAvxVnni, kAmxTile,
                                     kAmxInt8, kAmxBf16, kTscDeadline, kInvariantTsc, kFsrm}) {
        EXPECT_TRUE(f.can_use(feature)) << feature_name(feature);
    }
    // Without the tile state only AMX goes.
    const CpuFeatures no_tiles = features_from(dumps::kXeonKvm, 0xE7);
    EXPECT_FALSE(no_tiles.can_use(kAmxTile) || no_tiles.can_use(kAmxInt8));
    EXPECT_TRUE(no_tiles.has(kAmxInt8) && no_tiles.can_use(kAvx512Vnni));
}

TEST(Features, Conroe) {
    const CpuFeatures f = features_from(dumps::kConroe, 0);
    EXPECT_EQ(f.vendor(), "GenuineIntel");
    EXPECT_EQ(f.brand(), "Intel(R) Core(TM)2 CPU          6420  @ 2.13GHz");
    EXPECT_EQ(f.hypervisor(), "");
    EXPECT_EQ(f.family, 6U);
    EXPECT_EQ(f.model, 15U);
    EXPECT_EQ(usable(f), "sse3 ssse3 cx16 nx");
}

// A leaf beyond the highest holds another leaf's data: here one that looks like AVX2 and the rest.
TEST(Features, LeavesBeyondTheHighestCountAsZero) {
    std::vector<CpuidLeaf> leaves = with_osxsave(dumps::kXeonKvm);
    leaves[0].eax = 6;
    CpuFeatures f = features_from(leaves, 0x600E7);
    EXPECT_TRUE(f.can_use(kAvx));
    EXPECT_FALSE(f.has(kAvx2) || f.has(kAvxVnni) || f.has(kBmi2) || f.has(kAmxTile));

    leaves = with_osxsave(dumps::kXeonKvm);
    leaves[1].ecx &= ~cpuid::kVersionEcxHypervisor;  // then that leaf is no name either
    EXPECT_EQ(features_from(leaves, 0x600E7).hypervisor(), "");

    leaves = with_osxsave(dumps::kXeonKvm);
    leaves[2].eax = 0;  // leaf 7 has no subleaf 1
    f = features_from(leaves, 0x600E7);
    EXPECT_TRUE(f.can_use(kAvx512Vnni));
    EXPECT_FALSE(f.has(kAvxVnni) || f.has(kAvx512Bf16));

    leaves = with_osxsave(dumps::kXeonKvm);
    leaves[5].eax = 0x24;  // no extended leaves at all
    f = features_from(leaves, 0x600E7);
    EXPECT_FALSE(f.has(kNx) || f.has(kInvariantTsc) || f.has(kLzcnt));
    EXPECT_EQ(f.brand(), "");
}

TEST(Features, SlipsOfAHypervisor) {
    // AVX-512 without AVX2, AVX2 without AVX: reported, not usable.
    std::vector<CpuidLeaf> leaves = with_osxsave(dumps::kGenoa);
    leaves[2].ebx &= ~(1U << 5);
    EXPECT_FALSE(features_from(leaves, 0xE7).can_use(kAvx512F));
    EXPECT_TRUE(features_from(leaves, 0xE7).has(kAvx512F));
    leaves = with_osxsave(dumps::kGenoa);
    leaves[1].ecx &= ~(1U << 28);
    EXPECT_FALSE(features_from(leaves, 0xE7).can_use(kAvx2));
}

TEST(Features, NoLeavesNoFeatures) {
    const CpuFeatures f = features_from({}, ~uint64_t{0});
    EXPECT_EQ(f.present, 0U);
    EXPECT_EQ(f.vendor(), "");
    EXPECT_EQ(f.brand(), "");
}

// Against the compiler's own view of the machine the test runs on.
TEST(Features, ThisProcessor) {
    const CpuFeatures &f = cpu_features();
    EXPECT_FALSE(f.vendor().empty());
    EXPECT_EQ(f.can_use(kSse42), __builtin_cpu_supports("sse4.2") != 0);
    EXPECT_EQ(f.can_use(kPopcnt), __builtin_cpu_supports("popcnt") != 0);
    EXPECT_EQ(f.can_use(kAvx), __builtin_cpu_supports("avx") != 0);
    EXPECT_EQ(f.can_use(kAvx2), __builtin_cpu_supports("avx2") != 0);
    EXPECT_EQ(f.can_use(kFma), __builtin_cpu_supports("fma") != 0);
    EXPECT_EQ(f.can_use(kBmi2), __builtin_cpu_supports("bmi2") != 0);
    EXPECT_EQ(f.can_use(kAvx512F), __builtin_cpu_supports("avx512f") != 0);
    EXPECT_EQ(f.can_use(kAvx512Bw), __builtin_cpu_supports("avx512bw") != 0);
    EXPECT_EQ(f.can_use(kAvx512Vnni), __builtin_cpu_supports("avx512vnni") != 0);
    EXPECT_EQ(refresh_cpu_features().usable, f.usable);
}

}  // namespace
}  // namespace bareflow
