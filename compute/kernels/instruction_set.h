// The instruction sets that kernels need, and which of them this processor has.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "kernel_lib/cpu/features.h"

namespace bareflow::compute {

// What a kernel asks of the processor. A greater one includes the lesser ones, except that kAvx512
// and kAmx do not need AVX-VNNI.
enum class InstructionSet : uint8_t {
    kSse2,     // every x86-64
    kSsse3,    //
    kAvx2,     // with FMA and F16C
    kAvxVnni,  // AVX2 and the VEX encoding of `vpdpbusd`
    kAvx512,   // F, BW, DQ, VL and VNNI
    kAmx,      // AVX-512 as above, and tiles of int8
};
// "sse2", "ssse3", "avx2", "avx_vnni", "avx512", "amx"; nothing for any other text.
[[nodiscard]] std::optional<InstructionSet> instruction_set_named(std::string_view name);
[[nodiscard]] bool can_run(InstructionSet set, const CpuFeatures &features);
// Whether this processor can run it and limit_instruction_set() allows it.
[[nodiscard]] bool may_use(InstructionSet set);
// Whether CPUID names QEMU's emulation.
[[nodiscard]] bool is_emulated();

// From now on no list has kernels that need more (setting `jit.isa`). Must be called before an
// engine asks for a list: spans and references that were handed out earlier become meaningless.
void limit_instruction_set(InstructionSet most);
[[nodiscard]] InstructionSet instruction_set_limit();

}  // namespace bareflow::compute
