// The machine's PCI bus (bare metal only): what is plugged in, and what every driver's probe needs.
// Called at start, by the boot processor.
#pragma once

#include <cstddef>
#include <string_view>

#include "drivers/dma.h"
#include "drivers/mmio.h"
#include "drivers/pci/pci.h"
#include "kernel_lib/base/result.h"

namespace bareflow {

// Configuration space by ports CF8h/CFCh.
[[nodiscard]] PciConfig &pci_config();
// What is plugged in; enumerated at the first call.
[[nodiscard]] const PciInventory &pci_inventory();

// Maps the register block of BAR `index`. kDevice: it is no memory block of `at_least_bytes`.
// kTooLarge: no room in the page tables.
[[nodiscard]] Result<Mmio> map_bar(const PciFunction &function, uint8_t index,
                                   uint64_t at_least_bytes);
// Zeroed pages that are the device's from now on. kTooLarge: too little memory.
[[nodiscard]] Result<DmaRegion> dma_region(size_t bytes);
// One line in the log for a device that is there and does not work.
void log_unused(std::string_view kind, const PciFunction &function, std::string_view why);

}  // namespace bareflow
