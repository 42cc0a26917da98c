// platform.h on bare metal, but for memory (memory.cpp) and entropy (entropy.cpp).
#include "kernel_lib/platform/platform.h"

#include <array>

#include "kernel_lib/base/text_writer.h"
#include "kernel_lib/cpu/exit_codes.h"
#include "kernel_lib/cpu/interrupts.h"
#include "kernel_lib/cpu/privileged.h"
#include "kernel_lib/cpu/processor_tables.h"
#include "kernel_lib/cpu/rtc.h"
#include "kernel_lib/cpu/timer.h"
#include "kernel_lib/io/devices.h"
#include "kernel_lib/io/port.h"
#include "kernel_lib/platform/metal/processors.h"

namespace bareflow::platform {

namespace {

constexpr uint16_t kKeyboardCommand = 0x64;
constexpr uint8_t kKeyboardInputFull = 0x02;
constexpr uint8_t kKeyboardPulseReset = 0xFE;
// PIIX3 data sheet (1996), 2.5.5: reset control register.
constexpr uint16_t kResetControl = 0xCF9;
constexpr uint8_t kResetArm = 0x02;
constexpr uint8_t kResetHard = 0x06;
constexpr int kResetPolls = 100'000;

constinit bool panicking = false;

}  // namespace

void console_write(std::string_view text) {
    serial().write_text(text);
    vga().write(text);
}

void panic(std::string_view message) {
    interrupts_off();
    if (panicking) {
        stop_machine(static_cast<uint8_t>(ExitCode::kPanic));
    }
    panicking = true;
    std::array<uint64_t, kMaxBacktrace> calls{};
    const size_t count = backtrace(calls);
    std::array<char, kExceptionTextBytes> text;
    TextWriter out(text);
    out.put("PANIC: ", message, '\n');
    format_backtrace(out, std::span(calls).first(count));
    out.put("The machine stops here.\n");
    serial().write_text(out.view());
    vga().set_color(vga_text::kWhite, vga_text::kRed);
    vga().write(out.view());
    stop_machine(static_cast<uint8_t>(ExitCode::kPanic));
}

void shutdown(int exit_code) {
    stop_machine(static_cast<uint8_t>(exit_code == 0 ? ExitCode::kSuccess : ExitCode::kFailure));
}

void reboot() {
    interrupts_off();
    for (int i = 0; i < kResetPolls; ++i) {
        if ((PortIo::in8(kKeyboardCommand) & kKeyboardInputFull) == 0) {
            break;
        }
    }
    PortIo::out8(kKeyboardCommand, kKeyboardPulseReset);
    for (int i = 0; i < kResetPolls; ++i) {
        (void)PortIo::in8(kKeyboardCommand);
    }
    PortIo::out8(kResetControl, kResetArm);
    PortIo::out8(kResetControl, kResetHard);
    for (int i = 0; i < kResetPolls; ++i) {
        (void)PortIo::in8(kKeyboardCommand);
    }
    // No table, no handler, no double fault handler: the processor shuts down and is reset.
    const DescriptorTablePointer nothing{0, 0};
    asm volatile("lidt %0; int3" : : "m"(nothing));
    while (true) {
        halt();
    }
}

uint64_t ticks() {
    return read_tsc();
}
uint64_t ticks_per_second() {
    return timer_ticks_per_second();
}
uint64_t unix_time_s() {
    return rtc_unix_time_s();
}

void idle(uint64_t deadline_ticks) {
    timer_wait(deadline_ticks);
}

uint32_t processor_count() {
    return running_processors();
}
uint32_t processor_index() {
    return current_processor();
}

}  // namespace bareflow::platform
