// Calls a function that may be wrong: one that faults, or does not return in time, is left where it
// is, and the caller goes on. On bare metal exceptions and the processor's own timer end it, hosted
// signals do.
//
// Restored after every outcome: the registers that a function must preserve, the stack pointer, the
// direction flag, MXCSR, and whether interrupts are on. Not restored: memory. What the function may
// write is the caller's business (memory/guarded_pages.h). It must not take locks, allocate, or own
// anything that a destructor gives back.
//
// A function that returns with one of those registers, MXCSR's rounding and masks, or the direction
// flag changed counts as faulted. One that turns interrupts off on bare metal cannot be stopped: no
// generator writes such an instruction.
//
// Any processor, not nested, not from an interrupt handler.
#pragma once

#include <cstdint>
#include <string_view>

namespace bareflow {

enum class GuardedOutcome : uint8_t { kReturned, kFaulted, kOverran };
// "returned", "faulted", "overran".
[[nodiscard]] std::string_view outcome_name(GuardedOutcome outcome);

using GuardedFunction = void (*)(void *context);
[[nodiscard]] GuardedOutcome guarded_call(GuardedFunction function, void *context,
                                          uint64_t deadline_ticks);

// For a function that should take about `like_ticks`, the time of something similar. It may take
// twenty times that, and at least 10 ms. When it overruns it is called once more with four times
// the deadline, because the machine may have stood still. No call may take more than a second.
[[nodiscard]] GuardedOutcome guarded_call_like(GuardedFunction function, void *context,
                                               uint64_t like_ticks);
[[nodiscard]] uint64_t guard_patience_ticks(uint64_t like_ticks, uint64_t ticks_per_second);

// ------------------------------------------------------------------ for the two implementations

// What is needed to come back. Written and read by guarded_enter: offsets are fixed.
struct GuardedReturn {
    uint64_t stack = 0;  // 0: not in the function, so there is nothing to come back from
    uint64_t frame = 0;
    uint32_t mxcsr = 0;
    uint32_t scratch = 0;
};

extern "C" {
// Calls function(context); 0 when it returned as it should. System V calling convention.
uint32_t bareflow_guarded_enter(GuardedReturn *back, GuardedFunction function, void *context);
// The address at which to go on instead of in the function, with rsp = back->stack, rdi = back, and
// esi = the value that bareflow_guarded_enter returns.
extern const char bareflow_guarded_resume[];
}

}  // namespace bareflow
