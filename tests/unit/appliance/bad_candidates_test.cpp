#include "appliance/bad_candidates.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <thread>

#include "appliance/hosted/crash_report.h"
#include "kernel_lib/cpu/guarded_call.h"
#include "kernel_lib/platform/hosted/hosted.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow {
namespace {

TEST(BadCandidatesTest, EveryOneIsSurvivedAlone) {
    WorkerPool pool;
    EXPECT_TRUE(try_bad_candidates(pool));
}

TEST(BadCandidatesTest, EveryOneIsSurvivedOnAnotherProcessorToo) {
    WorkerPool pool;
    std::thread worker([&] {
        platform::hosted_set_processor_index(1);
        pool.serve(1);
    });
    while (pool.size() == 1) {
        std::this_thread::yield();
    }
    EXPECT_TRUE(try_bad_candidates(pool));
    pool.stop();
    worker.join();
}

TEST(BadCandidatesDeathTest, ACrashInGeneratedCodeStaysACrash) {
    EXPECT_DEATH(crash_in_generated_code(), "");
}

// The report has the kernel's name, the place in it, and its caller.
TEST(BadCandidatesDeathTest, ACrashInGeneratedCodeNamesTheKernel) {
    EXPECT_EXIT(
        {
            report_crashes();
            crash_in_generated_code();
        },
        ::testing::KilledBySignal(SIGSEGV),
        "page fault.*RIP [0-9a-f]+.* in selftest_gemv 64x32 r4 \\+ 0x7.*called from");
}

// Also after guarded calls have installed handlers of their own.
TEST(BadCandidatesDeathTest, ACrashAfterGuardedCallsIsReportedAsWell) {
    EXPECT_EXIT(
        {
            report_crashes();
            (void)guarded_call([](void *) { asm volatile("ud2"); }, nullptr,
                               platform::ticks() + platform::ticks_per_second());
            asm volatile("ud2");
        },
        ::testing::KilledBySignal(SIGILL), "invalid opcode");
}

}  // namespace
}  // namespace bareflow
