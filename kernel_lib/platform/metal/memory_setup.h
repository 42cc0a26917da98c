// The memory of the machine: who owns which page, and what each page may do (bare metal only).
// Called by start.cpp; the rest of the program uses platform.h and device_memory.h.
#pragma once

#include <cstdint>
#include <string_view>

#include "boot/boot_info.h"
#include "kernel_lib/base/result.h"

namespace bareflow {

// Takes over from the boot code's temporary mapping: page allocator filled, own tables in CR3,
// everything mapped with what it may do. `no_execute`: EFER.NXE is on. Extra page of device
// registers to keep reachable: `local_apic` (0: none).
[[nodiscard]] Status init_memory(const BootInfo &info, bool no_execute, uint64_t local_apic);

// For the exception handlers.
[[nodiscard]] bool is_readable(uint64_t address);
[[nodiscard]] std::string_view explain_fault(uint64_t address);

}  // namespace bareflow
