#include "drivers/net/probe_metal.h"

#include "drivers/net/e1000.h"
#include "drivers/net/virtio_net.h"
#include "drivers/pci/pci_ids.h"
#include "drivers/virtio/probe_metal.h"
#include "drivers/virtio/virtio_pci.h"

namespace bareflow {
namespace {

constinit std::optional<E1000<Mmio>> e1000_card;
constinit std::optional<VirtioNet<VirtioMmio>> virtio_card;

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

Result<NetDevice *> start_virtio_net(const PciFunction &function) {
    const int irq = interrupt_line(pci_config(), function);
    BF_TRY(start_virtio(function, virtio_card, irq >= 0, [irq](auto regs, DmaRegion memory) {
        return VirtioNet<VirtioMmio>::create(regs, memory, irq);
    }));
    return &*virtio_card;
}

}  // namespace

Result<NetDevice *> probe_network() {
    Error last{ErrorCode::kNotFound, "no network card that this program has a driver for"};
    for (const PciFunction &function : pci_inventory().all()) {
        const e1000::Model *model =
            function.vendor == kVendorIntel ? e1000::find_model(function.device) : nullptr;
        if (model == nullptr && virtio_type(function) != virtio::kTypeNetwork) {
            continue;
        }
        const Result<NetDevice *> card =
            model != nullptr ? start_e1000(function, *model) : start_virtio_net(function);
        if (card) {
            return *card;
        }
        last = card.error();
    }
    return last;
}

}  // namespace bareflow
