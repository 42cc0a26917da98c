// Finds and starts the machine's disks (bare metal only). They live in static storage for as long
// as the program runs.
#pragma once

#include <cstddef>
#include <span>

#include "drivers/block/block_device.h"

namespace bareflow {

inline constexpr size_t kMaxDisks = 8;
// Finds the disks (not CD-ROMs), in the order of their names, and writes them to `out`. Returns how
// many. Needs no interrupts: disks are polled.
[[nodiscard]] size_t probe_disks(std::span<BlockDevice *> out);

}  // namespace bareflow
