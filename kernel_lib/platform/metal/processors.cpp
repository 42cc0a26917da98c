// Starts the other processors, one after the other: INIT, start-up interrupts, then code at a page
// below 1 MiB (cpu/processor_start.asm) that ends here.
//
// What must hold: a processor takes part only when its features, and the state that decides what it
// computes, equal the boot processor's. One that came too late never takes part.
#include "kernel_lib/platform/metal/processors.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "kernel_lib/cpu/acpi.h"
#include "kernel_lib/cpu/cpuid_regs.h"
#include "kernel_lib/cpu/interrupts.h"
#include "kernel_lib/cpu/privileged.h"
#include "kernel_lib/cpu/processor_tables.h"
#include "kernel_lib/cpu/timer.h"
#include "kernel_lib/cpu/timer_regs.h"
#include "kernel_lib/cpu/worker_pool.h"
#include "kernel_lib/cpu/worker_wait.h"
#include "kernel_lib/io/log.h"
#include "kernel_lib/platform/metal/device_memory.h"
#include "kernel_lib/platform/metal/memory_setup.h"
#include "kernel_lib/platform/metal/start.h"
#include "kernel_lib/platform/platform.h"
#include "kernel_lib/platform/ticks.h"

extern "C" {
// cpu/processor_start.asm
extern const uint8_t processor_start_begin[];
extern const uint8_t processor_start_end[];
}

