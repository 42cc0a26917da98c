// Where a virtio device keeps its registers: the modern interface's four structures, found by the
// function's vendor-specific capabilities (VIRTIO 1.2 section 4.1.4). Everything is checked.
#pragma once

#include <cstdint>

#include "drivers/pci/pci.h"
#include "drivers/virtio/virtio_regs.h"
#include "kernel_lib/base/result.h"

namespace bareflow {

struct VirtioWindow {
    uint8_t bar = 0;
    uint32_t offset = 0;
    uint32_t len_bytes = 0;  // 0: there is none
};
struct VirtioLayout {
    VirtioWindow common;
    VirtioWindow notify;
    VirtioWindow isr;
    VirtioWindow device;  // may be absent
    uint32_t notify_multiplier = 0;
};

// virtio::kType..., or 0 for a function that is no virtio device (section 4.1.2). Transitional
// devices have it as their subsystem id.
[[nodiscard]] uint16_t virtio_type(const PciFunction &function);

// kUnsupported: a device with the legacy interface only; kInvalid: structures that cannot be right.
[[nodiscard]] Result<VirtioLayout> find_virtio_layout(PciConfig &config,
                                                      const PciFunction &function);

}  // namespace bareflow
