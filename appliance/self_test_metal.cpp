#include <cstdint>

#include "appliance/bad_candidates.h"
#include "appliance/self_test.h"
#include "kernel_lib/cpu/interrupts.h"
#include "kernel_lib/cpu/worker_pool.h"
#include "kernel_lib/cpu/worker_wait.h"
#include "kernel_lib/io/log.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow {

namespace {

// Not mapped by anybody: below the end of the lower half, far beyond any memory.
constexpr uint64_t kNowhere = 0x0000'7000'0000'0000;
constexpr uint8_t kReturn = 0xC3;
constexpr uint64_t kUd2Bytes = 2;

// Every call needs its own frame: the array is used after the deeper call.
[[gnu::noinline]] uint64_t run_out_of_stack(uint64_t depth) {
    volatile uint64_t frame[64];
    frame[depth % 64] = depth;
    if (depth == ~uint64_t{0}) {
        return 0;
    }
    return run_out_of_stack(depth + 1) + frame[depth % 64];
}

bool skip_ud2(InterruptFrame &frame) {
    frame.rip += kUd2Bytes;
    return true;
}

}  // namespace

[[gnu::noinline]] void run_self_test(SelfTest test) {
    switch (test) {
        case SelfTest::kNone:
            return;
        case SelfTest::kPageFault:
            *reinterpret_cast<volatile uint64_t *>(kNowhere) = 1;
            break;
        case SelfTest::kDivide: {
            volatile uint32_t zero = 0;
            asm volatile("xorl %%edx, %%edx; movl $1, %%eax; divl %0"
                         :
                         : "m"(zero)
                         : "eax", "edx", "cc");
            break;
        }
        case SelfTest::kStack:
            (void)run_out_of_stack(0);
            break;
        case SelfTest::kInvalidOpcode:
            asm volatile("ud2");
            break;
        case SelfTest::kPanic:
            platform::panic("panic made on purpose (selftest=panic)");
        case SelfTest::kWriteCode:
            *reinterpret_cast<volatile uint8_t *>(&run_self_test) = kReturn;
            break;
        case SelfTest::kRunData: {
            static constinit uint8_t code[16] = {kReturn};
            reinterpret_cast<void (*)()>(code)();
            break;
        }
        case SelfTest::kRecovery: {
            const FaultRecovery before = set_fault_recovery(skip_ud2);
            asm volatile("ud2");
            set_fault_recovery(before);
            log_line("selftest: recovered from an invalid opcode");
            return;
        }
        case SelfTest::kProcessor: {
            // Two items: each processor waits for the other one, so both take part.
            const auto fault_elsewhere = [](void *, uint32_t, uint32_t) {
                if (platform::processor_index() != 0) {
                    asm volatile("ud2");
                }
                const uint64_t end = platform::ticks() + platform::ticks_per_second();
                while (platform::ticks() < end) {
                    worker_pause();
                }
            };
            worker_pool().run(fault_elsewhere, nullptr, 2, 1);
            break;
        }
        case SelfTest::kCandidates:
            if (!try_bad_candidates(worker_pool())) {
                platform::panic("selftest: a bad candidate was not survived as it should be");
            }
            return;
        case SelfTest::kGenerated:
            crash_in_generated_code();
            break;
        case SelfTest::kReboot:
            platform::reboot();
    }
    platform::panic("selftest: the fault did not happen");
}

}  // namespace bareflow
