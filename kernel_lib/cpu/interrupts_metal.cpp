// The descriptor tables, the dispatcher behind the stubs, and the last report of a fault.
//
// What must hold: a fault on any stack can be reported, because exceptions have a stack of their
// own. A fault while a report is being written ends the machine, but never starts a report without
// end.
#include "kernel_lib/cpu/interrupts.h"

#include <array>
#include <atomic>

#include "kernel_lib/cpu/exit_codes.h"
#include "kernel_lib/cpu/guard.h"
#include "kernel_lib/cpu/pic_regs.h"
#include "kernel_lib/cpu/privileged.h"
#include "kernel_lib/cpu/processor_tables.h"
#include "kernel_lib/cpu/timer.h"
#include "kernel_lib/io/devices.h"
#include "kernel_lib/io/port.h"
#include "kernel_lib/platform/platform.h"

extern "C" {
// cpu/interrupt_stubs.asm
extern const char interrupt_stubs[];
// boot/link.ld
extern char exception_stack_top[], double_fault_stack_top[], nmi_stack_top[];
void interrupt_dispatch(bareflow::InterruptFrame *frame);
}

namespace bareflow {

namespace {

// SDM 3, 6.14.1.
struct InterruptGate {
    uint16_t offset_low;
    uint16_t selector;
    uint8_t ist;
    uint8_t type;
    uint16_t offset_middle;
    uint32_t offset_high;
    uint32_t reserved;
};
static_assert(sizeof(InterruptGate) == 16);

constexpr uint32_t kMsrGsBase = 0xC000'0101;

constexpr uint64_t kStubBytes = 8;
constexpr uint16_t kCodeSelector = 0x08;
constexpr uint16_t kDataSelector = 0x10;
constexpr uint16_t kTaskSelector = 0x18;
constexpr uint64_t kCodeDescriptor = 0x00AF'9A00'0000'FFFF;
constexpr uint64_t kDataDescriptor = 0x00CF'9200'0000'FFFF;
constexpr uint64_t kTaskPresentAvailable = 0x89;
constexpr uint8_t kGateInterrupt = 0x8E;  // present, ring 0, interrupts off

// Stacks by number (TSS.ist[n - 1]). Exceptions have a stack of their own, so that a stack overflow
// can still be reported. Interrupts share it, because they may come while untried code
// (guarded_call.h) has lost its stack. They don't nest, and a fault inside their handlers is never
// resumed.
constexpr uint8_t kStackException = 1;
constexpr uint8_t kStackDoubleFault = 2;
constexpr uint8_t kStackNmi = 3;

constexpr int kHandlersPerLine = 4;
struct Handler {
    IrqHandler call = nullptr;
    void *context = nullptr;
};

constinit ProcessorTables boot_tables{};
constinit std::array<InterruptGate, kInterruptVectors> idt{};
constinit std::array<std::array<Handler, kHandlersPerLine>, pic::kLines> handlers{};
constinit uint16_t line_mask = 0xFFFF;
constinit std::atomic<uint64_t> interrupts_seen = 0;
constinit uint64_t spurious_seen = 0;
constinit FaultRecovery fault_recovery = nullptr;
constinit FaultExplainer fault_explainer = nullptr;
constinit ReadableCheck readable_check = nullptr;
constinit int exceptions_told = 0;
// The number of the processor whose fault is being reported, plus one; 0: none. Only the first
// fault is reported.
constinit std::atomic<uint32_t> faulting_processor = 0;
// Set before the others are stopped by NMI.
constinit std::atomic<bool> machine_stopping = false;
constinit MachineStopper stop_others = nullptr;

uint8_t stack_of(uint64_t vector) {
    switch (vector) {
        case kVectorDoubleFault:
            return kStackDoubleFault;
        case kVectorNmi:
        case kVectorMachineCheck:
            return kStackNmi;
        default:
            return kStackException;
    }
}

void fill_idt() {
    for (uint64_t vector = 0; vector < kInterruptVectors; ++vector) {
        const uint64_t stub = reinterpret_cast<uint64_t>(interrupt_stubs) + vector * kStubBytes;
        idt[vector] = {
            .offset_low = static_cast<uint16_t>(stub),
            .selector = kCodeSelector,
            .ist = stack_of(vector),
            .type = kGateInterrupt,
            .offset_middle = static_cast<uint16_t>(stub >> 16),
            .offset_high = static_cast<uint32_t>(stub >> 32),
            .reserved = 0,
        };
    }
}

void write_line_mask() {
    PortIo::out8(pic::kMasterData, static_cast<uint8_t>(line_mask));
    PortIo::out8(pic::kSlaveData, static_cast<uint8_t>(line_mask >> 8));
}

void init_legacy_controllers() {
    PortIo::out8(pic::kMasterCommand, pic::kIcw1InitWithIcw4);
    PortIo::out8(pic::kSlaveCommand, pic::kIcw1InitWithIcw4);
    PortIo::out8(pic::kMasterData, kVectorIrqBase);
    PortIo::out8(pic::kSlaveData, kVectorIrqBase + 8);
    PortIo::out8(pic::kMasterData, pic::kIcw3MasterSlaveOn2);
    PortIo::out8(pic::kSlaveData, pic::kIcw3SlaveIdentity);
    PortIo::out8(pic::kMasterData, pic::kIcw4Mode8086);
    PortIo::out8(pic::kSlaveData, pic::kIcw4Mode8086);
    line_mask = static_cast<uint16_t>(~(1U << pic::kCascadeLine));
    write_line_mask();
}

// Lines 7 and 15 are also what a controller reports when a request vanished before it was taken.
// Then the in-service bit is clear, and that controller must not be told "end of interrupt".
bool is_spurious(int line) {
    if (line != 7 && line != 15) {
        return false;
    }
    const uint16_t command = line == 7 ? pic::kMasterCommand : pic::kSlaveCommand;
    PortIo::out8(command, pic::kOcw3ReadInService);
    return (PortIo::in8(command) & 0x80) == 0;
}

void end_of_interrupt(int line) {
    if (line >= 8) {
        PortIo::out8(pic::kSlaveCommand, pic::kOcw2EndOfInterrupt);
    }
    PortIo::out8(pic::kMasterCommand, pic::kOcw2EndOfInterrupt);
}

void handle_line(int line) {
    if (is_spurious(line)) {
        ++spurious_seen;
        if (line == 15) {
            // The master saw a real request from the slave.
            PortIo::out8(pic::kMasterCommand, pic::kOcw2EndOfInterrupt);
        }
        return;
    }
    bool claimed = line == 0;  // the interval timer: it only wakes
    for (const Handler &handler : handlers[static_cast<size_t>(line)]) {
        if (handler.call != nullptr) {
            claimed = handler.call(handler.context) || claimed;
        }
    }
    spurious_seen += claimed ? 0 : 1;
    end_of_interrupt(line);
}

// As many lines as the screen shows without losing the first one.
std::string_view first_lines(std::string_view text) {
    size_t end = 0;
    for (size_t lines = 0; end < text.size() && lines + 1 < VgaScreen::kScrollRows; ++end) {
        lines += text[end] == '\n' ? 1 : 0;
    }
    return text.substr(0, end);
}

// Writes the report white on red to the screen, and plain to the serial line. If the report itself
// faults, the second one goes to the serial line only. After that nothing more is tried.
void tell(std::string_view text) {
    serial().write_text(text);
    if (exceptions_told == 1) {
        vga().set_color(vga_text::kWhite, vga_text::kRed);
        vga().write(first_lines(text));
    }
}

[[noreturn]] void halt_for_ever() {
    while (true) {
        interrupts_off();
        halt();
    }
}

[[noreturn]] void stop_on_exception(const InterruptFrame &frame) {
    const uint32_t processor = current_processor();
    uint32_t nobody = 0;
    if (!faulting_processor.compare_exchange_strong(nobody, processor + 1) &&
        nobody != processor + 1) {
        halt_for_ever();  // another processor writes a report already, and stops the machine
    }
    ++exceptions_told;
    const uint8_t exit_code = exit_code_of_exception(frame.vector);
    if (exceptions_told > 2) {
        stop_machine(exit_code);
    }
    const ControlRegisters control{read_cr2(), read_cr3()};
    std::array<uint64_t, kMaxBacktrace> calls{};
    size_t count = 0;
    // Not the second time: the first fault may have come from this very walk.
    if (exceptions_told == 1 && readable_check != nullptr) {
        count = walk_frames(frame.rbp, readable_check, calls);
    }
    std::string_view note;
    if (fault_explainer != nullptr &&
        (frame.vector == kVectorPageFault || frame.vector == kVectorDoubleFault)) {
        note = fault_explainer(control.cr2);
    }
    static constinit std::array<char, kExceptionTextBytes> text{};
    TextWriter out(text);
    if (processor != 0) {
        out.put("Processor ", processor, ": ");
    }
    format_exception(out, frame, control, std::span(calls).first(count), note);
    out.put("The machine stops here.\n");
    tell(out.view());
    stop_machine(exit_code);
}

}  // namespace

void load_processor_tables(ProcessorTables &tables, const InterruptStacks &stacks) {
    TaskState &task_state = tables.task_state;
    const auto task = reinterpret_cast<uint64_t>(&task_state);
    task_state.ist[kStackException - 1] = stacks.exception;
    task_state.ist[kStackDoubleFault - 1] = stacks.double_fault;
    task_state.ist[kStackNmi - 1] = stacks.nmi;
    task_state.io_map_base = sizeof(TaskState);
    tables.gdt[kCodeSelector / 8] = kCodeDescriptor;
    tables.gdt[kDataSelector / 8] = kDataDescriptor;
    tables.gdt[kTaskSelector / 8] = (sizeof(TaskState) - 1) | (task & 0xFF'FFFF) << 16 |
                                    kTaskPresentAvailable << 40 | (task >> 24 & 0xFF) << 56;
    tables.gdt[kTaskSelector / 8 + 1] = task >> 32;

    const DescriptorTablePointer gdt_pointer{sizeof(tables.gdt) - 1,
                                             reinterpret_cast<uint64_t>(tables.gdt.data())};
    asm volatile(
        "lgdt %0\n"
        "pushq %1\n"
        "leaq 1f(%%rip), %%rax\n"
        "pushq %%rax\n"
        "lretq\n"
        "1:\n"
        "movl %2, %%eax\n"
        "movl %%eax, %%ds\n"
        "movl %%eax, %%es\n"
        "movl %%eax, %%ss\n"
        "xorl %%eax, %%eax\n"
        "movl %%eax, %%fs\n"
        "movl %%eax, %%gs\n"
        "movl %3, %%eax\n"
        "ltr %%ax\n"
        :
        : "m"(gdt_pointer), "i"(kCodeSelector), "i"(kDataSelector), "i"(kTaskSelector)
        : "rax", "memory");
    const DescriptorTablePointer idt_pointer{sizeof(idt) - 1,
                                             reinterpret_cast<uint64_t>(idt.data())};
    asm volatile("lidt %0" : : "m"(idt_pointer));
    write_msr(kMsrGsBase, reinterpret_cast<uint64_t>(&tables));
}

void init_interrupts() {
    fill_idt();
    load_processor_tables(boot_tables,
                          {.exception = reinterpret_cast<uint64_t>(exception_stack_top),
                           .double_fault = reinterpret_cast<uint64_t>(double_fault_stack_top),
                           .nmi = reinterpret_cast<uint64_t>(nmi_stack_top)});
    init_legacy_controllers();
}

Status register_irq(int line, IrqHandler handler, void *context) {
    if (line < 0 || line >= pic::kLines || line == pic::kCascadeLine || handler == nullptr) {
        return Error{ErrorCode::kInvalid, "no such interrupt line"};
    }
    const PortIo::InterruptsOff guard;
    for (Handler &slot : handlers[static_cast<size_t>(line)]) {
        if (slot.call == nullptr) {
            slot = {handler, context};
            line_mask = static_cast<uint16_t>(line_mask & ~(1U << line));
            write_line_mask();
            return {};
        }
    }
    return Error{ErrorCode::kExhausted, "too many devices share one interrupt line"};
}

uint64_t interrupt_count() {
    return interrupts_seen.load(std::memory_order_relaxed);
}
uint64_t spurious_interrupt_count() {
    return spurious_seen;
}

FaultRecovery set_fault_recovery(FaultRecovery hook) {
    return std::exchange(fault_recovery, hook);
}
void set_fault_explainer(FaultExplainer explainer) {
    fault_explainer = explainer;
}
void set_readable_check(ReadableCheck check) {
    readable_check = check;
}

size_t backtrace(std::span<uint64_t> into) {
    if (readable_check == nullptr) {
        return 0;
    }
    return walk_frames(reinterpret_cast<uint64_t>(__builtin_frame_address(0)), readable_check,
                       into);
}

void set_machine_stopper(MachineStopper stopper) {
    stop_others = stopper;
}

void stop_machine(uint8_t exit_code) {
    interrupts_off();
    machine_stopping.store(true, std::memory_order_seq_cst);
    if (stop_others != nullptr) {
        stop_others();
    }
    PortIo::out8(kDebugExitPort, exit_code);
    halt_for_ever();
}

}  // namespace bareflow

using namespace bareflow;

namespace {

void handle_interrupt(uint64_t vector) {
    if (vector == kVectorWake) {
        timer_end_of_interrupt();  // it only had to wake the processor
        return;
    }
    if (current_processor() != 0) {
        if (vector == kVectorTimer) {
            timer_end_of_interrupt();
        }
        return;  // else spurious: nothing more is sent there
    }
    interrupts_seen.fetch_add(1, std::memory_order_relaxed);
    if (vector < kVectorIrqBase + pic::kLines) {
        handle_line(static_cast<int>(vector - kVectorIrqBase));
    } else if (vector == kVectorTimer) {
        timer_end_of_interrupt();
    } else {
        ++spurious_seen;
    }
}

}  // namespace

void interrupt_dispatch(InterruptFrame *frame) {
    const uint64_t vector = frame->vector;
    if (vector >= kExceptionVectors) {
        guard_interrupt_begins();
        handle_interrupt(vector);
        guard_interrupt_ends(*frame);
        return;
    }
    if (vector == kVectorNmi && machine_stopping.load(std::memory_order_seq_cst)) {
        halt_for_ever();
    }
    if (exceptions_told == 0 &&
        (guard_takes_fault(*frame) ||
         (current_processor() == 0 && fault_recovery != nullptr && fault_recovery(*frame)))) {
        return;
    }
    stop_on_exception(*frame);
}
