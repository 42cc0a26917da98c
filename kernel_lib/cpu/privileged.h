// Instructions about the processor itself, one function each (bare metal only; most are for ring
// 0). Ports are in io/port.h. Source: Intel SDM volume 2; register layouts are cited where they are
// used.
#pragma once

#include <cstdint>

namespace bareflow {

// Operand of LGDT and LIDT.
struct [[gnu::packed]] DescriptorTablePointer {
    uint16_t limit;
    uint64_t base;
};

inline uint64_t read_msr(uint32_t index) {
    uint32_t low = 0;
    uint32_t high = 0;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
    return static_cast<uint64_t>(high) << 32 | low;
}
inline void write_msr(uint32_t index, uint64_t value) {
    asm volatile("wrmsr"
                 :
                 : "a"(static_cast<uint32_t>(value)), "d"(static_cast<uint32_t>(value >> 32)),
                   "c"(index)
                 : "memory");
}

inline uint64_t read_cr0() {
    uint64_t value = 0;
    asm volatile("mov %%cr0, %0" : "=r"(value));
    return value;
}
inline uint64_t read_cr2() {
    uint64_t value = 0;
    asm volatile("mov %%cr2, %0" : "=r"(value));
    return value;
}
inline uint64_t read_cr3() {
    uint64_t value = 0;
    asm volatile("mov %%cr3, %0" : "=r"(value));
    return value;
}
inline void write_cr3(uint64_t value) {
    asm volatile("mov %0, %%cr3" : : "r"(value) : "memory");
}
inline uint64_t read_cr4() {
    uint64_t value = 0;
    asm volatile("mov %%cr4, %0" : "=r"(value));
    return value;
}
inline void write_cr4(uint64_t value) {
    asm volatile("mov %0, %%cr4" : : "r"(value) : "memory");
}
inline void write_xcr0(uint64_t value) {
    asm volatile("xsetbv"
                 :
                 : "a"(static_cast<uint32_t>(value)), "d"(static_cast<uint32_t>(value >> 32)),
                   "c"(0));
}

// Only with CR4.OSXSAVE.
inline uint64_t read_xcr0() {
    uint32_t low = 0;
    uint32_t high = 0;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return static_cast<uint64_t>(high) << 32 | low;
}
inline uint32_t read_mxcsr() {
    uint32_t value = 0;
    asm volatile("stmxcsr %0" : "=m"(value));
    return value;
}

inline void invalidate_page(uint64_t address) {
    asm volatile("invlpg (%0)" : : "r"(address) : "memory");
}
inline uint64_t read_tsc() {
    return __builtin_ia32_rdtsc();
}
struct CpuidLeaf {
    uint32_t eax = 0;
    uint32_t ebx = 0;
    uint32_t ecx = 0;
    uint32_t edx = 0;
};
inline CpuidLeaf read_cpuid(uint32_t leaf, uint32_t subleaf = 0) {
    CpuidLeaf out;
    asm volatile("cpuid"
                 : "=a"(out.eax), "=b"(out.ebx), "=c"(out.ecx), "=d"(out.edx)
                 : "a"(leaf), "c"(subleaf));
    return out;
}

inline uint64_t read_flags() {
    uint64_t value = 0;
    asm volatile("pushfq; popq %0" : "=r"(value));
    return value;
}
inline void interrupts_off() {
    asm volatile("cli" : : : "memory");
}
inline void interrupts_on() {
    asm volatile("sti" : : : "memory");
}
// The instruction after STI still runs with interrupts held back (SDM 2, STI): a wake-up that is
// pending now ends the HLT, it can't slip in before it. Interrupts must be off.
inline void interrupts_on_and_halt() {
    asm volatile("sti; hlt" : : : "memory");
}
inline void halt() {
    asm volatile("hlt" : : : "memory");
}

}  // namespace bareflow
