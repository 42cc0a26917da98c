// What the processor was doing when an interrupt came, and the text that reports it. Formatting
// and the walk over stack frames are pure, so that the hosted tests cover them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernel_lib/base/text_writer.h"

namespace bareflow {

// As cpu/interrupt_stubs.asm pushes it, lowest address first.
struct InterruptFrame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8;
    uint64_t rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t vector;
    uint64_t error_code;  // 0 where the processor pushes none
    uint64_t rip, cs, rflags, rsp, ss;
};

inline constexpr uint64_t kVectorDivide = 0;
inline constexpr uint64_t kVectorNmi = 2;
inline constexpr uint64_t kVectorDoubleFault = 8;
inline constexpr uint64_t kVectorStack = 12;
inline constexpr uint64_t kVectorPageFault = 14;
inline constexpr uint64_t kVectorMachineCheck = 18;
inline constexpr uint64_t kExceptionVectors = 32;

// Intel SDM 3, table 6-1: "page fault"; "reserved exception" for the others.
[[nodiscard]] std::string_view exception_name(uint64_t vector);

struct ControlRegisters {
    uint64_t cr2;
    uint64_t cr3;
};

inline constexpr size_t kMaxBacktrace = 24;
// Enough for the longest text that format_exception writes, but for names of generated code in
// every line.
inline constexpr size_t kExceptionTextBytes = 2048;

// Writes what code generated at run time lies at an address (" in NAME + 0x12"), or nothing. Called
// from exception handlers: it must not fault.
using AddressNamer = void (*)(uint64_t address, TextWriter &out);
// For all reports from now on; nullptr: none.
void set_address_namer(AddressNamer namer);

// Several lines; addresses as 16 hexadecimal digits, which the runner gives names. `note` is one
// more sentence (a guard page hit, say), empty: none.
void format_exception(TextWriter &out, const InterruptFrame &frame, const ControlRegisters &control,
                      std::span<const uint64_t> backtrace, std::string_view note);
// One line an address.
void format_backtrace(TextWriter &out, std::span<const uint64_t> backtrace);

// Follows the frame pointers from `rbp`: return addresses, innermost first, into `into`. Stops at
// the end of the chain (0), at an odd or descending pointer, or where `readable(address)` says that
// the 16 bytes there are not to be read. Any context.
template <typename Readable>
[[nodiscard]] size_t walk_frames(uint64_t rbp, Readable readable, std::span<uint64_t> into) {
    size_t count = 0;
    while (count < into.size() && rbp != 0 && rbp % 8 == 0 && readable(rbp)) {
        const auto *frame = reinterpret_cast<const uint64_t *>(rbp);
        const uint64_t caller = frame[0];
        if (frame[1] == 0) {
            break;
        }
        into[count++] = frame[1];
        if (caller <= rbp) {
            break;
        }
        rbp = caller;
    }
    return count;
}

}  // namespace bareflow
