// Ids of the devices that this program drives or names in its log. Sources: Intel SDM for the 8254x
// family, table 5-1; VIRTIO 1.2 section 4.1.2; QEMU's docs/specs/pci-ids for the rest of its
// default machine.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace bareflow {

inline constexpr uint16_t kVendorIntel = 0x8086;
inline constexpr uint16_t kVendorVirtio = 0x1AF4;

// VIRTIO 1.2 section 4.1.2: 1000h-103Fh are transitional devices, whose type is the subsystem id;
// from 1040h on, the id is 1040h plus the type.
inline constexpr uint16_t kVirtioTransitionalFirst = 0x1000;
inline constexpr uint16_t kVirtioModernFirst = 0x1040;
inline constexpr uint16_t kVirtioLast = 0x107F;

struct PciName {
    uint16_t vendor;
    uint16_t device;
    std::string_view text;
};
inline constexpr std::array kPciNames{
    PciName{0x8086, 0x100E, "Intel 82540EM network card"},
    PciName{0x8086, 0x100F, "Intel 82545EM network card"},
    PciName{0x8086, 0x100C, "Intel 82544GC network card"},
    PciName{0x8086, 0x10D3, "Intel 82574L network card"},
    PciName{0x8086, 0x1237, "Intel 440FX host bridge"},
    PciName{0x8086, 0x7000, "Intel PIIX3 ISA bridge"},
    PciName{0x8086, 0x7010, "Intel PIIX3 IDE"},
    PciName{0x8086, 0x7113, "Intel PIIX4 power management"},
    PciName{0x8086, 0x29C0, "Intel Q35 host bridge"},
    PciName{0x1234, 0x1111, "QEMU VGA"},
    PciName{0x1AF4, 0x1000, "virtio network card"},
    PciName{0x1AF4, 0x1041, "virtio network card"},
    PciName{0x1AF4, 0x1001, "virtio disk"},
    PciName{0x1AF4, 0x1042, "virtio disk"},
    PciName{0x1AF4, 0x1005, "virtio entropy source"},
    PciName{0x1AF4, 0x1044, "virtio entropy source"},
};

// PCI specification 3.0, appendix D.
struct PciClassName {
    uint8_t class_code;
    std::string_view text;
};
inline constexpr std::array kPciClassNames{
    PciClassName{0x01, "storage controller"},    PciClassName{0x02, "network controller"},
    PciClassName{0x03, "display controller"},    PciClassName{0x06, "bridge"},
    PciClassName{0x0C, "serial bus controller"},
};

}  // namespace bareflow
