// First C++ after the boot code: sets up consoles, interrupts, vector state, memory and clock in
// the order in which they need each other, and calls appliance_main().
#include "kernel_lib/platform/metal/start.h"

#include <array>
#include <cstring>

#include "kernel_lib/cpu/interrupts.h"
#include "kernel_lib/cpu/privileged.h"
#include "kernel_lib/cpu/rtc.h"
#include "kernel_lib/cpu/timer.h"
#include "kernel_lib/cpu/timer_regs.h"
#include "kernel_lib/io/devices.h"
#include "kernel_lib/io/log.h"
#include "kernel_lib/platform/metal/memory_setup.h"
#include "kernel_lib/platform/platform.h"

extern "C" {
extern uint64_t __stack_chk_guard;
[[noreturn]] void bareflow_start(const bareflow::BootInfo *info);
}

namespace bareflow {

namespace {

// CPUID (SDM 2): leaf 1 ECX, EDX; leaf 80000001h EDX.
constexpr uint32_t kCpuidXsave = 1U << 26;
constexpr uint32_t kCpuidNx = 1U << 20;
constexpr uint32_t kMsrEfer = 0xC000'0080;
constexpr uint64_t kEferNxe = 1 << 11;
constexpr uint64_t kCr4Osxsave = 1 << 18;
// XCR0 (SDM 1, 13.3).
constexpr uint64_t kXcr0X87Sse = 0x3;
constexpr uint64_t kXcr0Avx = 0x4;
constexpr uint64_t kXcr0Avx512 = 0xE0;

constinit BootInfo the_boot_info{};
constinit std::array<char, kMaxCommandLineBytes + 1> command_line{};
constinit bool command_line_cut = false;

// The state of every vector extension that the processor has, so that they may be used.
void enable_vector_state() {
    if ((read_cpuid(1).ecx & kCpuidXsave) == 0) {
        return;
    }
    const CpuidLeaf leaf = read_cpuid(0xD);
    const uint64_t offered = static_cast<uint64_t>(leaf.edx) << 32 | leaf.eax;
    uint64_t wanted = kXcr0X87Sse;
    wanted |= offered & kXcr0Avx;
    if ((wanted & kXcr0Avx) != 0 && (offered & kXcr0Avx512) == kXcr0Avx512) {
        wanted |= kXcr0Avx512;
    }
    write_cr4(read_cr4() | kCr4Osxsave);
    write_xcr0(wanted);
}

bool enable_no_execute() {
    if (read_cpuid(0x8000'0000).eax < 0x8000'0001 ||
        (read_cpuid(0x8000'0001).edx & kCpuidNx) == 0) {
        return false;
    }
    write_msr(kMsrEfer, read_msr(kMsrEfer) | kEferNxe);
    return true;
}

// Physical address of the local APIC's registers; 0: none, or not in the mode we use. CPUID is not
// asked: its bit repeats the register's, which every processor with long mode has (SDM 3, 10.4.3).
// And QEMU's `-cpu ...,-apic -smp 2` hides an APIC there that still has to let interrupts through.
uint64_t local_apic_address() {
    const uint64_t base = read_msr(lapic::kMsrBase);
    if ((base & lapic::kMsrEnabled) == 0 || (base & lapic::kMsrX2Apic) != 0) {
        return 0;
    }
    const uint64_t address = base & lapic::kMsrAddressMask;
    constexpr uint64_t kMappedByBoot = uint64_t{1} << 32;
    return address < kMappedByBoot ? address : 0;
}

// The boot code's copy may lie anywhere; ours stays.
void keep_boot_info(const BootInfo &info) {
    the_boot_info = info;
    if (the_boot_info.memory_range_count > kMaxMemoryRanges) {
        the_boot_info.memory_range_count = kMaxMemoryRanges;
    }
    if (info.command_line != 0) {
        const auto *from = reinterpret_cast<const char *>(info.command_line);
        size_t len = 0;
        while (len < kMaxCommandLineBytes && from[len] != '\0') {
            command_line[len] = from[len];
            ++len;
        }
        command_line_cut = from[len] != '\0';
    }
    the_boot_info.command_line = reinterpret_cast<uint64_t>(command_line.data());
}

bool serial_interrupt(void * /*context*/) {
    on_serial_interrupt();
    return true;
}
bool keyboard_interrupt(void * /*context*/) {
    on_keyboard_interrupt();
    return true;
}

void enable_console_input() {
    constexpr int kKeyboardLine = 1;
    constexpr int kCom1Line = 4;
    if (serial().present() && register_irq(kCom1Line, serial_interrupt, nullptr)) {
        serial().enable_receive_interrupt();
    }
    if (keyboard().init()) {
        (void)register_irq(kKeyboardLine, keyboard_interrupt, nullptr).ok();
    }
}

}  // namespace

const BootInfo &boot_info() {
    return the_boot_info;
}
std::string_view boot_command_line() {
    return command_line.data();
}

void stop_boot(std::string_view sentence, ExitCode code) {
    platform::console_write("BareFlow: ");
    platform::console_write(sentence);
    platform::console_write("\n");
    stop_machine(static_cast<uint8_t>(code));
}

}  // namespace bareflow

using namespace bareflow;

void bareflow_start(const BootInfo *info) {
    // From here on faults are reported.
    (void)serial().init().ok();
    init_interrupts();
    vga().init(vga_memory());
    if (info->magic != kBootInfoMagic) {
        platform::panic("the boot code handed over no BootInfo");
    }

    enable_vector_state();
    const uint64_t apic = local_apic_address();
    timer_begin_calibration(reinterpret_cast<volatile uint32_t *>(apic));

    keep_boot_info(*info);
    const bool no_execute = enable_no_execute();
    if (const Status memory = init_memory(the_boot_info, no_execute, apic); !memory) {
        stop_boot(memory.code() == ErrorCode::kExhausted
                      ? "there is too little memory for the program; give the machine more."
                      : memory.message(),
                  ExitCode::kTooLittleMemory);
    }
    set_readable_check(is_readable);
    set_fault_explainer(explain_fault);

    rtc_init();
    enable_console_input();
    timer_init();
    log_start(the_boot_info.tsc_at_entry);
    // Never returns, so the canary of this frame is not looked at again.
    uint64_t canary = 0;
    platform::fill_entropy({reinterpret_cast<uint8_t *>(&canary), sizeof(canary)});
    constexpr uint64_t kKeepZeroByte = ~uint64_t{0xFF};  // stops overruns by strings
    __stack_chk_guard = canary & kKeepZeroByte;
    interrupts_on();

    if (command_line_cut) {
        log_line("settings: the command line is longer than ", kMaxCommandLineBytes,
                 " bytes; the rest is ignored");
    }
    if (!no_execute) {
        log_line("memory: this processor cannot forbid execution of data");
    }
    platform::shutdown(appliance_main(the_boot_info));
}
