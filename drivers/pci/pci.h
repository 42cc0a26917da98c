// What is plugged into the machine: enumeration of PCI functions, their registers' addresses and
// capabilities. Everything read here comes from devices and is checked. Called at start, by the
// boot processor.
#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "drivers/pci/pci_config.h"
#include "kernel_lib/base/result.h"

namespace bareflow {

inline constexpr size_t kMaxPciFunctions = 64;

struct PciFunction {
    PciAddress address;
    uint16_t vendor = 0;
    uint16_t device = 0;
    uint16_t subsystem_vendor = 0;  // 0 unless header type 0
    uint16_t subsystem = 0;
    uint8_t class_code = 0;
    uint8_t subclass = 0;
    uint8_t prog_if = 0;
    uint8_t revision = 0;
    uint8_t header_layout = 0;

    [[nodiscard]] bool is(uint16_t a_vendor, uint16_t a_device) const {
        return vendor == a_vendor && device == a_device;
    }
    [[nodiscard]] bool is_class(uint8_t a_class, uint8_t a_subclass) const {
        return class_code == a_class && subclass == a_subclass;
    }
};

struct PciInventory {
    std::array<PciFunction, kMaxPciFunctions> functions;
    size_t count = 0;
    bool truncated = false;  // there were more than kMaxPciFunctions

    [[nodiscard]] std::span<const PciFunction> all() const {
        return std::span(functions).first(count);
    }
};

// Walks bus 0 and every bus behind a bridge, each bus once, however the bridges are wired.
void enumerate_pci(PciConfig &config, PciInventory &out);

struct PciBar {
    enum class Kind : uint8_t { kIo, kMemory } kind = Kind::kMemory;
    uint64_t address = 0;
    uint64_t len_bytes = 0;
};

// Where firmware has put register block `index` (0-5), and how long it is. Turns the function's
// decoding off meanwhile, so call it before the function is in use, and never for the screen.
// kNotFound: not implemented or not assigned. kInvalid: size and address cannot be right.
[[nodiscard]] Result<PciBar> read_bar(PciConfig &config, const PciFunction &function,
                                      uint8_t index);

// Visits each capability as visit(id, offset) until it returns false. Bounded, and proof against
// lists that loop or point into the header.
template <typename Visit>
void for_each_capability(PciConfig &config, const PciFunction &function, Visit visit) {
    if ((config.read16(function.address, pci::kStatus) & pci::kStatusCapabilities) == 0) {
        return;
    }
    std::bitset<64> seen;  // by dword of the 256-byte space
    uint8_t offset = config.read8(function.address, pci::kCapabilitiesPointer) & 0xFC;
    while (offset >= pci::kFirstCapability && !seen[offset / 4]) {
        seen[offset / 4] = true;
        const uint32_t head = config.read32(function.address, offset);
        if (!visit(static_cast<uint8_t>(head), offset)) {
            return;
        }
        offset = static_cast<uint8_t>(head >> 8) & 0xFC;
    }
}

// Sets exactly these of the command register's I/O, memory, bus master and INTx-disable bits, and
// leaves the others as they are.
struct PciEnable {
    bool io = false;
    bool memory = false;
    bool bus_master = false;
    bool interrupt = false;
};
void enable_function(PciConfig &config, const PciFunction &function, PciEnable enable);

// The legacy interrupt line that firmware routed the function to: 1-15, or -1 for none.
[[nodiscard]] int interrupt_line(PciConfig &config, const PciFunction &function);

// A name for the log ("Intel 82540EM"); for an unknown device the name of its class ("network
// controller").
[[nodiscard]] std::string_view pci_name(const PciFunction &function);

}  // namespace bareflow
