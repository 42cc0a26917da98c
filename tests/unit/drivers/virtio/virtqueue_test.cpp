// The queue alone. The test plays the device: it writes the used ring, also as no device may.
#include "drivers/virtio/virtqueue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "tests/fakes/dma_space.h"

namespace bareflow {
namespace {

using fakes::DmaMemory;

class VirtqueueTest : public testing::Test {
  protected:
    static constexpr uint16_t kSize = 8;
    VirtqueueTest() { queue_.init(memory_.data(), kSize); }

    uint16_t *used() {
        return reinterpret_cast<uint16_t *>(
            memory_.data() + (queue_.device_address() - queue_.descriptor_address()));
    }
    void give_back(uint32_t id, uint32_t len) {
        const virtio::UsedElement element{id, len};
        std::memcpy(used() + 2 + 4 * (used()[1] % kSize), &element, sizeof element);
        ++used()[1];
    }

    DmaMemory memory_{Virtqueue::bytes_needed(kSize)};
    Virtqueue queue_;
};

TEST_F(VirtqueueTest, PartsAreWhereTheyMayBe) {
    for (const uint16_t size : {1, 2, 4, 64}) {
        DmaMemory memory(Virtqueue::bytes_needed(size));
        Virtqueue queue;
        queue.init(memory.data(), size);
        EXPECT_EQ(queue.descriptor_address() % 16, 0u);
        EXPECT_EQ(queue.driver_address() - queue.descriptor_address(), 16u * size);
        EXPECT_GE(queue.device_address(), queue.driver_address() + 6 + 2 * size);
        EXPECT_EQ(queue.device_address() % 4, 0u);
    }
}

TEST_F(VirtqueueTest, IndexesWrapAt65536) {
    Virtqueue::Used got;
    for (uint32_t i = 0; i < 70000; ++i) {
        const auto head = static_cast<uint16_t>(i % kSize);
        queue_.set(head, memory_.data(), 100, virtio::kDescWrite);
        queue_.submit(head, 100);
        ASSERT_FALSE(queue_.take(got));
        give_back(head, i % 101);
        ASSERT_TRUE(queue_.take(got)) << i;
        ASSERT_EQ(got.head, head);
        ASSERT_EQ(got.len_bytes, i % 101);
    }
}

TEST_F(VirtqueueTest, ChainsComeBackInAnyOrder) {
    for (uint16_t i = 0; i < kSize; ++i) {
        queue_.submit(i, 10);
    }
    for (const uint16_t head : {3, 0, 7, 1, 2, 6, 5, 4}) {
        give_back(head, 1);
        Virtqueue::Used got;
        ASSERT_TRUE(queue_.take(got));
        EXPECT_EQ(got.head, head);
    }
    EXPECT_EQ(queue_.in_flight(), 0);
}

TEST_F(VirtqueueTest, WhatCannotBeBreaksTheQueue) {
    struct Case {
        const char *name;
        uint32_t id, len;
        uint16_t jump;
    };
    const Case cases[] = {
        {"head out of the table", kSize, 0, 0},     {"head far out", 0xFFFFFFFF, 0, 0},
        {"head that was never submitted", 5, 0, 0}, {"longer than allowed", 0, 11, 0},
        {"much longer", 0, 0xFFFFFFFF, 0},          {"more entries than chains", 0, 1, 1},
        {"index gone backwards", 0, 1, 0xFFF0},
    };
    for (const Case &wrong : cases) {
        std::fill(memory_.span().begin(), memory_.span().end(), uint8_t{0});
        queue_.init(memory_.data(), kSize);
        queue_.submit(0, 10);
        give_back(wrong.id, wrong.len);
        used()[1] = static_cast<uint16_t>(used()[1] + wrong.jump);
        Virtqueue::Used got;
        EXPECT_FALSE(queue_.take(got)) << wrong.name;
        EXPECT_TRUE(queue_.broken()) << wrong.name;
        EXPECT_FALSE(queue_.take(got)) << wrong.name;
    }
}

TEST_F(VirtqueueTest, TheSameChainTwice) {
    queue_.submit(0, 10);
    queue_.submit(1, 10);
    give_back(0, 1);
    give_back(0, 1);
    Virtqueue::Used got;
    EXPECT_TRUE(queue_.take(got));
    EXPECT_FALSE(queue_.take(got));
    EXPECT_TRUE(queue_.broken());
}

using VirtqueueDeathTest = VirtqueueTest;
TEST_F(VirtqueueDeathTest, OurOwnMistakesPanic) {
    queue_.submit(0, 10);
    EXPECT_DEATH(queue_.submit(0, 10), "twice");
    EXPECT_DEATH(queue_.submit(kSize, 10), "twice");
    EXPECT_DEATH(queue_.init(memory_.data(), 3), "forbidden size");
}

TEST_F(VirtqueueTest, FlagsOfBothSides) {
    const uint16_t *avail = reinterpret_cast<uint16_t *>(
        memory_.data() + (queue_.driver_address() - queue_.descriptor_address()));
    EXPECT_EQ(avail[0], 0);
    queue_.suppress_interrupts();
    EXPECT_EQ(avail[0], virtio::kAvailNoInterrupt);
    EXPECT_TRUE(queue_.wants_kick());
    used()[0] = virtio::kUsedNoNotify;
    EXPECT_FALSE(queue_.wants_kick());
}

TEST_F(VirtqueueTest, TheDeviceReadsWhatWasSet) {
    queue_.set(2, memory_.data() + 16, 100, virtio::kDescNext, 5);
    queue_.set(5, memory_.data() + 32, 1, virtio::kDescWrite);
    queue_.submit(2, 1);
    virtio::Descriptor table[kSize];
    std::memcpy(table, memory_.data(), sizeof table);
    EXPECT_EQ(table[2].address, platform::physical_address(memory_.data() + 16));
    EXPECT_EQ(table[2].len_bytes, 100u);
    EXPECT_EQ(table[2].flags, virtio::kDescNext);
    EXPECT_EQ(table[2].next, 5);
    EXPECT_EQ(table[5].flags, virtio::kDescWrite);
    const uint16_t *avail = reinterpret_cast<uint16_t *>(memory_.data() + sizeof table);
    EXPECT_EQ(avail[1], 1) << "index";
    EXPECT_EQ(avail[2], 2) << "head";
    EXPECT_TRUE(queue_.in_flight(2));
    EXPECT_FALSE(queue_.in_flight(5));
}

}  // namespace
}  // namespace bareflow
