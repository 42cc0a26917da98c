#include "kernel_lib/base/ring_buffer.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <deque>
#include <random>
#include <thread>

namespace bareflow {
namespace {

TEST(RingBuffer, AgainstADeque) {
    RingBuffer<int, 8> ring;
    std::deque<int> twin;
    std::mt19937 random(3);
    for (int i = 0; i < 20'000; ++i) {
        if ((random() & 1) != 0) {
            EXPECT_EQ(ring.push(i), twin.size() < 8);
            if (twin.size() < 8) {
                twin.push_back(i);
            }
        } else {
            const std::optional<int> got = ring.pop();
            ASSERT_EQ(got.has_value(), !twin.empty());
            if (got) {
                EXPECT_EQ(*got, twin.front());
                twin.pop_front();
            }
        }
        ASSERT_EQ(ring.size(), twin.size());
        ASSERT_EQ(ring.empty(), twin.empty());
    }
}

TEST(RingBuffer, OneProducerOneConsumerLoseAndInventNothing) {
    RingBuffer<uint32_t, 16> ring;
    constexpr uint32_t kCount = 20'000;
    std::thread producer([&ring] {
        for (uint32_t i = 0; i < kCount;) {
            if (ring.push(i)) {
                ++i;
            } else {
                std::this_thread::yield();
            }
        }
    });
    for (uint32_t expected = 0; expected < kCount;) {
        if (const std::optional<uint32_t> got = ring.pop()) {
            ASSERT_EQ(*got, expected++);
        } else {
            std::this_thread::yield();
        }
    }
    producer.join();
}

}  // namespace
}  // namespace bareflow
