#include "drivers/virtio/virtio_pci.h"

#include "drivers/pci/pci_ids.h"

namespace bareflow {
namespace {

constexpr uint32_t kConfigSpaceBytes = 256;
constexpr uint32_t kIsrBytes = 1;
constexpr uint32_t kNotifyBytes = 2;

// Reads one capability. The window has length 0 if the capability must be ignored: it is too short,
// or names a reserved register block or one in I/O space.
VirtioWindow read_window(PciConfig &config, const PciFunction &function, uint8_t at,
                         uint8_t least_bytes) {
    const PciAddress where = function.address;
    VirtioWindow window;
    if (at + uint32_t{least_bytes} > kConfigSpaceBytes ||
        config.read8(where, at + virtio::kCapLen) < least_bytes) {
        return window;
    }
    window.bar = config.read8(where, at + virtio::kCapBar);
    if (window.bar >= pci::kBarCount) {
        return window;
    }
    const uint32_t bar = config.read32(where, static_cast<uint8_t>(pci::kBar0 + 4 * window.bar));
    if ((bar & pci::kBarIo) != 0) {
        return window;
    }
    window.offset = config.read32(where, at + virtio::kCapOffset);
    window.len_bytes = config.read32(where, at + virtio::kCapLength);
    return window;
}

bool usable(const VirtioWindow &window, uint32_t least_bytes, uint32_t alignment) {
    return window.len_bytes >= least_bytes && window.offset % alignment == 0 &&
           window.offset + window.len_bytes >= window.offset;
}

}  // namespace

uint16_t virtio_type(const PciFunction &function) {
    if (function.vendor != kVendorVirtio || function.device < kVirtioTransitionalFirst ||
        function.device > kVirtioLast) {
        return 0;
    }
    return function.device >= kVirtioModernFirst
               ? static_cast<uint16_t>(function.device - kVirtioModernFirst)
               : function.subsystem;
}

Result<VirtioLayout> find_virtio_layout(PciConfig &config, const PciFunction &function) {
    VirtioLayout layout;
    for_each_capability(config, function, [&](uint8_t id, uint8_t at) {
        if (id != pci::kCapabilityVendorSpecific) {
            return true;
        }
        // Each structure's first capability that can be used counts (section 4.1.4.1).
        const auto take = [&](VirtioWindow &window, uint8_t least) {
            if (window.len_bytes != 0) {
                return false;
            }
            window = read_window(config, function, at, least);
            return window.len_bytes != 0;
        };
        switch (config.read8(function.address, at + virtio::kCapType)) {
            case virtio::kCfgCommon:
                take(layout.common, virtio::kCapBytes);
                break;
            case virtio::kCfgNotify:
                if (take(layout.notify, virtio::kCapNotifyBytes)) {
                    layout.notify_multiplier =
                        config.read32(function.address, at + virtio::kCapNotifyMultiplier);
                }
                break;
            case virtio::kCfgIsr:
                take(layout.isr, virtio::kCapBytes);
                break;
            case virtio::kCfgDevice:
                take(layout.device, virtio::kCapBytes);
                break;
            default:
                break;
        }
        return true;
    });
    if (layout.common.len_bytes == 0 || layout.notify.len_bytes == 0 || layout.isr.len_bytes == 0) {
        return Error{ErrorCode::kUnsupported, "virtio device without the modern interface"};
    }
    const uint32_t multiplier = layout.notify_multiplier;
    if (!usable(layout.common, virtio::kCommonBytes, 4) ||
        !usable(layout.notify, kNotifyBytes, 2) || !usable(layout.isr, kIsrBytes, 1) ||
        (layout.device.len_bytes != 0 && !usable(layout.device, 1, 4)) ||
        (multiplier & (multiplier - 1)) != 0 || multiplier == 1) {
        return Error{ErrorCode::kInvalid, "virtio device describes itself wrongly"};
    }
    return layout;
}

}  // namespace bareflow