namespace bareflow {

namespace {

// The second stage's page, which nobody needs any more (docs/decisions/0002). A SIPI names a page.
constexpr uint64_t kStartPage = 0x8000;
constexpr size_t kParametersAt = 8;
// As processor_start.asm has them.
struct ProcessorStart {
    uint64_t cr3;
    uint64_t entry;
    uint64_t argument;
    uint64_t stack;
    uint32_t page;
    uint32_t cr0;
    uint32_t cr4;
    uint32_t efer;
    uint32_t needed;
    volatile uint32_t refused;
};
static_assert(sizeof(ProcessorStart) == 56);

constexpr uint32_t kMsrEfer = 0xC000'0080;
constexpr uint64_t kEferLongModeActive = 1 << 10;
constexpr uint64_t kCr4Pae = 1 << 5;
constexpr uint64_t kCr4OsSse = 1 << 9 | 1 << 10;  // OSFXSR, OSXMMEXCPT: compiled code needs them
constexpr uint64_t kCr4Osxsave = 1 << 18;
constexpr uint32_t kCpuidLongMode = 1U << 29;  // 80000001h EDX
constexpr uint32_t kCpuidNx = 1U << 20;
constexpr uint64_t kEferNxe = 1 << 11;
constexpr uint32_t kMxcsr = 0x1F80;  // all exceptions masked, round to nearest

constexpr size_t kStackPages = 8;
constexpr size_t kFaultStackPages = 4;

// SDM 3, 8.4.4.1: 10 ms after INIT, 200 us after a SIPI before it is repeated. Hypervisors need no
// pause, and processors since 2000 neither, but there one costs little.
constexpr uint64_t kInitPauseUs = 10'000;
constexpr uint64_t kRepeatAfterUs = 200;
// A busy host may let a virtual processor wait.
constexpr uint64_t kStartDeadlineUs = 500'000;
constexpr int kDeliveryPolls = 100'000;

// A new processor sets kReady or kDiffers; only the boot processor sets kRunning. So a processor
// that becomes ready just after the boot processor's deadline never takes part.
enum class State : uint32_t { kAbsent, kReady, kRunning, kDiffers, kGivenUp };

// The registers that decide what code may run and what it computes.
struct Registers {
    uint64_t cr0 = 0;
    uint64_t cr4 = 0;
    uint64_t efer = 0;
    uint64_t xcr0 = 0;
    uint32_t mxcsr = 0;
    bool operator==(const Registers &) const = default;
};

struct Processor {
    ProcessorTables tables;
    InterruptStacks stacks;
    uint64_t stack = 0;
    uint32_t apic_id = 0;
    uint32_t translations = 0;
    std::atomic<State> state = State::kAbsent;
};

constinit std::array<Processor, WorkerPool::kMaxProcessors> processors{};  // [0]: only its APIC id
constinit uint32_t running = 1;
constinit Registers boot_registers{};
constinit std::array<CpuidLeaf, 5> boot_leaves{};

// What generated and compiled code relies on. The identifiers of the processor in leaf 1 EBX are
// left out, and the bit that repeats CR4.OSXSAVE.
std::array<CpuidLeaf, 5> feature_leaves() {
    std::array<CpuidLeaf, 5> leaves{};
    leaves[0] = read_cpuid(0);
    leaves[1] = read_cpuid(cpuid::kVersion);
    leaves[1].ebx = 0;
    leaves[1].ecx &= ~cpuid::kVersionEcxOsXsave;
    if (leaves[0].eax >= cpuid::kStructured) {
        leaves[2] = read_cpuid(cpuid::kStructured);
    }
    if (leaves[0].eax >= 0xD) {
        leaves[3] = read_cpuid(0xD);
        leaves[3].ebx = 0;  // size of what XCR0 enables now
    }
    leaves[4] = read_cpuid(cpuid::kExtendedFeatures);
    leaves[4].ebx = 0;
    return leaves;
}

bool same_leaves(const std::array<CpuidLeaf, 5> &a, const std::array<CpuidLeaf, 5> &b) {
    return std::memcmp(&a, &b, sizeof(a)) == 0;
}

Registers read_registers() {
    Registers out{
        .cr0 = read_cr0(), .cr4 = read_cr4(), .efer = read_msr(kMsrEfer), .mxcsr = read_mxcsr()};
    if ((out.cr4 & kCr4Osxsave) != 0) {
        out.xcr0 = read_xcr0();
    }
    return out;
}

// On the new processor. False: it is not the boot processor's equal.
bool become_equal() {
    if (!same_leaves(feature_leaves(), boot_leaves)) {
        return false;
    }
    // Same features, so this sets nothing that is reserved here.
    write_cr4(boot_registers.cr4);
    if ((boot_registers.cr4 & kCr4Osxsave) != 0) {
        write_xcr0(boot_registers.xcr0);
    }
    const uint32_t mxcsr = kMxcsr;
    asm volatile("fninit; ldmxcsr %0" : : "m"(mxcsr));
    return read_registers() == boot_registers;
}

void set_up_local_apic() {
    volatile uint32_t *const apic = local_apic();
    apic[lapic::kTaskPriority / 4] = 0;
    apic[lapic::kLvtLint0 / 4] = lapic::kLvtMasked;  // devices are the boot processor's
    apic[lapic::kLvtLint1 / 4] = lapic::kLvtNmi;
    apic[lapic::kSpurious / 4] = lapic::kSoftwareEnable | kVectorSpurious;
    timer_join();
}

// First C++ on a new processor, on its own stack.
[[noreturn]] void processor_main(Processor *self) {
    load_processor_tables(self->tables, self->stacks);  // from here on faults are reported
    if (become_equal()) {
        set_up_local_apic();
        self->translations = translation_count();
        State seen = State::kAbsent;
        if (self->state.compare_exchange_strong(seen, State::kReady)) {
            while (self->state.load(std::memory_order_acquire) == State::kReady) {
                worker_pause();
            }
            worker_pool().serve(self->tables.index);
        }
    } else {
        self->state.store(State::kDiffers, std::memory_order_release);
    }
    while (true) {
        interrupts_off();
        halt();
    }
}

void send_command(uint32_t apic_id, uint32_t command) {
    volatile uint32_t *const apic = local_apic();
    for (int i = 0; i < kDeliveryPolls; ++i) {
        if ((apic[lapic::kCommandLow / 4] & lapic::kCommandPending) == 0) {
            break;
        }
    }
    apic[lapic::kCommandHigh / 4] = apic_id << lapic::kIdShift;
    apic[lapic::kCommandLow / 4] = command;
}

void stop_other_processors() {
    send_command(0, lapic::kCommandNmi | lapic::kCommandToOthers);
}

class MappedFirmware final : public FirmwareMemory {
  public:
    const uint8_t *at(uint64_t address, size_t bytes) override {
        return static_cast<const uint8_t *>(map_firmware_memory(address, bytes));
    }
};

void pause_ticks(uint64_t ticks) {
    for (const uint64_t since = read_tsc(); read_tsc() - since < ticks;) {
        worker_pause();
    }
}

bool has_hypervisor() {
    return (read_cpuid(cpuid::kVersion).ecx & cpuid::kVersionEcxHypervisor) != 0;
}

// The page holds the code and is executable; `start` is its parameters.
State start_processor(Processor &processor, const ProcessorStart *start) {
    send_command(processor.apic_id, lapic::kCommandInit);
    if (!has_hypervisor()) {
        pause_ticks(us_to_ticks(kInitPauseUs));
    }
    const uint32_t start_up = lapic::kCommandStartUp | kStartPage / platform::kPageBytes;
    send_command(processor.apic_id, start_up);
    const uint64_t since = read_tsc();
    const uint64_t deadline = us_to_ticks(kStartDeadlineUs);
    bool repeated = false;
    State state = State::kAbsent;
    while (read_tsc() - since < deadline) {
        state = processor.state.load(std::memory_order_acquire);
        if (state == State::kAbsent && start->refused != 0) {
            state = State::kDiffers;
        }
        if (state != State::kAbsent) {
            break;
        }
        if (!repeated && read_tsc() - since > us_to_ticks(kRepeatAfterUs)) {
            send_command(processor.apic_id, start_up);  // ignored by one that runs
            repeated = true;
        }
        worker_pause();
    }
    if (state == State::kAbsent &&
        processor.state.compare_exchange_strong(state, State::kGivenUp)) {
        state = State::kGivenUp;
    }
    if (state == State::kReady) {
        processor.state.store(State::kRunning, std::memory_order_release);
        // It takes part as soon as it sees this, which may be late on a busy host.
        while (worker_pool().size() <= running && read_tsc() - since < deadline) {
            worker_pause();
        }
        return State::kRunning;
    }
    // Asleep for good: its stacks and tables are for the next one, and it must not come late with
    // that one's parameters.
    send_command(processor.apic_id, lapic::kCommandInit);
    return state;
}

// A processor that did not start has left them for the next one.
bool has_stacks(const Processor &processor) {
    return processor.stack != 0 && processor.stacks.exception != 0 &&
           processor.stacks.double_fault != 0;
}

bool give_stacks(Processor &processor) {
    processor.stack = allocate_stack(kStackPages);
    processor.stacks.exception = allocate_stack(kFaultStackPages);
    processor.stacks.double_fault = allocate_stack(kFaultStackPages);
    // Double fault and NMI share a stack: a processor that reports one of them does not go on.
    processor.stacks.nmi = processor.stacks.double_fault;
    return has_stacks(processor);
}

// Writes code and parameters into the start page, with which `processor` may be started.
Result<ProcessorStart *> prepare_start_page(Processor &processor) {
    BF_TRY(protect_low_page(kStartPage, false));
    auto *const page = reinterpret_cast<uint8_t *>(kStartPage);
    std::memcpy(page, processor_start_begin,
                static_cast<size_t>(processor_start_end - processor_start_begin));
    auto *const start = reinterpret_cast<ProcessorStart *>(page + kParametersAt);
    const bool no_execute = (boot_registers.efer & kEferNxe) != 0;
    start->cr3 = read_cr3();
    start->entry = reinterpret_cast<uint64_t>(processor_main);
    start->argument = reinterpret_cast<uint64_t>(&processor);
    start->stack = processor.stack;
    start->page = kStartPage;
    start->cr0 = static_cast<uint32_t>(boot_registers.cr0);
    start->cr4 = kCr4Pae | static_cast<uint32_t>(boot_registers.cr4 & kCr4OsSse);
    start->efer = static_cast<uint32_t>(boot_registers.efer & ~kEferLongModeActive);
    start->needed = kCpuidLongMode | (no_execute ? kCpuidNx : 0);
    BF_TRY(protect_low_page(kStartPage, true));
    return start;
}

// One sentence when it does not run.
bool add_processor(Processor &processor, uint32_t apic_id) {
    processor.apic_id = apic_id;
    processor.state.store(State::kAbsent, std::memory_order_relaxed);
    if (!has_stacks(processor) && !give_stacks(processor)) {
        log_line("processors: no memory for the stacks of APIC ", apic_id);
        return false;
    }
    const auto start = prepare_start_page(processor);
    if (!start) {
        log_line("processors: ", start.error().message);
        return false;
    }
    const State state = start_processor(processor, *start);
    if (state == State::kDiffers) {
        log_line("processors: APIC ", apic_id, " differs from the first one and is left asleep");
    } else if (state == State::kGivenUp) {
        log_line("processors: APIC ", apic_id, " did not start within ", kStartDeadlineUs / 1000,
                 " ms");
    }
    return state == State::kRunning;
}

}  // namespace

uint32_t running_processors() {
    return running;
}

uint32_t start_workers(uint32_t wanted) {
    const uint32_t most =
        wanted == 0 ? WorkerPool::kMaxProcessors : std::min(wanted, WorkerPool::kMaxProcessors);
    if (most == 1 || running != 1 || local_apic() == nullptr) {
        return running;
    }
    MappedFirmware firmware;
    const auto list = find_processors(firmware, boot_info().acpi_rsdp);
    if (!list) {
        log_line("processors: only the first one is used: ", list.error().message);
        return running;
    }
    const uint32_t own_id = local_apic()[lapic::kId / 4] >> lapic::kIdShift;
    processors[0].apic_id = own_id;
    boot_registers = read_registers();
    boot_leaves = feature_leaves();
    for (const uint8_t apic_id : list->ids()) {
        if (apic_id == own_id || running == most) {
            continue;
        }
        processors[running].tables.index = running;
        if (!add_processor(processors[running], apic_id)) {
            continue;
        }
        set_machine_stopper(stop_other_processors);
        ++running;
    }
    (void)protect_low_page(kStartPage, false).ok();
    return running;
}

void worker_wait(std::atomic<uint32_t> &asleep) {
    // A ring that comes from here on is kept until the HLT (privileged.h).
    interrupts_off();
    if (asleep.load(std::memory_order_seq_cst) != 0) {
        interrupts_on_and_halt();
    }
    interrupts_on();
}

void worker_ring(uint32_t processor, std::atomic<uint32_t> & /*asleep*/) {
    send_command(processors[processor].apic_id, lapic::kCommandFixed | kVectorWake);
}

void worker_synchronize() {
    Processor &self = processors[current_processor()];
    const uint32_t now = translation_count();
    if (self.translations != now) {
        self.translations = now;
        write_cr3(read_cr3());
    }
}

}  // namespace bareflow
