#include "drivers/pci/pci_metal.h"

#include "kernel_lib/io/log.h"
#include "kernel_lib/io/port.h"
#include "kernel_lib/platform/metal/device_memory.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow {
namespace {

constinit PciPortConfig<PortIo> config{PortIo{}};
constinit PciInventory inventory;
constinit bool enumerated = false;

}  // namespace

PciConfig &pci_config() {
    return config;
}

const PciInventory &pci_inventory() {
    if (!enumerated) {
        enumerate_pci(config, inventory);
        enumerated = true;
    }
    return inventory;
}

Result<Mmio> map_bar(const PciFunction &function, uint8_t index, uint64_t at_least_bytes) {
    BF_ASSIGN(const PciBar bar, read_bar(pci_config(), function, index));
    if (bar.kind != PciBar::Kind::kMemory || bar.len_bytes < at_least_bytes) {
        return Error{ErrorCode::kDevice, "PCI register block is not what the device's manual says"};
    }
    void *mapped = map_device_memory(bar.address, bar.len_bytes);
    if (mapped == nullptr) {
        return Error{ErrorCode::kTooLarge, "device registers cannot be mapped"};
    }
    return Mmio{static_cast<volatile uint8_t *>(mapped), static_cast<size_t>(bar.len_bytes)};
}

Result<DmaRegion> dma_region(size_t bytes) {
    void *pages = platform::allocate_pages(dma_pages(bytes));
    if (pages == nullptr) {
        return Error{ErrorCode::kTooLarge, "too little memory for the device's buffers"};
    }
    return DmaRegion{static_cast<uint8_t *>(pages), bytes};
}

void log_unused(std::string_view kind, const PciFunction &function, std::string_view why) {
    log_line(kind, ": ", pci_name(function), " (", Hex{function.vendor, 4}, ":",
             Hex{function.device, 4}, ") is not used: ", why);
}

}  // namespace bareflow
