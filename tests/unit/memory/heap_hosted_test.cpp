#include <gtest/gtest.h>

#include "kernel_lib/memory/buffer.h"
#include "kernel_lib/memory/heap.h"

namespace bareflow {
namespace {

TEST(HeapHostedTest, CountsWhatIsInUseAndTheMostThatEverWas) {
    constexpr size_t kBytes = 1 << 20;
    const HeapStats before = heap_stats();
    void *const memory = heap_allocate(kBytes, 64);
    ASSERT_NE(memory, nullptr);
    const HeapStats during = heap_stats();
    EXPECT_GE(during.used_bytes, before.used_bytes + kBytes);
    EXPECT_GE(during.peak_used_bytes, during.used_bytes);
    heap_release(memory);
    EXPECT_EQ(heap_stats().used_bytes, before.used_bytes);
    EXPECT_EQ(heap_stats().peak_used_bytes, during.peak_used_bytes);
    heap_release(nullptr);
    EXPECT_EQ(heap_allocate(0, 8), nullptr);
    EXPECT_EQ(heap_stats().used_bytes, before.used_bytes);
}

}  // namespace
}  // namespace bareflow
