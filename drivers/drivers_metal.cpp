#include "drivers/drivers_metal.h"

#include <optional>

#include "drivers/mmio.h"
#include "drivers/net/e1000.h"
#include "drivers/pci/pci_ids.h"
#include "kernel_lib/io/port.h"
#include "kernel_lib/platform/metal/device_memory.h"

namespace bareflow {
namespace {

constinit PciPortConfig<PortIo> config{PortIo{}};
constinit PciInventory inventory;
constinit bool enumerated = false;
constinit std::optional<E1000<Mmio>> e1000_card;

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

// Zeroed pages that are the device's from now on.
Result<DmaRegion> dma_region(size_t bytes) {
    void *pages = platform::allocate_pages(dma_pages(bytes));
    if (pages == nullptr) {
        return Error{ErrorCode::kTooLarge, "too little memory for the device's buffers"};
    }
    return DmaRegion{static_cast<uint8_t *>(pages), bytes};
}

Result<NetDevice *> start_e1000(const PciFunction &function, const e1000::Model &model) {
    BF_ASSIGN(const Mmio regs, map_bar(function, 0, e1000::kRegisterBytes));
    BF_ASSIGN(const DmaRegion memory, dma_region(E1000Layout::kDmaBytes));
    enable_function(pci_config(), function,
                    {.memory = true, .bus_master = true, .interrupt = true});
    Result<E1000<Mmio>> card =
        E1000<Mmio>::create(regs, model, memory, interrupt_line(pci_config(), function));
    if (!card) {
        enable_function(pci_config(), function, {});
        platform::free_pages(memory.data(), dma_pages(memory.size()));
        return card.error();
    }
    e1000_card.emplace(std::move(card).value());
    return &*e1000_card;
}

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

Result<NetDevice *> probe_network() {
    Error last{ErrorCode::kNotFound, "no network card that this program has a driver for"};
    for (const PciFunction &function : pci_inventory().all()) {
        if (function.vendor != kVendorIntel) {
            continue;
        }
        if (const e1000::Model *model = e1000::find_model(function.device)) {
            const Result<NetDevice *> card = start_e1000(function, *model);
            if (card) {
                return *card;
            }
            last = card.error();
        }
    }
    return last;
}

}  // namespace bareflow
