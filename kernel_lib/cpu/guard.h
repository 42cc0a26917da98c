// Between the interrupt dispatcher and guarded calls (bare metal only). On the processor concerned,
// interrupts off.
#pragma once

#include "kernel_lib/cpu/exception_frame.h"

namespace bareflow {

// An exception: true when it was inside a guarded call, which `frame` now leaves.
[[nodiscard]] bool guard_takes_fault(InterruptFrame &frame);
// Around the handling of an interrupt. The second leaves a guarded call whose time is up.
void guard_interrupt_begins();
void guard_interrupt_ends(InterruptFrame &frame);

}  // namespace bareflow
