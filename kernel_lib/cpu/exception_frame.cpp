#include "kernel_lib/cpu/exception_frame.h"

#include <array>

namespace bareflow {

namespace {

constexpr std::array<std::string_view, 22> kNames = {
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

void put_registers(TextWriter &out, std::string_view a, uint64_t va, std::string_view b,
                   uint64_t vb, std::string_view c, uint64_t vc) {
    out.put("  ", a, ' ', Hex{va, 16}, "  ", b, ' ', Hex{vb, 16}, "  ", c, ' ', Hex{vc, 16}, '\n');
}

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

void format_backtrace(TextWriter &out, std::span<const uint64_t> backtrace) {
    for (const uint64_t address : backtrace) {
        out.put("  called from ", Hex{address, 16}, '\n');
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
            Hex{frame.rflags, 8}, '\n');
    out.put("  RSP ", Hex{frame.rsp, 16}, "  SS ", Hex{frame.ss, 4}, '\n');
    put_registers(out, "RAX", frame.rax, "RBX", frame.rbx, "RCX", frame.rcx);
    put_registers(out, "RDX", frame.rdx, "RSI", frame.rsi, "RDI", frame.rdi);
    put_registers(out, "RBP", frame.rbp, "R8 ", frame.r8, "R9 ", frame.r9);
    put_registers(out, "R10", frame.r10, "R11", frame.r11, "R12", frame.r12);
    put_registers(out, "R13", frame.r13, "R14", frame.r14, "R15", frame.r15);
    out.put("  CR2 ", Hex{control.cr2, 16}, "  CR3 ", Hex{control.cr3, 16}, '\n');
    format_backtrace(out, backtrace);
}

}  // namespace bareflow
