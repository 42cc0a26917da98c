// Between the boot code and the appliance (bare metal only).
#pragma once

#include <cstdint>
#include <string_view>

#include "boot/boot_info.h"
#include "kernel_lib/cpu/exit_codes.h"

namespace bareflow {

// The longest command line kept; the rest is cut (and said).
inline constexpr size_t kMaxCommandLineBytes = 2047;

// What the boot code handed over; command_line points to a copy that stays.
[[nodiscard]] const BootInfo &boot_info();
// Its text, "" when there is none.
[[nodiscard]] std::string_view boot_command_line();

// One plain sentence on the consoles, then the end: for what the machine lacks to run this program.
[[noreturn]] void stop_boot(std::string_view sentence, ExitCode code);

}  // namespace bareflow

// Written by the program that is linked with the library. Called once, on the boot stack, with
// exceptions, consoles, memory, clock and interrupts working. Its value goes to
// platform::shutdown.
extern "C" int appliance_main(const bareflow::BootInfo &info);
