#include "kernel_lib/cpu/exception_frame.h"

#include <array>
#include <atomic>

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

constinit std::atomic<AddressNamer> address_namer = nullptr;

void put_name(TextWriter &out, uint64_t address) {
    if (const AddressNamer namer = address_namer.load(std::memory_order_relaxed)) {
        namer(address, out);
    }
}

struct NamedRegister {
    std::string_view name;
    uint64_t InterruptFrame::*value;
};
constexpr std::array<NamedRegister, 15> kRegisters = {{
    {"RAX ", &InterruptFrame::rax},
    {"RBX ", &InterruptFrame::rbx},
    {"RCX ", &InterruptFrame::rcx},
    {"RDX ", &InterruptFrame::rdx},
    {"RSI ", &InterruptFrame::rsi},
    {"RDI ", &InterruptFrame::rdi},
    {"RBP ", &InterruptFrame::rbp},
    {"R8  ", &InterruptFrame::r8},
    {"R9  ", &InterruptFrame::r9},
    {"R10 ", &InterruptFrame::r10},
    {"R11 ", &InterruptFrame::r11},
    {"R12 ", &InterruptFrame::r12},
    {"R13 ", &InterruptFrame::r13},
    {"R14 ", &InterruptFrame::r14},
    {"R15 ", &InterruptFrame::r15},
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
        out.put("  ", kRegisters[i].name, Hex{frame.*kRegisters[i].value, 16},
                i % kRegistersPerLine == kRegistersPerLine - 1 ? "\n" : "");
    }
    out.put("  CR2 ", Hex{control.cr2, 16}, "  CR3 ", Hex{control.cr3, 16}, '\n');
    format_backtrace(out, backtrace);
}

}  // namespace bareflow
