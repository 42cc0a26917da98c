// The memory of the machine: who owns which page, and what each page may do (bare metal only).
// Called by start.cpp; the rest of the program uses platform.h and device_memory.h.
#pragma once

#include <cstdint>
#include <string_view>

#include "boot/boot_info.h"
#include "kernel_lib/base/result.h"
#include "kernel_lib/memory/paging.h"

namespace bareflow {

// Takes over from the boot code's temporary mapping: page allocator filled, own tables in CR3,
// everything mapped with what it may do. `no_execute`: EFER.NXE is on. Extra page of device
// registers to keep reachable: `local_apic` (0: none).
[[nodiscard]] Status init_memory(const BootInfo &info, bool no_execute, uint64_t local_apic);

// Makes the page at `address` (below 1 MiB, usable memory) executable and read-only, or writable
// again. kInvalid: it is none of those.
[[nodiscard]] Status protect_low_page(uint64_t address, bool executable);

// The top of a new stack with a hole below it; 0: no memory. For ever.
[[nodiscard]] uint64_t allocate_stack(size_t page_count);

// Counts changes of the page tables: a processor that saw another count must reload CR3.
[[nodiscard]] uint32_t translation_count();

// Of the tables in force.
[[nodiscard]] PageTables::Audit audit_page_tables();

// For the exception handlers.
[[nodiscard]] bool is_readable(uint64_t address);
[[nodiscard]] std::string_view explain_fault(uint64_t address);

}  // namespace bareflow
