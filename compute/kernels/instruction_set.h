// What a kernel asks of the processor, and whether this processor has it.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "kernel_lib/cpu/features.h"

namespace bareflow::compute {

// What a kernel asks of the processor, the greater ones containing the lesser.
enum class InstructionSet : uint8_t {
    kSse2,     // every x86-64
    kSsse3,    //
    kAvx2,     // with FMA and F16C
    kAvxVnni,  // AVX2 and the VEX form of `vpdpbusd`
    kAvx512,   // F, BW, DQ, VL and VNNI; needs no AVX-VNNI
    kAmx,      // AVX-512 as above, and tiles of int8
};
// "sse2", "ssse3", "avx2", "avx_vnni", "avx512", "amx"; nothing for any other text.
[[nodiscard]] std::optional<InstructionSet> instruction_set_named(std::string_view name);
[[nodiscard]] bool can_run(InstructionSet set, const CpuFeatures &features);
// On this processor, and within limit_instruction_set().
[[nodiscard]] bool may_use(InstructionSet set);
// The processor says that it is QEMU's emulation.
[[nodiscard]] bool is_emulated();

// Kernels that need more are out of the lists from now on (setting `jit.isa`). Before any list is
// asked for by an engine: spans and references handed out earlier are no longer what they were.
void limit_instruction_set(InstructionSet most);
[[nodiscard]] InstructionSet instruction_set_limit();

}  // namespace bareflow::compute
