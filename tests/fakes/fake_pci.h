// A PCI bus of made-up functions. It checks its caller: accesses are aligned, no register is sized
// while the function still decodes, and only the command and the address registers are written.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <tuple>

#include "drivers/pci/pci_config.h"
#include "tests/fakes/violations.h"

namespace bareflow::fakes {

class FakePci final : public PciConfig {
  public:
    struct Function {
        std::array<uint8_t, 256> bytes{};
        std::array<uint32_t, 6> bar_writable{};  // which bits of each address register stick

        void set8(uint8_t at, uint8_t value) { bytes[at] = value; }
        void set16(uint8_t at, uint16_t value) {
            set8(at, static_cast<uint8_t>(value));
            set8(static_cast<uint8_t>(at + 1), static_cast<uint8_t>(value >> 8));
        }
        void set32(uint8_t at, uint32_t value) {
            set16(at, static_cast<uint16_t>(value));
            set16(static_cast<uint8_t>(at + 2), static_cast<uint16_t>(value >> 16));
        }
        [[nodiscard]] uint16_t get16(uint8_t at) const {
            return static_cast<uint16_t>(bytes[at] | bytes[at + 1] << 8);
        }
        [[nodiscard]] uint32_t get32(uint8_t at) const {
            return get16(at) | uint32_t{get16(static_cast<uint8_t>(at + 2))} << 16;
        }
        // One register block of 2^n bytes; `flags` are the low bits of the register.
        void set_bar(uint8_t index, uint32_t address, uint32_t len, uint32_t flags);
        void set_bar64(uint8_t index, uint64_t address, uint64_t len);
        void set_class(uint8_t a_class, uint8_t subclass, uint8_t prog_if) {
            set32(pci::kRevisionAndClass,
                  uint32_t{a_class} << 24 | uint32_t{subclass} << 16 | uint32_t{prog_if} << 8);
        }
        // Puts one capability in front of those in the list.
        void add_capability(uint8_t id, uint8_t at);
    };

    Function &add(PciAddress where, uint16_t vendor, uint16_t device);
    Function &add_bridge(PciAddress where, uint8_t secondary_bus);
    [[nodiscard]] Function &at(PciAddress where) { return functions_.at(key(where)); }

    uint32_t read32(PciAddress where, uint8_t offset) override;
    void write32(PciAddress where, uint8_t offset, uint32_t value) override;
    void write16(PciAddress where, uint8_t offset, uint16_t value) override;

    Violations violations{"fake PCI bus"};
    uint32_t reads = 0;

  private:
    using Key = std::tuple<uint8_t, uint8_t, uint8_t>;
    static Key key(PciAddress where) { return {where.bus, where.device, where.function}; }

    std::map<Key, Function> functions_;
};

}  // namespace bareflow::fakes
