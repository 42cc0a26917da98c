// Exceptions of all processors and hardware interrupts of the boot processor (bare metal only).
//
// Exceptions print everything known and stop the machine with an exit code of their own
// (cpu/exit_codes.h), unless the fault recovery hook takes them (on the boot processor). Hardware
// interrupts run registered handlers on the stack for exceptions, with interrupts off: acknowledge,
// set a flag, return. What a guarded call (guarded_call.h) makes ends that call only.
#pragma once

#include <cstdint>

#include "kernel_lib/base/result.h"
#include "kernel_lib/cpu/exception_frame.h"

namespace bareflow {

// Vectors of ours; 0-31 are the processor's.
inline constexpr uint8_t kVectorIrqBase = 32;  // + legacy line 0-15
inline constexpr uint8_t kVectorTimer = 48;    // local APIC timer
inline constexpr uint8_t kVectorWake = 49;     // from another processor: look for work
inline constexpr uint8_t kVectorSpurious = 63;
inline constexpr uint64_t kInterruptVectors = 64;

// GDT with a TSS, IDT, interrupt stacks; both legacy controllers moved to kVectorIrqBase and fully
// masked. Interrupts stay off. Call once, before anything that may fault.
void init_interrupts();

// Returns true when the interrupt was its device's.
using IrqHandler = bool (*)(void *context);
// Adds a handler for a legacy line (0-15, not the cascade) and lets the line through. Lines are
// shared: every handler of a line is called. kInvalid: no such line; kExhausted: line full (4).
[[nodiscard]] Status register_irq(int line, IrqHandler handler, void *context);

// Hardware interrupts handled since start, wake-up timer included.
[[nodiscard]] uint64_t interrupt_count();
// Since start; spurious ones of the legacy controllers and interrupts that no handler claimed.
[[nodiscard]] uint64_t spurious_interrupt_count();

// Called first on every exception, on its stack, interrupts off. True: resume with `frame` as the
// hook left it. The hook must not fault. nullptr: none. Returns the hook before.
using FaultRecovery = bool (*)(InterruptFrame &frame);
FaultRecovery set_fault_recovery(FaultRecovery hook);

// One more sentence about the faulting address ("stack overflow: ..."), or empty.
using FaultExplainer = std::string_view (*)(uint64_t address);
void set_fault_explainer(FaultExplainer explainer);
// Says whether 16 bytes at an address may be read for a backtrace. nullptr: no backtraces.
using ReadableCheck = bool (*)(uint64_t address);
void set_readable_check(ReadableCheck check);

// Halts all other processors, by NMI, when the machine stops. nullptr: there are none.
using MachineStopper = void (*)();
void set_machine_stopper(MachineStopper stopper);

// Return addresses of the calls that led here. Any context.
[[nodiscard]] size_t backtrace(std::span<uint64_t> into);

// Ends a virtual machine that has isa-debug-exit, halts any other. Interrupts stay off.
[[noreturn]] void stop_machine(uint8_t exit_code);

}  // namespace bareflow
