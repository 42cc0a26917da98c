// Starts virtio devices that are PCI functions (bare metal only). Called at start, by the boot
// processor.
#pragma once

#include <optional>
#include <utility>

#include "drivers/mmio.h"
#include "drivers/pci/pci_metal.h"
#include "drivers/virtio/virtio_device.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow {

// Maps the register windows that the function describes (virtio 1.2, 4.1.4).
[[nodiscard]] Result<VirtioMmio> map_virtio(const PciFunction &function);

// Starts one virtio device: create(registers, memory) makes the driver, `keep` is where it stays.
template <typename Driver, typename Create>
Status start_virtio(const PciFunction &function, std::optional<Driver> &keep, bool interrupt,
                    Create create) {
    BF_ASSIGN(const VirtioMmio regs, map_virtio(function));
    BF_ASSIGN(const DmaRegion memory, dma_region(Driver::kDmaBytes));
    enable_function(pci_config(), function,
                    {.memory = true, .bus_master = true, .interrupt = interrupt});
    Result<Driver> made = create(regs, memory);
    if (!made) {
        enable_function(pci_config(), function, {});
        platform::free_pages(memory.data(), dma_pages(memory.size()));
        return made.status();
    }
    keep.emplace(std::move(made).value());
    return {};
}

// Starts a virtio entropy device, if there is one, and makes it the source that
// platform::fill_entropy falls back on. Returns whether it did.
bool probe_entropy();

}  // namespace bareflow
