#include "drivers/drivers_metal.h"

#include <optional>

#include "drivers/block/ata.h"
#include "drivers/block/virtio_blk.h"
#include "drivers/fw_cfg/fw_cfg.h"
#include "drivers/mmio.h"
#include "drivers/net/e1000.h"
#include "drivers/net/virtio_net.h"
#include "drivers/pci/pci_ids.h"
#include "drivers/virtio/virtio_pci.h"
#include "drivers/virtio/virtio_rng.h"
#include "kernel_lib/io/log.h"
#include "kernel_lib/io/port.h"
#include "kernel_lib/platform/metal/device_memory.h"
#include "kernel_lib/platform/metal/entropy.h"

namespace bareflow {
namespace {

constinit PciPortConfig<PortIo> config{PortIo{}};
constinit PciInventory inventory;
constinit bool enumerated = false;
constinit std::optional<E1000<Mmio>> e1000_card;
constinit std::optional<VirtioNet<VirtioMmio>> virtio_card;
constinit std::optional<VirtioRng<VirtioMmio>> entropy_device;

constexpr std::array<std::string_view, 4> kVirtioDiskNames{"virtio-blk0", "virtio-blk1",
                                                           "virtio-blk2", "virtio-blk3"};
constinit std::array<std::optional<VirtioBlk<VirtioMmio>>, kVirtioDiskNames.size()> virtio_disks;

// One IDE controller with two channels of two drives. In the program's own zeroed memory, since
// that is below 4 GiB wherever the rest is; the channels take turns with the bounce buffer.
constexpr size_t kAtaChannels = 2;
constexpr std::array<std::string_view, 2 * kAtaChannels> kAtaNames{"ata0", "ata1", "ata2", "ata3"};
constinit std::array<std::optional<AtaChannel<PortIo>>, kAtaChannels> ata_channels;
constinit std::array<std::optional<AtaDisk<PortIo>>, 2 * kAtaChannels> ata_disks;
alignas(platform::kPageBytes) constinit uint8_t
    ata_tables[kAtaChannels][AtaChannelSetup::kPrdBytes] = {};
alignas(platform::kPageBytes) constinit uint8_t ata_bounce[AtaChannelSetup::kBounceBytes] = {};

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

Result<NetDevice *> start_virtio_net(const PciFunction &function) {
    const int irq = interrupt_line(pci_config(), function);
    BF_TRY(start_virtio(function, virtio_card, irq >= 0, [irq](auto regs, DmaRegion memory) {
        return VirtioNet<VirtioMmio>::create(regs, memory, irq);
    }));
    return &*virtio_card;
}

// One line for a device that is there and does not work.
void log_unused(std::string_view kind, const PciFunction &function, std::string_view why) {
    log_line(kind, ": ", pci_name(function), " (", Hex{function.vendor, 4}, ":",
             Hex{function.device, 4}, ") is not used: ", why);
}

// The disks found so far.
struct DiskList {
    std::span<BlockDevice *> out;
    size_t count = 0;

    [[nodiscard]] bool full() const { return count == out.size(); }
    void add(BlockDevice &disk) { out[count++] = &disk; }
};

// PCI IDE Controller Specification, section 2: fixed ports in compatibility mode, the function's
// own in native mode. Port 0 for a channel that cannot be used.
AtaChannelSetup ata_channel_setup(const PciFunction &function, size_t channel) {
    AtaChannelSetup setup;
    const uint8_t native_bit =
        channel == 0 ? ata::kProgIfPrimaryNative : ata::kProgIfSecondaryNative;
    if ((function.prog_if & native_bit) != 0) {
        const auto first = static_cast<uint8_t>(2 * channel);
        const Result<PciBar> command = read_bar(pci_config(), function, first);
        const Result<PciBar> control =
            read_bar(pci_config(), function, static_cast<uint8_t>(first + 1));
        if (command && control && command->kind == PciBar::Kind::kIo &&
            control->kind == PciBar::Kind::kIo) {
            setup.command = static_cast<uint16_t>(command->address);
            setup.control = static_cast<uint16_t>(control->address + ata::kNativeControlOffset);
        }
    } else {
        setup.command = channel == 0 ? ata::kPrimaryCommand : ata::kSecondaryCommand;
        setup.control = channel == 0 ? ata::kPrimaryControl : ata::kSecondaryControl;
    }
    if ((function.prog_if & ata::kProgIfBusMaster) != 0) {
        const Result<PciBar> bus_master = read_bar(pci_config(), function, ata::kBusMasterBar);
        if (bus_master && bus_master->kind == PciBar::Kind::kIo &&
            bus_master->len_bytes >= 2 * ata::kBusMasterChannelBytes) {
            setup.bus_master =
                static_cast<uint16_t>(bus_master->address + channel * ata::kBusMasterChannelBytes);
        }
    }
    setup.prd = ata_tables[channel];
    setup.bounce = ata_bounce;
    return setup;
}

void probe_ata(const PciFunction &function, DiskList &disks) {
    for (size_t channel = 0; channel < kAtaChannels; ++channel) {
        const AtaChannelSetup setup = ata_channel_setup(function, channel);
        if (setup.command == 0) {
            continue;
        }
        enable_function(pci_config(), function, {.io = true, .bus_master = setup.bus_master != 0});
        AtaChannel<PortIo> &cable = ata_channels[channel].emplace(PortIo{}, setup);
        for (unsigned drive = 0; drive < 2 && !disks.full(); ++drive) {
            const Result<AtaIdentity> identity = cable.identify(drive);
            if (identity) {
                const size_t index = 2 * channel + drive;
                disks.add(ata_disks[index].emplace(cable, drive, *identity, kAtaNames[index]));
            } else if (identity.error().code != ErrorCode::kNotFound &&
                       identity.error().message != kPacketDevice) {
                log_line("disk: ", kAtaNames[2 * channel + drive],
                         " is not used: ", identity.error().message);
            }
        }
    }
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

size_t probe_disks(std::span<BlockDevice *> out) {
    DiskList disks{out};
    bool ata_found = false;
    size_t virtio_count = 0;
    for (const PciFunction &function : pci_inventory().all()) {
        if (function.class_code != pci::kClassStorage ||
            virtio_type(function) == virtio::kTypeBlock) {
            continue;
        }
        if (!ata_found && function.subclass == pci::kSubclassIde) {
            ata_found = true;
            probe_ata(function, disks);
        } else {
            log_unused("disk", function, "attach disks as IDE or virtio");
        }
    }
    for (const PciFunction &function : pci_inventory().all()) {
        if (virtio_type(function) != virtio::kTypeBlock || disks.full() ||
            virtio_count == virtio_disks.size()) {
            continue;
        }
        auto &disk = virtio_disks[virtio_count];
        const std::string_view name = kVirtioDiskNames[virtio_count];
        const Status started =
            start_virtio(function, disk, false, [name](auto regs, DmaRegion memory) {
                return VirtioBlk<VirtioMmio>::create(regs, memory, name);
            });
        if (started) {
            ++virtio_count;
            disks.add(*disk);
        } else {
            log_unused("disk", function, started.message());
        }
    }
    return disks.count;
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

Result<std::string_view> read_host_options(std::span<char> buffer) {
    FwCfg<PortIo> host{PortIo{}};
    const std::span bytes(reinterpret_cast<uint8_t *>(buffer.data()),
                          std::min(buffer.size(), fw_cfg::kMaxOptionsBytes));
    BF_ASSIGN(const size_t len, host.read_file(fw_cfg::kOptionsFile, bytes));
    return std::string_view(buffer.data(), len);
}

}  // namespace bareflow
