// Access to PCI configuration space. A boot makes a few hundred accesses, so virtual calls cost
// nothing that counts; tests put a made-up bus behind the interface.
#pragma once

#include <cstdint>

#include "drivers/pci/pci_regs.h"

namespace bareflow {

struct PciAddress {
    uint8_t bus = 0;
    uint8_t device = 0;    // 0-31
    uint8_t function = 0;  // 0-7
    bool operator==(const PciAddress &) const = default;
};

class PciConfig {
  public:
    // offset: aligned to the width. A function that is not there reads as all ones.
    [[nodiscard]] virtual uint32_t read32(PciAddress where, uint8_t offset) = 0;
    virtual void write32(PciAddress where, uint8_t offset, uint32_t value) = 0;
    // Not made of read32() and write32(): the other half of the word may be a register in which
    // writing a one clears a bit.
    virtual void write16(PciAddress where, uint8_t offset, uint16_t value) = 0;

    [[nodiscard]] uint16_t read16(PciAddress where, uint8_t offset) {
        return static_cast<uint16_t>(read32(where, offset & 0xFC) >> ((offset & 2) * 8));
    }
    [[nodiscard]] uint8_t read8(PciAddress where, uint8_t offset) {
        return static_cast<uint8_t>(read32(where, offset & 0xFC) >> ((offset & 3) * 8));
    }

  protected:
    ~PciConfig() = default;
};

// Configuration mechanism #1. Ports: in32 out32 out16, like PortIo (kernel_lib/io/port.h).
template <typename Ports>
class PciPortConfig final : public PciConfig {
  public:
    constexpr explicit PciPortConfig(Ports ports) : ports_(ports) {}

    uint32_t read32(PciAddress where, uint8_t offset) override {
        select(where, offset);
        return ports_.in32(pci::kConfigDataPort);
    }
    void write32(PciAddress where, uint8_t offset, uint32_t value) override {
        select(where, offset);
        ports_.out32(pci::kConfigDataPort, value);
    }
    void write16(PciAddress where, uint8_t offset, uint16_t value) override {
        select(where, offset);
        ports_.out16(static_cast<uint16_t>(pci::kConfigDataPort + (offset & 2)), value);
    }

  private:
    void select(PciAddress where, uint8_t offset) {
        ports_.out32(pci::kConfigAddressPort, pci::kConfigEnable | uint32_t{where.bus} << 16 |
                                                  uint32_t{where.device} << 11 |
                                                  uint32_t{where.function} << 8 | (offset & 0xFCu));
    }

    Ports ports_;
};

}  // namespace bareflow
