#include "appliance/bad_candidates.h"

#include <gtest/gtest.h>

#include <thread>

#include "kernel_lib/platform/hosted/hosted.h"

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

}  // namespace
}  // namespace bareflow
