// What the boot code hands to the C++ entry, whichever way the machine was started. Filled by
// boot/bios/stage2.asm (disk image, BIOS) and boot/pvh/pvh.asm (ELF by -kernel); the layout is
// repeated in boot/boot_info.inc and checked against it by tests/unit/boot. All addresses are
// physical.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bareflow {

inline constexpr uint32_t kBootInfoMagic = 0x4F4C4642;  // "BFLO"
inline constexpr uint32_t kMaxMemoryRanges = 128;

enum class BootSource : uint32_t { kBiosDisk = 1, kPvh = 2 };

// ACPI 6.4 section 15.1, INT 15h E820h: type 1 is usable memory.
struct MemoryRange {
    uint64_t base;
    uint64_t len_bytes;
    uint32_t type;
    uint32_t reserved;
};
inline constexpr uint32_t kMemoryUsable = 1;

struct BootInfo {
    uint32_t magic;
    BootSource source;
    uint64_t tsc_at_entry;   // first instruction of ours
    uint64_t tsc_at_kernel;  // jump to the C++ entry
    uint64_t
        command_line;  // NUL-terminated, 0: none (PVH: -append; disk image: its options sector)
    uint64_t initrd;   // 0: none
    uint64_t initrd_len_bytes;
    uint64_t acpi_rsdp;   // 0: not told
    uint32_t bios_drive;  // DL at boot; 0 for PVH
    uint32_t memory_range_count;
    MemoryRange memory_ranges[kMaxMemoryRanges];
};

}  // namespace bareflow
