// The time-stamp counter is the clock. Its rate, and that of the local APIC's timer, are measured
// against the interval timer once at start. When that fails, CPUID states the rate, or it is
// guessed. The local APIC's timer makes the alarms; without a usable one, the interval timer does.
#include "kernel_lib/cpu/timer.h"

#include <algorithm>

#include "kernel_lib/cpu/interrupts.h"
#include "kernel_lib/cpu/privileged.h"
#include "kernel_lib/cpu/timer_regs.h"
#include "kernel_lib/io/port.h"

namespace bareflow {

namespace {

// Long enough for an error of about 0.05 %: a sample is exact to about 2 us. The start does other
// work meanwhile, so this costs no time.
constexpr uint32_t kCalibrationCounts = pit::kHz / 200;  // 5 ms
constexpr uint32_t kCounterStart = 0xFFFF;
constexpr int kSampleTries = 4;
// A counter that does not count: a poll is five port accesses of 0.1 us at the very least.
constexpr int kCalibrationPolls = 20'000;
// A try fails when a busy host stops the virtual machine for longer than the counter runs.
constexpr int kCalibrationTries = 6;
constexpr uint64_t kGuessedTicksPerSecond = 2'000'000'000;

// All clocks at one moment. `counts_left` and `apic_left` count down.
struct Sample {
    uint64_t ticks = 0;
    uint32_t counts_left = 0;
    uint32_t apic_left = 0;
};

struct Timer {
    volatile uint32_t *apic = nullptr;
    Sample begin;
    uint64_t ticks_per_second = 0;
    uint64_t apic_per_tick_q32 = 0;  // 32.32 fixed point
    uint64_t pit_per_tick_q32 = 0;
    uint64_t max_wait_ticks = 0;
    uint64_t interrupts_at_return = 0;
    std::string_view source = "none";
};
constinit Timer timer;

void apic_write(uint32_t offset, uint32_t value) {
    timer.apic[offset / 4] = value;
}
uint32_t apic_read(uint32_t offset) {
    return timer.apic[offset / 4];
}

// Counter 0, not 2, whose gate is in a register (port 61h) that not every machine has. The line of
// counter 0 is masked meanwhile.
void start_counter(uint32_t counts) {
    PortIo::out8(pit::kControl, pit::kCounter0OneShot);
    PortIo::out8(pit::kCounter0, static_cast<uint8_t>(counts));
    PortIo::out8(pit::kCounter0, static_cast<uint8_t>(counts >> 8));
}

uint32_t read_counter() {
    PortIo::out8(pit::kControl, pit::kLatchCounter0);
    const uint32_t low = PortIo::in8(pit::kCounter0);
    return low | static_cast<uint32_t>(PortIo::in8(pit::kCounter0)) << 8;
}

bool counter_expired() {
    PortIo::out8(pit::kControl, pit::kReadBackStatus0);
    return (PortIo::in8(pit::kCounter0) & pit::kStatusOutput) != 0;
}

// The tightest of a few tries: another process on the host may take the processor away in between.
Sample take_sample() {
    Sample best;
    uint64_t best_width = ~uint64_t{0};
    for (int i = 0; i < kSampleTries; ++i) {
        Sample sample;
        const uint64_t before = read_tsc();
        sample.counts_left = read_counter();
        sample.apic_left = timer.apic != nullptr ? apic_read(lapic::kCurrentCount) : 0;
        const uint64_t after = read_tsc();
        sample.ticks = before + (after - before) / 2;
        if (after - before < best_width) {
            best_width = after - before;
            best = sample;
        }
    }
    return best;
}

void start_counters() {
    start_counter(kCounterStart);
    if (timer.apic != nullptr) {
        apic_write(lapic::kLvtTimer, lapic::kLvtMasked | kVectorTimer);
        apic_write(lapic::kDivide, lapic::kDivideBy16);
        apic_write(lapic::kInitialCount, 0xFFFF'FFFF);
    }
    // The counter takes its start value with its next clock; a sample before that is stale.
    for (int i = 0; i < 100 && read_counter() == 0; ++i) {
    }
    timer.begin = take_sample();
}

// False: the counter ran out (too much time went by since start_counters) or does not count.
bool measure() {
    for (int polls = 0; polls < kCalibrationPolls; ++polls) {
        const uint32_t left = read_counter();
        if (counter_expired() || left > timer.begin.counts_left) {
            return false;
        }
        if (timer.begin.counts_left - left < kCalibrationCounts) {
            continue;
        }
        const Sample end = take_sample();
        if (counter_expired() || end.counts_left >= timer.begin.counts_left) {
            return false;
        }
        const uint64_t counts = timer.begin.counts_left - end.counts_left;
        const uint64_t ticks = end.ticks - timer.begin.ticks;
        timer.ticks_per_second = ticks * pit::kHz / counts;
        timer.source = "8254";
        if (timer.apic != nullptr && ticks != 0) {
            const uint64_t apic_ticks = timer.begin.apic_left - end.apic_left;
            timer.apic_per_tick_q32 = (apic_ticks << 32) / ticks;
        }
        return timer.ticks_per_second != 0;
    }
    return false;
}

// CPUID 15h: ECX * EBX / EAX (SDM 2, CPUID), where the processor tells all three.
uint64_t ticks_per_second_by_cpuid() {
    if (read_cpuid(0).eax < 0x15) {
        return 0;
    }
    const CpuidLeaf leaf = read_cpuid(0x15);
    if (leaf.eax == 0 || leaf.ebx == 0 || leaf.ecx == 0) {
        return 0;
    }
    return uint64_t{leaf.ecx} * leaf.ebx / leaf.eax;
}

void set_up_apic() {
    // Virtual wire mode: the legacy controllers' output arrives at LINT0, NMI at LINT1.
    apic_write(lapic::kTaskPriority, 0);
    apic_write(lapic::kSpurious, lapic::kSoftwareEnable | kVectorSpurious);
    apic_write(lapic::kLvtLint0, lapic::kLvtExtInt);
    apic_write(lapic::kLvtLint1, lapic::kLvtNmi);
    apic_write(lapic::kInitialCount, 0);
    apic_write(lapic::kLvtTimer, kVectorTimer);
}

bool interval_timer_interrupt(void * /*context*/) {
    return true;
}

uint64_t scaled(uint64_t ticks, uint64_t rate_q32) {
    return static_cast<uint64_t>(static_cast<unsigned __int128>(ticks) * rate_q32 >> 32);
}

void arm(uint64_t wait_ticks) {
    const uint64_t ticks = std::min(wait_ticks, timer.max_wait_ticks);
    if (timer.apic != nullptr) {
        apic_write(lapic::kInitialCount,
                   static_cast<uint32_t>(scaled(ticks, timer.apic_per_tick_q32) + 1));
        return;
    }
    start_counter(static_cast<uint32_t>(scaled(ticks, timer.pit_per_tick_q32) + 1));
}

// So that an alarm that is no longer wanted wakes nobody.
void disarm() {
    if (timer.apic != nullptr) {
        apic_write(lapic::kInitialCount, 0);
    }
}

}  // namespace

void timer_begin_calibration(volatile uint32_t *local_apic) {
    timer.apic = local_apic;
    start_counters();
}

void timer_init() {
    bool measured = measure();
    for (int i = 1; i < kCalibrationTries && !measured; ++i) {
        start_counters();
        measured = measure();
    }
    if (!measured) {
        timer.ticks_per_second = ticks_per_second_by_cpuid();
        timer.source = "cpuid 15h";
        if (timer.ticks_per_second == 0) {
            timer.ticks_per_second = kGuessedTicksPerSecond;
            timer.source = "guess";
        }
    }
    if (timer.apic_per_tick_q32 == 0) {
        timer.apic = nullptr;
    }
    if (timer.apic != nullptr) {
        set_up_apic();
        timer.max_wait_ticks = (uint64_t{0xFFFF'0000} << 32) / timer.apic_per_tick_q32;
    } else {
        timer.pit_per_tick_q32 = (uint64_t{pit::kHz} << 32) / timer.ticks_per_second;
        timer.max_wait_ticks = (uint64_t{0xFFF0} << 32) / timer.pit_per_tick_q32;
        (void)register_irq(0, interval_timer_interrupt, nullptr).ok();
    }
}

uint64_t timer_ticks_per_second() {
    return timer.ticks_per_second;
}
std::string_view timer_source() {
    return timer.source;
}

void timer_wait(uint64_t deadline_ticks) {
    interrupts_off();
    if (interrupt_count() == timer.interrupts_at_return) {
        const uint64_t now = read_tsc();
        if (now < deadline_ticks) {
            arm(deadline_ticks - now);
            interrupts_on_and_halt();
            interrupts_off();
            disarm();
        }
    }
    timer.interrupts_at_return = interrupt_count();
    interrupts_on();
}

void timer_set_alarm(uint64_t deadline_ticks) {
    const uint64_t now = read_tsc();
    arm(deadline_ticks > now ? deadline_ticks - now : 0);
}

void timer_cancel_alarm() {
    disarm();
}

void timer_join() {
    apic_write(lapic::kDivide, lapic::kDivideBy16);
    apic_write(lapic::kInitialCount, 0);
    apic_write(lapic::kLvtTimer, kVectorTimer);
}

volatile uint32_t *local_apic() {
    return timer.apic;
}

void timer_end_of_interrupt() {
    if (timer.apic != nullptr) {
        apic_write(lapic::kEndOfInterrupt, 0);
    }
}

}  // namespace bareflow
