// Faults made on purpose. Each one must end in the report that a real fault of its kind gets; a
// fault that does not happen is a panic. tests/qemu reads the reports.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <iterator>
#include <span>

#include "appliance/bad_candidates.h"
#include "appliance/metal/self_test.h"
#include "kernel_lib/cpu/interrupts.h"
#include "kernel_lib/cpu/worker_pool.h"
#include "kernel_lib/cpu/worker_wait.h"
#include "kernel_lib/io/log.h"
#include "kernel_lib/jit/code_buffer.h"
#include "kernel_lib/platform/metal/memory_setup.h"
#include "kernel_lib/platform/platform.h"
#include "kernel_lib/platform/ticks.h"

namespace bareflow {

namespace {

// An address that is never mapped: in the lower half, far above any memory.
constexpr uint64_t kNowhere = 0x0000'7000'0000'0000;
constexpr uint8_t kReturn = 0xC3;
constexpr uint64_t kUd2Bytes = 2;

// Using the array after the deeper call keeps a frame of its own for every call.
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

// The code: mov eax, value; ret
void write_answer(std::span<uint8_t> room, uint8_t value) {
    const uint8_t code[] = {0xB8, value, 0, 0, 0, 0xC3};
    std::copy(std::begin(code), std::end(code), room.begin());
}

struct Question {
    int (*ask)() = nullptr;
    int expected = 0;
    std::atomic<uint32_t> wrong = 0;
    std::atomic<uint32_t> elsewhere = 0;
};

// Writes new code at the same address kRounds times; every processor runs it each time. A stale
// instruction would give the answer of an earlier round.
void republish(jit::CodeBuffer &code, Question &question) {
    constexpr int kRounds = 500;
    for (int round = 0; round < kRounds; ++round) {
        const auto region = code.open("answer", 6);
        if (!region) {
            platform::panic("selftest: no room for code");
        }
        write_answer(code.room(*region), static_cast<uint8_t>(round));
        question.ask =
            reinterpret_cast<int (*)()>(reinterpret_cast<uintptr_t>(code.seal(*region, 6)));
        question.expected = round & 0xFF;
        worker_pool().run(
            [](void *context, uint32_t begin, uint32_t end) {
                auto &asked = *static_cast<Question *>(context);
                for (uint32_t i = begin; i < end; ++i) {
                    asked.wrong += asked.ask() != asked.expected ? 1 : 0;
                    asked.elsewhere += platform::processor_index() != 0 ? 1 : 0;
                    // Wait, so that the other processors can take part.
                    for (const uint64_t since = platform::ticks();
                         platform::ticks() - since < us_to_ticks(10);) {
                        worker_pause();
                    }
                }
            },
            &question, 16, 1);
        code.release(*region);
    }
}

// Generated code runs, and no page is both writable and executable.
void test_code() {
    jit::CodeBuffer code;
    if (!code.create(2)) {
        platform::panic("selftest: no memory for code");
    }
    const uint64_t before = audit_page_tables().executable;
    Question question;
    republish(code, question);
    const PageTables::Audit pages = audit_page_tables();
    log_line("selftest: ", pages.mapped, " pages mapped, ", pages.executable, " executable, ",
             pages.writable_and_executable, " of them writable");
    log_line("selftest: new code at an old address: ", question.wrong.load(), " wrong answers, ",
             question.elsewhere.load(), " given by other processors");
    if (question.wrong.load() != 0 || pages.executable != before) {
        platform::panic("selftest: generated code is not what it should be");
    }
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
            // Two units: each processor waits for the other one, so both take part.
            const auto fault_elsewhere = [](void *, uint32_t, uint32_t) {
                if (platform::processor_index() != 0) {
                    asm volatile("ud2");
                }
                const uint64_t end = platform::ticks() + ms_to_ticks(1000);
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
        case SelfTest::kCode:
            return test_code();
        case SelfTest::kGenerated:
            crash_in_generated_code();
            break;
        case SelfTest::kReboot:
            platform::reboot();
    }
    platform::panic("selftest: the fault did not happen");
}

}  // namespace bareflow
