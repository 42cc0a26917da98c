#include "drivers/virtio/probe_metal.h"

#include "drivers/pci/pci_ids.h"
#include "drivers/virtio/virtio_pci.h"
#include "drivers/virtio/virtio_rng.h"
#include "kernel_lib/platform/metal/device_memory.h"
#include "kernel_lib/platform/metal/entropy.h"

namespace bareflow {
namespace {

constinit std::optional<VirtioRng<VirtioMmio>> entropy_device;

// The part of a register block that `window` names.
Result<Mmio> map_window(const PciFunction &function, const VirtioWindow &window) {
    if (window.len_bytes == 0) {
        return Mmio{};
    }
    BF_ASSIGN(const PciBar bar, read_bar(pci_config(), function, window.bar));
    if (bar.kind != PciBar::Kind::kMemory ||
        uint64_t{window.offset} + window.len_bytes > bar.len_bytes) {
        return Error{ErrorCode::kDevice, "virtio device describes itself wrongly"};
    }
    void *mapped = map_device_memory(bar.address + window.offset, window.len_bytes);
    if (mapped == nullptr) {
        return Error{ErrorCode::kTooLarge, "device registers cannot be mapped"};
    }
    return Mmio{static_cast<volatile uint8_t *>(mapped), window.len_bytes};
}

}  // namespace

Result<VirtioMmio> map_virtio(const PciFunction &function) {
    BF_ASSIGN(const VirtioLayout layout, find_virtio_layout(pci_config(), function));
    VirtioMmio regs;
    BF_ASSIGN(regs.common, map_window(function, layout.common));
    BF_ASSIGN(regs.notify, map_window(function, layout.notify));
    BF_ASSIGN(regs.isr, map_window(function, layout.isr));
    BF_ASSIGN(regs.device, map_window(function, layout.device));
    regs.notify_multiplier = layout.notify_multiplier;
    return regs;
}

bool probe_entropy() {
    for (const PciFunction &function : pci_inventory().all()) {
        if (virtio_type(function) != virtio::kTypeEntropy) {
            continue;
        }
        const Status started =
            start_virtio(function, entropy_device, false, [](auto regs, DmaRegion memory) {
                return VirtioRng<VirtioMmio>::create(regs, memory);
            });
        if (started) {
            set_entropy_device(
                [](std::span<uint8_t> bytes) {
                    return entropy_device->fill(bytes) ? bytes.size() : size_t{0};
                },
                "virtio-rng");
            return true;
        }
        log_unused("entropy", function, started.message());
    }
    return false;
}

}  // namespace bareflow
