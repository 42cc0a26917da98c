// The text of a fault report. It is written inside an exception handler, so nothing here may fault,
// allocate or take a lock.
#include "kernel_lib/cpu/exception_frame.h"

#include <array>
#include <atomic>

namespace bareflow {

namespace {

constexpr std::array<const char *, 22> kNames = {
    "divide error",
    "debug exception",
    "non-maskable interrupt",
    "breakpoint",
    "overflow",
    "bound range exceeded",
    "invalid opcode",
    "device not available",
    "double fault",
    "coprocessor segment overrun",
    "invalid TSS",
    "segment not present",
    "stack fault",
    "general protection fault",
    "page fault",
    "reserved exception",
    "x87 floating-point error",
    "alignment check",
    "machine check",
    "SIMD floating-point error",
    "virtualization exception",
    "control protection exception",
};

constinit std::atomic<AddressNamer> address_namer = nullptr;

void put_name(TextWriter &out, uint64_t address) {
    if (const AddressNamer namer = address_namer.load(std::memory_order_relaxed)) {
        namer(address, out);
    }
}

struct NamedRegister {
    char name[5];
    uint8_t offset;
};
constexpr std::array<NamedRegister, 15> kRegisters = {{
    {"RAX ", offsetof(InterruptFrame, rax)},
    {"RBX ", offsetof(InterruptFrame, rbx)},
    {"RCX ", offsetof(InterruptFrame, rcx)},
    {"RDX ", offsetof(InterruptFrame, rdx)},
    {"RSI ", offsetof(InterruptFrame, rsi)},
    {"RDI ", offsetof(InterruptFrame, rdi)},
    {"RBP ", offsetof(InterruptFrame, rbp)},
    {"R8  ", offsetof(InterruptFrame, r8)},
    {"R9  ", offsetof(InterruptFrame, r9)},
    {"R10 ", offsetof(InterruptFrame, r10)},
    {"R11 ", offsetof(InterruptFrame, r11)},
    {"R12 ", offsetof(InterruptFrame, r12)},
    {"R13 ", offsetof(InterruptFrame, r13)},
    {"R14 ", offsetof(InterruptFrame, r14)},
    {"R15 ", offsetof(InterruptFrame, r15)},
}};
constexpr size_t kRegistersPerLine = 3;

// SDM 3, 4.7: bits of a page fault's error code.
void put_page_fault(TextWriter &out, uint64_t error_code, uint64_t address) {
    constexpr uint64_t kPresent = 1 << 0;
    constexpr uint64_t kWrite = 1 << 1;
    constexpr uint64_t kReservedBit = 1 << 3;
    constexpr uint64_t kFetch = 1 << 4;
    const std::string_view what = (error_code & kFetch) != 0   ? "executing"
                                  : (error_code & kWrite) != 0 ? "writing"
                                                               : "reading";
    const std::string_view why = (error_code & kReservedBit) != 0 ? "a damaged page table entry"
                                 : (error_code & kPresent) != 0   ? "not allowed there"
                                                                  : "no memory is mapped there";
    out.put("  ", what, " at ", Hex{address, 16}, ": ", why, '\n');
}

}  // namespace

std::string_view exception_name(uint64_t vector) {
    return vector < kNames.size() ? kNames[vector] : "reserved exception";
}

void set_address_namer(AddressNamer namer) {
    address_namer.store(namer, std::memory_order_relaxed);
}

void format_backtrace(TextWriter &out, std::span<const uint64_t> backtrace) {
    for (const uint64_t address : backtrace) {
        out.put("  called from ", Hex{address, 16});
        put_name(out, address);
        out.put('\n');
    }
}

void format_exception(TextWriter &out, const InterruptFrame &frame, const ControlRegisters &control,
                      std::span<const uint64_t> backtrace, std::string_view note) {
    out.put("EXCEPTION ", frame.vector, ": ", exception_name(frame.vector), ", error code 0x",
            Hex{frame.error_code, 4}, '\n');
    if (frame.vector == kVectorPageFault) {
        put_page_fault(out, frame.error_code, control.cr2);
    }
    if (!note.empty()) {
        out.put("  ", note, '\n');
    }
    out.put("  RIP ", Hex{frame.rip, 16}, "  CS ", Hex{frame.cs, 4}, "  RFLAGS ",
            Hex{frame.rflags, 8});
    put_name(out, frame.rip);
    out.put('\n');
    out.put("  RSP ", Hex{frame.rsp, 16}, "  SS ", Hex{frame.ss, 4}, '\n');
    for (size_t i = 0; i < kRegisters.size(); ++i) {
        uint64_t value = 0;
        __builtin_memcpy(&value, reinterpret_cast<const char *>(&frame) + kRegisters[i].offset,
                         sizeof(value));
        out.put("  ", kRegisters[i].name, Hex{value, 16},
                i % kRegistersPerLine == kRegistersPerLine - 1 ? "\n" : "");
    }
    out.put("  CR2 ", Hex{control.cr2, 16}, "  CR3 ", Hex{control.cr3, 16}, '\n');
    format_backtrace(out, backtrace);
}

}  // namespace bareflow
