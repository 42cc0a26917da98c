// Ports of the x86 I/O space: the real ones. Drivers take the type as a template parameter, so that
// a fake device with the same four members can drive (and check) them.
#pragma once

#include <cstdint>

namespace bareflow {

struct PortIo {
    static uint8_t in8(uint16_t port) {
        uint8_t value;
        asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
        return value;
    }
    static uint16_t in16(uint16_t port) {
        uint16_t value;
        asm volatile("inw %1, %0" : "=a"(value) : "Nd"(port) : "memory");
        return value;
    }
    static uint32_t in32(uint16_t port) {
        uint32_t value;
        asm volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
        return value;
    }
    static void out8(uint16_t port, uint8_t value) {
        asm volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
    }
    static void out16(uint16_t port, uint16_t value) {
        asm volatile("outw %0, %1" : : "a"(value), "Nd"(port) : "memory");
    }
    static void out32(uint16_t port, uint32_t value) {
        asm volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
    }

    // Keeps this processor's interrupts away for as long as it lives (nests).
    class InterruptsOff {
      public:
        InterruptsOff() { asm volatile("pushfq; popq %0; cli" : "=r"(flags_) : : "memory"); }
        ~InterruptsOff() { asm volatile("pushq %0; popfq" : : "r"(flags_) : "memory", "cc"); }
        InterruptsOff(const InterruptsOff &) = delete;
        InterruptsOff &operator=(const InterruptsOff &) = delete;

      private:
        uint64_t flags_;
    };
};

}  // namespace bareflow
