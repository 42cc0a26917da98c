// Finds and starts the machine's devices (bare metal only). Everything lives in static storage for
// as long as the program runs; each function is called once, at start, by the boot processor.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "drivers/block/block_device.h"
#include "drivers/net/net_device.h"
#include "drivers/pci/pci.h"
#include "kernel_lib/base/result.h"

namespace bareflow {

// Configuration space by ports CF8h/CFCh.
[[nodiscard]] PciConfig &pci_config();
// What is plugged in; enumerated at the first call.
[[nodiscard]] const PciInventory &pci_inventory();

// The first network card, in the order of their places on the bus, that there is a driver for and
// that starts. kNotFound: none that is known; otherwise why the last one tried did not start.
// Call it early: QEMU's e1000 delivers its first frame only a second after it was enabled.
// The caller routes irq() to on_interrupt(); a card without a line is polled.
[[nodiscard]] Result<NetDevice *> probe_network();

inline constexpr size_t kMaxDisks = 8;
// Finds the disks (not CD-ROMs), in the order of their names, and writes them to `out`. Returns how
// many. Needs no interrupts: disks are polled.
[[nodiscard]] size_t probe_disks(std::span<BlockDevice *> out);

// Starts a virtio entropy device, if there is one, and makes it the source that
// platform::fill_entropy falls back on. Returns whether it did.
bool probe_entropy();

// The text of QEMU's -fw_cfg name=opt/bareflow/options,string="...", in `buffer` (4 KiB are
// enough). kNotFound: no such text.
[[nodiscard]] Result<std::string_view> read_host_options(std::span<char> buffer);

}  // namespace bareflow
