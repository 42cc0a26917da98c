#include <array>

#include "kernel_lib/cpu/guard.h"
#include "kernel_lib/cpu/guarded_call.h"
#include "kernel_lib/cpu/privileged.h"
#include "kernel_lib/cpu/processor_tables.h"
#include "kernel_lib/cpu/timer.h"
#include "kernel_lib/cpu/worker_pool.h"
#include "kernel_lib/platform/platform.h"
#include "kernel_lib/platform/ticks.h"

namespace bareflow {

namespace {

// Read by interrupt handlers of the same processor only: compiler barriers in the functions that
// turn interrupts on and off are enough.
struct Guard {
    GuardedReturn back;
    uint64_t deadline = 0;
    bool active = false;
    bool handling = false;  // a device's interrupt: faults in there are ours
};
constinit std::array<Guard, WorkerPool::kMaxProcessors> guards{};

Guard &own_guard() {
    return guards[current_processor()];
}

constexpr uint64_t kInterruptsOn = 1 << 9;
constexpr uint64_t kFlagsAlwaysSet = 1 << 1;
constexpr uint64_t kLookAgainUs = 100;  // for a function that is late before it begins

void leave(Guard &guard, InterruptFrame &frame, GuardedOutcome outcome) {
    guard.active = false;
    frame.rip = reinterpret_cast<uint64_t>(bareflow_guarded_resume);
    frame.rsp = guard.back.stack;
    frame.rdi = reinterpret_cast<uint64_t>(&guard.back);
    frame.rsi = static_cast<uint64_t>(outcome);
    frame.rflags = kFlagsAlwaysSet;  // interrupts stay off until guarded_call has tidied up
}

}  // namespace

bool guard_takes_fault(InterruptFrame &frame) {
    Guard &guard = own_guard();
    if (!guard.active || guard.back.stack == 0 || guard.handling || frame.vector == kVectorNmi ||
        frame.vector == kVectorMachineCheck) {
        return false;
    }
    leave(guard, frame, GuardedOutcome::kFaulted);
    return true;
}

void guard_interrupt_begins() {
    own_guard().handling = true;
}

void guard_interrupt_ends(InterruptFrame &frame) {
    Guard &guard = own_guard();
    guard.handling = false;
    if (!guard.active) {
        return;
    }
    const uint64_t now = read_tsc();
    if (now >= guard.deadline && guard.back.stack == 0) {
        // On its way into the function or out of it.
        timer_set_alarm(now + us_to_ticks(kLookAgainUs));
    } else if (now >= guard.deadline) {
        leave(guard, frame, GuardedOutcome::kOverran);
    } else {
        // Another interrupt, or an alarm that cannot reach as far as the deadline.
        timer_set_alarm(guard.deadline);
    }
}

GuardedOutcome guarded_call(GuardedFunction function, void *context, uint64_t deadline_ticks) {
    Guard &guard = own_guard();
    if (guard.active || guard.handling) {
        platform::panic("guarded call inside another, or in an interrupt");
    }
    const bool were_on = (read_flags() & kInterruptsOn) != 0;
    interrupts_off();
    guard.back.stack = 0;
    guard.deadline = deadline_ticks;
    guard.active = true;
    timer_set_alarm(deadline_ticks);
    interrupts_on();
    const uint32_t outcome = bareflow_guarded_enter(&guard.back, function, context);
    interrupts_off();
    guard.active = false;
    timer_cancel_alarm();
    if (were_on) {
        interrupts_on();
    }
    return static_cast<GuardedOutcome>(outcome);
}

}  // namespace bareflow
