// Everything that is read here comes from devices. What must hold for any of it: the walk visits
// each bus at most once, and so it ends. A register block is handed out only if its size and
// address make sense.
#include "drivers/pci/pci.h"

#include "drivers/pci/pci_ids.h"

namespace bareflow {
namespace {

constexpr size_t kMaxBuses = 256;

// The buses to walk, each at most once.
struct BusQueue {
    std::array<uint8_t, kMaxBuses> buses{};
    size_t count = 0;
    std::bitset<kMaxBuses> seen;

    void add(uint8_t bus) {
        if (!seen[bus]) {
            seen[bus] = true;
            buses[count++] = bus;
        }
    }
};

PciFunction describe(PciConfig &config, PciAddress where, uint32_t id) {
    PciFunction found;
    found.address = where;
    found.vendor = static_cast<uint16_t>(id);
    found.device = static_cast<uint16_t>(id >> 16);
    const uint32_t revision_and_class = config.read32(where, pci::kRevisionAndClass);
    found.revision = static_cast<uint8_t>(revision_and_class);
    found.prog_if = static_cast<uint8_t>(revision_and_class >> 8);
    found.subclass = static_cast<uint8_t>(revision_and_class >> 16);
    found.class_code = static_cast<uint8_t>(revision_and_class >> 24);
    found.header_layout = config.read8(where, pci::kHeaderType) & pci::kHeaderLayoutMask;
    if (found.header_layout == pci::kHeaderDevice) {
        const uint32_t subsystem = config.read32(where, pci::kSubsystem);
        found.subsystem_vendor = static_cast<uint16_t>(subsystem);
        found.subsystem = static_cast<uint16_t>(subsystem >> 16);
    }
    return found;
}

void record(PciInventory &out, const PciFunction &found) {
    if (out.count == out.functions.size()) {
        out.truncated = true;
        return;
    }
    out.functions[out.count++] = found;
}

void walk_device(PciConfig &config, PciAddress where, PciInventory &out, BusQueue &queue) {
    for (uint8_t function = 0; function < pci::kFunctionsPerDevice; ++function) {
        where.function = function;
        const uint32_t id = config.read32(where, pci::kVendorId);
        if (static_cast<uint16_t>(id) == pci::kNoVendor) {
            if (function == 0) {
                return;  // a device always has function 0 (section 3.2.2.3.4)
            }
            continue;
        }
        const PciFunction found = describe(config, where, id);
        record(out, found);
        if (found.header_layout == pci::kHeaderBridge &&
            found.is_class(pci::kClassBridge, pci::kSubclassPciBridge)) {
            queue.add(config.read8(where, pci::kBridgeSecondaryBus));
        }
        const bool multi = (config.read8(where, pci::kHeaderType) & pci::kHeaderMultiFunction) != 0;
        if (function == 0 && !multi) {
            return;
        }
    }
}

}  // namespace

void enumerate_pci(PciConfig &config, PciInventory &out) {
    out.count = 0;
    out.truncated = false;
    BusQueue queue;
    queue.add(0);
    for (size_t next = 0; next < queue.count; ++next) {
        for (uint8_t device = 0; device < pci::kDevicesPerBus; ++device) {
            walk_device(config, {queue.buses[next], device, 0}, out, queue);
        }
    }
}

namespace {

// Writes all ones to the register, reads which bits stick, and puts the old value back
// (section 6.2.5.1, implementation note on sizing).
uint32_t sizing_mask(PciConfig &config, PciAddress where, uint8_t offset, uint32_t old_value) {
    config.write32(where, offset, 0xFFFFFFFF);
    const uint32_t mask = config.read32(where, offset);
    config.write32(where, offset, old_value);
    return mask;
}

Result<PciBar> checked(PciBar bar) {
    if (bar.len_bytes == 0) {
        return Error{ErrorCode::kNotFound, "PCI register block is not implemented"};
    }
    if ((bar.len_bytes & (bar.len_bytes - 1)) != 0) {
        return Error{ErrorCode::kInvalid, "PCI register block has no power-of-two size"};
    }
    if (bar.address == 0) {
        return Error{ErrorCode::kNotFound, "PCI register block has no address"};
    }
    if ((bar.address & (bar.len_bytes - 1)) != 0 || bar.address + bar.len_bytes < bar.address) {
        return Error{ErrorCode::kInvalid, "PCI register block is misplaced"};
    }
    if (bar.kind == PciBar::Kind::kIo && bar.address + bar.len_bytes > 0x10000) {
        return Error{ErrorCode::kInvalid, "PCI I/O block is out of the processor's reach"};
    }
    return bar;
}

}  // namespace

Result<PciBar> read_bar(PciConfig &config, const PciFunction &function, uint8_t index) {
    const PciAddress where = function.address;
    if (index >= pci::kBarCount || function.header_layout != pci::kHeaderDevice) {
        return Error{ErrorCode::kInvalid, "no such PCI register block"};
    }
    const auto offset = static_cast<uint8_t>(pci::kBar0 + 4 * index);
    const uint32_t low = config.read32(where, offset);
    const bool io = (low & pci::kBarIo) != 0;
    const bool wide = !io && (low & pci::kBarTypeMask) == pci::kBarType64;
    if (!io && (low & pci::kBarTypeMask) == pci::kBarTypeReserved) {
        return Error{ErrorCode::kInvalid, "PCI register block of a reserved type"};
    }
    if (wide && index + 1 >= pci::kBarCount) {
        return Error{ErrorCode::kInvalid, "64-bit PCI register block in the last slot"};
    }

    const uint16_t command = config.read16(where, pci::kCommand);
    config.write16(where, pci::kCommand,
                   command & static_cast<uint16_t>(~(pci::kCommandIo | pci::kCommandMemory)));
    const uint32_t low_mask = sizing_mask(config, where, offset, low);
    uint32_t high = 0;
    uint32_t high_mask = 0;
    if (wide) {
        const auto high_offset = static_cast<uint8_t>(offset + 4);
        high = config.read32(where, high_offset);
        high_mask = sizing_mask(config, where, high_offset, high);
    }
    config.write16(where, pci::kCommand, command);

    PciBar bar;
    if (io) {
        bar.kind = PciBar::Kind::kIo;
        bar.address = low & pci::kBarIoMask;
        // The upper half may be hard-wired to zero: ports are 16 bits.
        const uint32_t mask = low_mask & pci::kBarIoMask & 0xFFFF;
        bar.len_bytes = mask == 0 ? 0 : (~mask & 0xFFFF) + 1;
        return checked(bar);
    }
    bar.kind = PciBar::Kind::kMemory;
    bar.address = (low & pci::kBarMemoryMask) | uint64_t{high} << 32;
    const uint32_t mask = low_mask & pci::kBarMemoryMask;
    if (wide) {
        const uint64_t wide_mask = mask | uint64_t{high_mask} << 32;
        bar.len_bytes = wide_mask == 0 ? 0 : ~wide_mask + 1;
    } else {
        bar.len_bytes = mask == 0 ? 0 : uint64_t{~mask} + 1;
    }
    return checked(bar);
}

void enable_function(PciConfig &config, const PciFunction &function, PciEnable enable) {
    uint16_t command = config.read16(function.address, pci::kCommand);
    const auto set = [&command](uint16_t bit, bool on) {
        command = static_cast<uint16_t>(on ? command | bit : command & ~bit);
    };
    set(pci::kCommandIo, enable.io);
    set(pci::kCommandMemory, enable.memory);
    set(pci::kCommandBusMaster, enable.bus_master);
    set(pci::kCommandIntxDisable, !enable.interrupt);
    config.write16(function.address, pci::kCommand, command);
}

int interrupt_line(PciConfig &config, const PciFunction &function) {
    const uint8_t line = config.read8(function.address, pci::kInterruptLine);
    // 0 is the timer's and FFh "unknown" (section 6.2.4, implementation note for PCs).
    return line >= 1 && line <= 15 ? line : -1;
}

std::string_view pci_name(const PciFunction &function) {
    for (const PciName &name : kPciNames) {
        if (function.is(name.vendor, name.device)) {
            return name.text;
        }
    }
    for (const PciClassName &name : kPciClassNames) {
        if (function.class_code == name.class_code) {
            return name.text;
        }
    }
    return "unknown device";
}

}  // namespace bareflow
