// Memory that belongs to a device or to the firmware (bare metal only).
#pragma once

#include <cstddef>
#include <cstdint>

namespace bareflow {

// Makes `bytes` at `physical` readable and writable, uncached, at the address of the same value;
// both are widened to whole pages. nullptr: it touches usable memory or the kernel, lies beyond the
// address space, or there is no page for the tables. Mapping twice is fine; it stays for ever.
[[nodiscard]] void *map_device_memory(uint64_t physical, size_t bytes);

// The same for tables that the firmware left in memory (ACPI): read only, cached.
[[nodiscard]] const void *map_firmware_memory(uint64_t physical, size_t bytes);

}  // namespace bareflow
