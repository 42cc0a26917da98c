#include "appliance/hosted/crash_report.h"

#include <signal.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>

#include "kernel_lib/cpu/exception_frame.h"

namespace bareflow {

namespace {

constexpr std::array<int, 5> kCrashes = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
// The report is written on this stack, and the handlers of guarded calls run on it.
constexpr size_t kStackBytes = 64 * 1024;
alignas(16) constinit std::array<char, kStackBytes> signal_stack{};

// Asks the system whether memory can be read, instead of causing another fault.
bool readable(uint64_t address) {
    std::array<uint64_t, 2> words;
    const iovec into = {words.data(), sizeof words};
    const iovec from = {reinterpret_cast<void *>(address), sizeof words};
    return process_vm_readv(getpid(), &into, 1, &from, 1, 0) == sizeof words;
}

InterruptFrame frame_of(const ucontext_t &context) {
    const auto reg = [&](int index) {
        return static_cast<uint64_t>(context.uc_mcontext.gregs[index]);
    };
    InterruptFrame f{};
    f.r15 = reg(REG_R15);
    f.r14 = reg(REG_R14);
    f.r13 = reg(REG_R13);
    f.r12 = reg(REG_R12);
    f.r11 = reg(REG_R11);
    f.r10 = reg(REG_R10);
    f.r9 = reg(REG_R9);
    f.r8 = reg(REG_R8);
    f.rbp = reg(REG_RBP);
    f.rdi = reg(REG_RDI);
    f.rsi = reg(REG_RSI);
    f.rdx = reg(REG_RDX);
    f.rcx = reg(REG_RCX);
    f.rbx = reg(REG_RBX);
    f.rax = reg(REG_RAX);
    f.vector = reg(REG_TRAPNO);
    f.error_code = reg(REG_ERR);
    f.rip = reg(REG_RIP);
    f.cs = reg(REG_CSGSFS) & 0xffff;
    f.rflags = reg(REG_EFL);
    f.rsp = reg(REG_RSP);
    f.ss = reg(REG_CSGSFS) >> 48;
    return f;
}

void on_crash(int number, siginfo_t * /*info*/, void *context) {
    const auto &where = *static_cast<const ucontext_t *>(context);
    const InterruptFrame frame = frame_of(where);
    std::array<uint64_t, kMaxBacktrace> callers;
    const size_t count = walk_frames(frame.rbp, readable, callers);
    std::array<char, 2 * kExceptionTextBytes> text;
    TextWriter out(text);
    format_exception(out, frame,
                     {.cr2 = static_cast<uint64_t>(where.uc_mcontext.gregs[REG_CR2]), .cr3 = 0},
                     std::span(callers).first(count), {});
    if (write(STDERR_FILENO, out.view().data(), out.view().size()) < 0) {
        // Standard error is closed: there is no other place for the report.
    }
    signal(number, SIG_DFL);
    raise(number);  // takes effect when this handler returns
}

}  // namespace

void report_crashes() {
    stack_t stack = {};
    stack.ss_sp = signal_stack.data();
    stack.ss_size = signal_stack.size();
    sigaltstack(&stack, nullptr);
    struct sigaction action = {};
    action.sa_sigaction = on_crash;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    for (const int crash : kCrashes) {
        sigaction(crash, &action, nullptr);
    }
}

}  // namespace bareflow
