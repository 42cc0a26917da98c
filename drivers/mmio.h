// A window of device registers in memory. Offsets are our own constants, or checked by the driver
// against `len_bytes` before the first access.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bareflow {

struct Mmio {
    volatile uint8_t *base = nullptr;
    size_t len_bytes = 0;

    [[nodiscard]] uint8_t read8(uint32_t offset) const { return base[offset]; }
    [[nodiscard]] uint16_t read16(uint32_t offset) const {
        return *reinterpret_cast<volatile uint16_t *>(base + offset);
    }
    [[nodiscard]] uint32_t read32(uint32_t offset) const {
        return *reinterpret_cast<volatile uint32_t *>(base + offset);
    }
    void write8(uint32_t offset, uint8_t value) const { base[offset] = value; }
    void write16(uint32_t offset, uint16_t value) const {
        *reinterpret_cast<volatile uint16_t *>(base + offset) = value;
    }
    void write32(uint32_t offset, uint32_t value) const {
        *reinterpret_cast<volatile uint32_t *>(base + offset) = value;
    }
};

}  // namespace bareflow
