#include "tests/fakes/fake_pci.h"

namespace bareflow::fakes {

void FakePci::Function::set_bar(uint8_t index, uint32_t address, uint32_t len, uint32_t flags) {
    set32(static_cast<uint8_t>(pci::kBar0 + 4 * index), address | flags);
    bar_writable[index] = ~(len - 1);
}

void FakePci::Function::set_bar64(uint8_t index, uint64_t address, uint64_t len) {
    const uint64_t writable = ~(len - 1);
    set32(static_cast<uint8_t>(pci::kBar0 + 4 * index),
          static_cast<uint32_t>(address) | pci::kBarType64);
    bar_writable[index] = static_cast<uint32_t>(writable);
    if (index + 1u < bar_writable.size()) {
        set32(static_cast<uint8_t>(pci::kBar0 + 4 * index + 4),
              static_cast<uint32_t>(address >> 32));
        bar_writable[index + 1u] = static_cast<uint32_t>(writable >> 32);
    }
}

void FakePci::Function::add_capability(uint8_t id, uint8_t at) {
    set16(pci::kStatus, get16(pci::kStatus) | pci::kStatusCapabilities);
    set8(at, id);
    set8(static_cast<uint8_t>(at + 1), bytes[pci::kCapabilitiesPointer]);
    set8(pci::kCapabilitiesPointer, at);
}

FakePci::Function &FakePci::add(PciAddress where, uint16_t vendor, uint16_t device) {
    Function &function = functions_[key(where)];
    function.set16(pci::kVendorId, vendor);
    function.set16(pci::kVendorId + 2, device);
    return function;
}

FakePci::Function &FakePci::add_bridge(PciAddress where, uint8_t secondary_bus) {
    Function &bridge = add(where, 0x8086, 0x1234);
    bridge.set_class(pci::kClassBridge, pci::kSubclassPciBridge, 0);
    bridge.set8(pci::kHeaderType, pci::kHeaderBridge);
    bridge.set8(pci::kBridgeSecondaryBus, secondary_bus);
    return bridge;
}

uint32_t FakePci::read32(PciAddress where, uint8_t offset) {
    ++reads;
    violations.require(offset % 4 == 0, "misaligned 32-bit read");
    violations.require(where.device < 32 && where.function < 8, "address outside a bus");
    const auto found = functions_.find(key(where));
    return found == functions_.end() ? 0xFFFFFFFF : found->second.get32(offset & 0xFC);
}

void FakePci::write32(PciAddress where, uint8_t offset, uint32_t value) {
    const auto found = functions_.find(key(where));
    if (found == functions_.end() || offset % 4 != 0 || offset < pci::kBar0 ||
        offset >= pci::kBar0 + 4 * pci::kBarCount) {
        violations.add("32-bit write to what is no address register");
        return;
    }
    Function &function = found->second;
    violations.require(
        (function.get16(pci::kCommand) & (pci::kCommandIo | pci::kCommandMemory)) == 0,
        "address register written while the function decodes");
    const uint32_t writable = function.bar_writable[(offset - pci::kBar0) / 4u];
    function.set32(offset, (function.get32(offset) & ~writable) | (value & writable));
}

void FakePci::write16(PciAddress where, uint8_t offset, uint16_t value) {
    const auto found = functions_.find(key(where));
    if (found == functions_.end() || offset != pci::kCommand) {
        violations.add("16-bit write to what is not the command register");
        return;
    }
    found->second.set16(offset, value);
}

}  // namespace bareflow::fakes
