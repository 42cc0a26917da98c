// Finds IDE disks, then virtio disks. A disk that does not start is reported and left out; it must
// not keep the others from starting.
#include "drivers/block/probe_metal.h"

#include <array>
#include <string_view>

#include "drivers/block/ata.h"
#include "drivers/block/virtio_blk.h"
#include "drivers/pci/pci_ids.h"
#include "drivers/virtio/probe_metal.h"
#include "drivers/virtio/virtio_pci.h"
#include "kernel_lib/io/log.h"
#include "kernel_lib/io/port.h"

namespace bareflow {
namespace {

constexpr std::array<std::string_view, 4> kVirtioDiskNames{"virtio-blk0", "virtio-blk1",
                                                           "virtio-blk2", "virtio-blk3"};
constinit std::array<std::optional<VirtioBlk<VirtioMmio>>, kVirtioDiskNames.size()> virtio_disks;

// One IDE controller with two channels of two drives. The tables lie in the program's own zeroed
// memory, which is below 4 GiB on every machine. Both channels use one bounce buffer: only one
// transfer runs at a time.
constexpr size_t kAtaChannels = 2;
constexpr std::array<std::string_view, 2 * kAtaChannels> kAtaNames{"ata0", "ata1", "ata2", "ata3"};
constinit std::array<std::optional<AtaChannel<PortIo>>, kAtaChannels> ata_channels;
constinit std::array<std::optional<AtaDisk<PortIo>>, 2 * kAtaChannels> ata_disks;
alignas(platform::kPageBytes) constinit uint8_t
    ata_tables[kAtaChannels][AtaChannelSetup::kPrdBytes] = {};
alignas(platform::kPageBytes) constinit uint8_t ata_bounce[AtaChannelSetup::kBounceBytes] = {};

// The disks found so far.
struct DiskList {
    std::span<BlockDevice *> out;
    size_t count = 0;

    [[nodiscard]] bool full() const { return count == out.size(); }
    void add(BlockDevice &disk) { out[count++] = &disk; }
};

// PCI IDE Controller Specification, section 2: a channel has fixed ports in compatibility mode, and
// the function's own in native mode. A channel that cannot be used gets port 0.
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

}  // namespace bareflow
