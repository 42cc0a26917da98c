// The processors that the firmware lists: RSDP -> XSDT or RSDT -> MADT. Sources: ACPI 6.4, 5.2.5
// (RSDP), 5.2.6 (headers), 5.2.7, 5.2.8, 5.2.12 (MADT and its entries).
//
// Pure: memory comes through an interface, so that the hosted tests and the fuzzer lay tables where
// they like. Nothing in them is trusted: every table's signature, length and sum is checked, and
// whatever would be absurdly long is refused before it is read.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernel_lib/base/result.h"

namespace bareflow {

// Physical memory as the firmware left it. nullptr: not there. What was given stays readable.
class FirmwareMemory {
  public:
    [[nodiscard]] virtual const uint8_t *at(uint64_t address, size_t bytes) = 0;

  protected:
    ~FirmwareMemory() = default;
};

struct ProcessorList {
    static constexpr size_t kMaxListed = 64;

    // Of the usable ones whose identifier a local APIC can be addressed by (below 255), in the
    // table's order, each once.
    std::array<uint8_t, kMaxListed> apic_ids{};
    size_t count = 0;
    size_t left_out = 0;  // usable, but no room above, or not addressable

    [[nodiscard]] std::span<const uint8_t> ids() const { return std::span(apic_ids).first(count); }
};

// `rsdp`: its address when the boot loader told it, 0: looked for in the BIOS area. kNotFound: no
// tables, or none about processors; kInvalid: damaged ones. The message says which.
[[nodiscard]] Result<ProcessorList> find_processors(FirmwareMemory &memory, uint64_t rsdp);

}  // namespace bareflow
