// Functions that go wrong in every way, called from the first thread and from workers.
#include "kernel_lib/cpu/guarded_call.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>

#include <atomic>
#include <thread>
#include <vector>

#include "kernel_lib/memory/guarded_pages.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow {
namespace {

uint64_t in_ms(uint64_t ms) {
    return platform::ticks() + ms * (platform::ticks_per_second() / 1000);
}

// Long enough for a busy machine.
constexpr uint64_t kPlentyMs = 20'000;

GuardedOutcome call(GuardedFunction function, void *context = nullptr, uint64_t ms = kPlentyMs) {
    return guarded_call(function, context, in_ms(ms));
}

void well(void *context) {
    ++*static_cast<int *>(context);
}
// Without frames, sanitizers or anything else of the compiler's.
[[gnu::naked]] void read_nowhere(void *) {
    asm("movq 0, %rax; ret");
}
[[gnu::naked]] void write_code(void *) {
    asm("movb $0, write_code_here(%rip)\nwrite_code_here: ret");
}
[[gnu::naked]] void invalid(void *) {
    asm("ud2");
}
[[gnu::naked]] void divide(void *) {
    asm("xorl %edx, %edx; xorl %ecx, %ecx; divl %ecx; ret");
}
[[gnu::naked]] void breakpoint(void *) {
    asm("int3; ret");
}
[[gnu::naked]] void privileged(void *) {
    asm("hlt; ret");
}
[[gnu::naked]] void lost_stack(void *) {
    asm("xorl %esp, %esp; pushq %rax; ret");
}
[[gnu::naked]] void wild_jump(void *) {
    asm("movl $16, %eax; jmpq *%rax");
}
[[gnu::naked]] void for_ever(void *) {
    asm("1: jmp 1b");
}
[[gnu::naked]] void for_ever_without_stack(void *) {
    asm("xorl %esp, %esp\n1: jmp 1b");
}
[[gnu::naked]] void backwards_for_ever(void *) {
    asm("std\n1: jmp 1b");
}
[[gnu::naked]] void loses_rbx(void *) {
    asm("xorl %ebx, %ebx; ret");
}
[[gnu::naked]] void loses_rbp(void *) {
    asm("xorl %ebp, %ebp; ret");
}
[[gnu::naked]] void loses_r15(void *) {
    asm("incq %r15; ret");
}
[[gnu::naked]] void moves_the_stack(void *) {
    asm("ret $16");
}
[[gnu::naked]] void sets_direction(void *) {
    asm("std; ret");
}
[[gnu::naked]] void changes_rounding(void *) {
    asm("movl $0x7f80, -8(%rsp); ldmxcsr -8(%rsp); ret");
}
[[gnu::naked]] void only_inexact(void *) {
    asm("movl $0x1fbf, -8(%rsp); ldmxcsr -8(%rsp); ret");  // flags of what happened: allowed
}

struct Case {
    const char *name;
    GuardedFunction function;
};
constexpr Case kFaulting[] = {
    {"read_nowhere", read_nowhere},
    {"write_code", write_code},
    {"invalid", invalid},
    {"divide", divide},
    {"breakpoint", breakpoint},
    {"privileged", privileged},
    {"lost_stack", lost_stack},
    {"wild_jump", wild_jump},
    {"loses_rbx", loses_rbx},
    {"loses_rbp", loses_rbp},
    {"loses_r15", loses_r15},
    {"moves_the_stack", moves_the_stack},
    {"sets_direction", sets_direction},
    {"changes_rounding", changes_rounding},
};
constexpr Case kEndless[] = {
    {"for_ever", for_ever},
    {"for_ever_without_stack", for_ever_without_stack},
    {"backwards_for_ever", backwards_for_ever},
};

unsigned mxcsr() {
    constexpr unsigned kWhatHappened = 0x3f;
    return __builtin_ia32_stmxcsr() & ~kWhatHappened;
}
bool backwards() {
    uint64_t flags = 0;
    asm volatile("pushfq; popq %0" : "=r"(flags));
    return (flags & 0x400) != 0;
}

void try_them_all() {
    const unsigned before = mxcsr();
    for (const Case &c : kFaulting) {
        EXPECT_EQ(call(c.function), GuardedOutcome::kFaulted) << c.name;
        EXPECT_EQ(mxcsr(), before) << c.name;
        EXPECT_FALSE(backwards()) << c.name;
    }
    for (const Case &c : kEndless) {
        const uint64_t since = platform::ticks();
        EXPECT_EQ(call(c.function, nullptr, 20), GuardedOutcome::kOverran) << c.name;
        EXPECT_GE(platform::ticks() - since, platform::ticks_per_second() / 50) << c.name;
        EXPECT_FALSE(backwards()) << c.name;
    }
    int count = 0;
    EXPECT_EQ(call(well, &count), GuardedOutcome::kReturned);
    EXPECT_EQ(call(only_inexact), GuardedOutcome::kReturned);
    EXPECT_EQ(mxcsr(), before);
    EXPECT_EQ(count, 1);
}

TEST(GuardedCallTest, WhateverHappensTheCallerGoesOn) {
    try_them_all();
    try_them_all();
}

TEST(GuardedCallTest, OnSeveralThreadsAtOnceWithSignalsOff) {
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([] {
            try_them_all();
            sigset_t now;
            pthread_sigmask(SIG_SETMASK, nullptr, &now);
            EXPECT_EQ(sigismember(&now, SIGSEGV), 1);  // as it was
        });
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    for (std::thread &thread : threads) {
        thread.join();
    }
}

TEST(GuardedCallTest, ManyShortCallsWithACloseDeadlineAllEndOneWayOrTheOther) {
    int count = 0;
    int returned = 0;
    for (int i = 0; i < 2000; ++i) {
        const auto outcome =
            guarded_call(well, &count, platform::ticks() + static_cast<uint64_t>(i % 50) * 200);
        EXPECT_NE(outcome, GuardedOutcome::kFaulted);
        returned += outcome == GuardedOutcome::kReturned;
    }
    EXPECT_GE(count, returned);
    EXPECT_GT(returned, 0);
}

// The deadline's signal comes on the way into the function or out of it.
TEST(GuardedCallTest, TimeMayBeOverBeforeTheFunctionBegins) {
    int count = 0;
    for (int i = 0; i < 5000; ++i) {
        EXPECT_NE(guarded_call(well, &count, 0), GuardedOutcome::kFaulted);
    }
    EXPECT_GT(count, 0);
}

TEST(GuardedCallTest, HolesOnBothSides) {
    auto pages = GuardedPages::create(2 * platform::kPageBytes);
    ASSERT_TRUE(pages.ok());
    struct Access {
        volatile uint8_t *at;
    };
    const auto read = [](void *context) { (void)*static_cast<Access *>(context)->at; };
    uint8_t *const begin = pages->data();
    uint8_t *const end = begin + pages->size();
    EXPECT_EQ(pages->at_end(100), end - 100);
    for (uint8_t *inside : {begin, end - 1}) {
        Access access{inside};
        EXPECT_EQ(call(read, &access), GuardedOutcome::kReturned);
    }
    for (uint8_t *outside : {begin - 1, begin - platform::kPageBytes, end, end + 4095}) {
        Access access{outside};
        EXPECT_EQ(call(read, &access), GuardedOutcome::kFaulted);
    }
}

TEST(GuardedPagesTest, NothingAndTooMuch) {
    EXPECT_FALSE(GuardedPages::create(SIZE_MAX).ok());
    EXPECT_FALSE(GuardedPages::create(0).ok());
    const auto one = GuardedPages::create(1);
    ASSERT_TRUE(one.ok());
    EXPECT_EQ(one->size(), platform::kPageBytes);
}

TEST(GuardedCallTest, OutcomesHaveNames) {
    EXPECT_EQ(outcome_name(GuardedOutcome::kReturned), "returned");
    EXPECT_EQ(outcome_name(GuardedOutcome::kFaulted), "faulted");
    EXPECT_EQ(outcome_name(GuardedOutcome::kOverran), "overran");
}

// Faults outside a guarded call end the program as before.
TEST(GuardedCallDeathTest, FaultsOutsideStayFatal) {
    EXPECT_DEATH(
        {
            int count = 0;
            (void)call(well, &count);
            invalid(nullptr);
        },
        "");
    EXPECT_DEATH(
        {
            int count = 0;
            (void)call(well, &count);
            breakpoint(nullptr);
            fprintf(stderr, "went on\n");
            _exit(0);
        },
        "");
}

// Nothing that takes milliseconds is waited for a second.
TEST(GuardedCallTest, TheDeadlineIsProportionate) {
    constexpr uint64_t kPerSecond = 2'000'000'000;
    constexpr uint64_t kPerMs = kPerSecond / 1000;
    EXPECT_EQ(guard_patience_ticks(1, kPerSecond), 10 * kPerMs);
    EXPECT_EQ(guard_patience_ticks(kPerMs / 5, kPerSecond), 10 * kPerMs);
    EXPECT_EQ(guard_patience_ticks(kPerMs, kPerSecond), 20 * kPerMs);
    EXPECT_EQ(guard_patience_ticks(kPerSecond, kPerSecond), kPerSecond);
    EXPECT_EQ(guard_patience_ticks(~uint64_t{0}, kPerSecond), kPerSecond);
}

TEST(GuardedCallTest, WhatNeverEndsIsGivenASecondChanceAndNoMore) {
    const uint64_t per_ms = platform::ticks_per_second() / 1000;
    const uint64_t before = platform::ticks();
    EXPECT_EQ(guarded_call_like(for_ever, nullptr, per_ms / 10), GuardedOutcome::kOverran);
    EXPECT_GE(platform::ticks() - before, 50 * per_ms);
    int calls = 0;
    EXPECT_EQ(guarded_call_like(well, &calls, per_ms), GuardedOutcome::kReturned);
    EXPECT_EQ(calls, 1);
    // What stood still once, as a machine may, is not given up.
    EXPECT_EQ(guarded_call_like(
                  [](void *context) {
                      if (++*static_cast<int *>(context) == 2) {
                          for (;;) {
                              asm volatile("pause");
                          }
                      }
                  },
                  &calls, per_ms),
              GuardedOutcome::kReturned);
    EXPECT_EQ(calls, 3);
    EXPECT_EQ(guarded_call_like(invalid, nullptr, per_ms), GuardedOutcome::kFaulted);
}

}  // namespace
}  // namespace bareflow
