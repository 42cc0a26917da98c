// The clock and the alarm of the boot processor (bare metal only). The clock is the time-stamp
// counter, calibrated against the 8254. The alarm is a one-shot wake-up from the local APIC, or
// from the 8254 where there is none. No periodic tick: an idle machine sleeps until something
// happens.
#pragma once

#include <cstdint>
#include <string_view>

namespace bareflow {

// Starts the measurement, which goes on during the work between this and timer_init. `local_apic`:
// its registers, readable now and later, or nullptr.
void timer_begin_calibration(volatile uint32_t *local_apic);
// Ends the measurement, waiting until it is 5 ms long, and makes timer_wait usable.
void timer_init();

// 0 before timer_init.
[[nodiscard]] uint64_t timer_ticks_per_second();
// What the rate came from: "8254", "cpuid 15h", "guess".
[[nodiscard]] std::string_view timer_source();

// Sleeps until an interrupt or `deadline_ticks`; at once when an interrupt was handled since the
// previous call returned. May return early (the alarm reaches some 60 s, without APIC 54 ms).
// Interrupts are on afterwards.
void timer_wait(uint64_t deadline_ticks);

// timer_set_alarm asks for an interrupt at `deadline_ticks`, or sooner when the alarm does not
// reach that far; timer_cancel_alarm asks for none. With the local APIC every processor has its own
// alarm; without it there is only the boot processor. Interrupts off.
void timer_set_alarm(uint64_t deadline_ticks);
void timer_cancel_alarm();
// On another processor, whose local APIC is on: makes its alarm usable.
void timer_join();

// The local APIC's registers (every processor sees its own there), or nullptr: not used.
[[nodiscard]] volatile uint32_t *local_apic();

// For the interrupt dispatcher. Any processor.
void timer_end_of_interrupt();

}  // namespace bareflow
