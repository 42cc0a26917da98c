// Guarded calls in a Linux process: faults arrive as signals, and the deadline is a timer of the
// thread's own that sends one.
#include "kernel_lib/cpu/guarded_call.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <ctime>

#include "kernel_lib/platform/platform.h"
#include "kernel_lib/platform/ticks.h"

// AddressSanitizer's, where it is linked: it is told that frames were left without returning.
extern "C" [[gnu::weak]] void __asan_handle_no_return();

namespace bareflow {

namespace {

constexpr std::array<int, 5> kFaults = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
constexpr size_t kSignalStackBytes = 64 * 1024;
constexpr uint64_t kNanosPerSecond = 1'000'000'000;

// A thread that once made a guarded call keeps its timer and its signal stack.
struct Guard {
    GuardedReturn back;
    uint64_t deadline = 0;
    std::atomic<bool> active = false;
    bool ready = false;
    timer_t timer = nullptr;
};
constinit thread_local Guard own_guard;

constinit pthread_once_t handlers_set = PTHREAD_ONCE_INIT;
constinit std::array<struct sigaction, kFaults.size()> before{};

int deadline_signal() {
    return SIGRTMIN + 2;
}

void leave(Guard &guard, ucontext_t &context, GuardedOutcome outcome) {
    guard.active.store(false, std::memory_order_relaxed);
    greg_t *const regs = context.uc_mcontext.gregs;
    regs[REG_RIP] = static_cast<greg_t>(reinterpret_cast<uintptr_t>(bareflow_guarded_resume));
    regs[REG_RSP] = static_cast<greg_t>(guard.back.stack);
    regs[REG_RDI] = static_cast<greg_t>(reinterpret_cast<uintptr_t>(&guard.back));
    regs[REG_RSI] = static_cast<greg_t>(outcome);
    constexpr greg_t kDirectionAndTrap = 1 << 10 | 1 << 8;
    regs[REG_EFL] &= ~kDirectionAndTrap;
}

bool inside(const Guard &guard) {
    return guard.active.load(std::memory_order_relaxed) && guard.back.stack != 0;
}

// A fault outside a guarded call goes to the handler that was installed before ours.
void pass_on(int number, siginfo_t *info, void *context) {
    for (size_t i = 0; i < kFaults.size(); ++i) {
        if (kFaults[i] != number) {
            continue;
        }
        if ((before[i].sa_flags & SA_SIGINFO) != 0 && before[i].sa_sigaction != nullptr) {
            before[i].sa_sigaction(number, info, context);
            return;
        }
        // The signal is raised again when the handler returns, even if the instruction would not
        // fault a second time.
        sigaction(number, &before[i], nullptr);
        raise(number);
    }
}

void on_fault(int number, siginfo_t *info, void *context) {
    if (inside(own_guard)) {
        leave(own_guard, *static_cast<ucontext_t *>(context), GuardedOutcome::kFaulted);
    } else {
        pass_on(number, info, context);
    }
}

// A signal that arrives after its call has ended finds nothing to do. One that arrives before the
// function is entered is sent again a millisecond later.
void on_deadline(int /*number*/, siginfo_t * /*info*/, void *context) {
    if (inside(own_guard) && platform::ticks() >= own_guard.deadline) {
        leave(own_guard, *static_cast<ucontext_t *>(context), GuardedOutcome::kOverran);
    }
}

// sigaction of Linux on x86-64, and what must stand behind it (sigreturn(2)).
struct KernelAction {
    void (*handler)(int, siginfo_t *, void *);
    uint64_t flags;
    void (*restorer)();
    uint64_t mask;
};
[[gnu::naked]] void restore() {
    asm("movq $15, %rax\n syscall");  // as unwinders know it
}

// The system call and not the C library's sigaction: under ThreadSanitizer, the latter holds a
// timer's signal back until the thread calls the library, which an endless function never does.
void set_deadline_handler() {
    constexpr uint64_t kRestorer = 0x04000000;
    const KernelAction action = {.handler = on_deadline,
                                 .flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART | kRestorer,
                                 .restorer = restore,
                                 .mask = ~uint64_t{0}};
    ::syscall(SYS_rt_sigaction, deadline_signal(), &action, nullptr, sizeof(action.mask));
}

void set_handlers() {
    struct sigaction action = {};
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigfillset(&action.sa_mask);
    for (size_t i = 0; i < kFaults.size(); ++i) {
        action.sa_sigaction = on_fault;
        sigaction(kFaults[i], &action, &before[i]);
    }
    set_deadline_handler();
}

// False: the system has no memory or no timer for us.
bool prepare(Guard &guard) {
    stack_t stack = {};
    if (sigaltstack(nullptr, &stack) == 0 && (stack.ss_flags & SS_DISABLE) != 0) {
        stack.ss_sp = platform::allocate_pages(kSignalStackBytes / platform::kPageBytes);
        stack.ss_size = kSignalStackBytes;
        stack.ss_flags = 0;
        if (stack.ss_sp == nullptr || sigaltstack(&stack, nullptr) != 0) {
            return false;
        }
    }
    sigevent event = {};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = deadline_signal();
    event._sigev_un._tid = static_cast<pid_t>(::syscall(SYS_gettid));
    if (timer_create(CLOCK_MONOTONIC, &event, &guard.timer) != 0) {
        return false;
    }
    guard.ready = true;
    return true;
}

// A little late rather than early, and again every millisecond in case a clock disagrees.
void set_timer(Guard &guard, uint64_t wait_ticks) {
    const uint64_t ns = (ticks_to_us(wait_ticks) + 1) * 1000;
    itimerspec when = {};
    when.it_value = {static_cast<time_t>(ns / kNanosPerSecond),
                     static_cast<long>(ns % kNanosPerSecond)};
    when.it_interval = {0, 1'000'000};
    timer_settime(guard.timer, 0, &when, nullptr);
}

}  // namespace

GuardedOutcome guarded_call(GuardedFunction function, void *context, uint64_t deadline_ticks) {
    Guard &guard = own_guard;
    if (guard.active.load(std::memory_order_relaxed)) {
        platform::panic("guarded call inside another");
    }
    // A thread that comes at the same time waits until they are installed.
    pthread_once(&handlers_set, set_handlers);
    if (!guard.ready && !prepare(guard)) {
        return GuardedOutcome::kFaulted;  // what cannot be guarded is not tried
    }
    // Worker threads have all signals blocked, and a fault whose signal is blocked ends the
    // process.
    sigset_t wanted;
    sigset_t mask;
    sigemptyset(&wanted);
    for (const int fault : kFaults) {
        sigaddset(&wanted, fault);
    }
    sigaddset(&wanted, deadline_signal());
    pthread_sigmask(SIG_UNBLOCK, &wanted, &mask);
    guard.back.stack = 0;
    guard.deadline = deadline_ticks;
    const uint64_t now = platform::ticks();
    set_timer(guard, deadline_ticks > now ? deadline_ticks - now : 0);
    guard.active.store(true, std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    const uint32_t outcome = bareflow_guarded_enter(&guard.back, function, context);
    guard.active.store(false, std::memory_order_relaxed);
    if (outcome != 0 && __asan_handle_no_return != nullptr) {
        __asan_handle_no_return();
    }
    const itimerspec never = {};
    timer_settime(guard.timer, 0, &never, nullptr);
    pthread_sigmask(SIG_SETMASK, &mask, nullptr);
    return static_cast<GuardedOutcome>(outcome);
}

}  // namespace bareflow
