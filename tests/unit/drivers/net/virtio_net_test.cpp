// The virtio network driver on a fake card, and on one that breaks its rings.
#include "drivers/net/virtio_net.h"

#include <gtest/gtest.h>

#include "tests/fakes/fake_virtio.h"
#include "tests/unit/drivers/net/net_card_test.h"

namespace bareflow {
namespace {

using fakes::FakeVirtioNet;
using fakes::FakeVirtioRegs;
using Driver = VirtioNet<FakeVirtioRegs>;
constexpr uint16_t kRx = virtio::kNetReceiveQueue;
constexpr uint16_t kTx = virtio::kNetTransmitQueue;

class VirtioNetTest : public NetCardTest<Driver, FakeVirtioNet> {
  protected:
    VirtioNetTest() : NetCardTest(VirtioNetLayout::kDmaBytes) {}

    Result<Driver> create(std::span<uint8_t> memory, int irq) override {
        return Driver::create(FakeVirtioRegs(card_), memory, irq);
    }
    // The device gives the next receive buffer back, with any length.
    void complete_receive(uint32_t len) {
        auto &buffers = card_.waiting(kRx);
        ASSERT_FALSE(buffers.empty());
        const auto chain = buffers.front();
        buffers.pop_front();
        card_.complete(kRx, chain, len);
    }
};

TEST_F(VirtioNetTest, BringsTheCardUp) {
    ASSERT_TRUE(start().ok());
    EXPECT_EQ(driver_->mac(), (MacAddress{{0x52, 0x54, 0x00, 0x12, 0x34, 0x56}}));
    EXPECT_EQ(card_.accepted(),
              virtio::kFeatureVersion1 | virtio::kNetFeatureMac | virtio::kNetFeatureStatus);
    EXPECT_TRUE(card_.running());
    EXPECT_EQ(card_.waiting(kRx).size(), VirtioNetLayout::kRxCount);
    EXPECT_TRUE(driver_->link_up());
    EXPECT_EQ(driver_->name(), "virtio-net");
}

TEST_F(VirtioNetTest, SmallerQueuesThanOurs) {
    card_.queue_max = 4;
    ASSERT_TRUE(start().ok());
    EXPECT_EQ(card_.queue_size(kRx), 4);
    for (unsigned i = 0; i < 50; ++i) {
        ASSERT_TRUE(card_.deliver(make_frame(100, i)));
        ASSERT_EQ(receive(), make_frame(100, i));
        ASSERT_EQ(receive(), Frame{});
        ASSERT_TRUE(driver_->transmit(make_frame(70, i)).ok());
    }
    EXPECT_EQ(card_.sent.size(), 50u);
}

TEST_F(VirtioNetTest, AddressOfOurOwnWhenTheDeviceHasNone) {
    card_.offered &= ~virtio::kNetFeatureMac;
    ASSERT_TRUE(start().ok());
    EXPECT_EQ(driver_->mac().bytes[0] & 3, 2) << "local, and no group's";
}

TEST_F(VirtioNetTest, AddressesThatCannotBe) {
    card_.config[0] = 0x53;  // the address of a group
    EXPECT_EQ(start().code(), ErrorCode::kDevice);
    std::fill_n(card_.config.begin(), 6, uint8_t{0});
    EXPECT_EQ(start().code(), ErrorCode::kDevice);
    EXPECT_FALSE(card_.running());
}

TEST_F(VirtioNetTest, ConfigurationThatChangesWhileItIsRead) {
    card_.config_changes = 7;
    ASSERT_TRUE(start().ok());
    EXPECT_EQ(driver_->mac().bytes[5], 0x56);
}

TEST_F(VirtioNetTest, ConfigurationThatIsTooShort) {
    card_.config.resize(7);
    EXPECT_EQ(start().code(), ErrorCode::kDevice);
}

TEST_F(VirtioNetTest, TooLittleMemory) {
    auto made = create(memory_.span().first(VirtioNetLayout::kDmaBytes - 1), 11);
    EXPECT_EQ(made.error().code, ErrorCode::kTooLarge);
}

TEST_F(VirtioNetTest, ReceivesInOrderRoundTheRing) {
    receive_in_order(VirtioNetLayout::kRxCount);
}

TEST_F(VirtioNetTest, BurstFillsTheRingAndDrains) {
    receive_bursts(VirtioNetLayout::kRxCount, [this] { return card_.waiting(kRx).size(); });
}

TEST_F(VirtioNetTest, KicksAreKeptWhenTheDeviceLooksByItself) {
    ASSERT_TRUE(start().ok());
    card_.set_no_notify(kRx, true);
    card_.set_no_notify(kTx, true);
    for (unsigned i = 0; i < 200; ++i) {
        ASSERT_TRUE(card_.deliver(make_frame(100, i)));
        ASSERT_EQ(receive(), make_frame(100, i));
        card_.fetch(kRx);
        ASSERT_TRUE(driver_->transmit(make_frame(60, i)).ok());
        card_.fetch(kTx);
        card_.finish(1);
    }
    EXPECT_EQ(card_.sent.size(), 200u);
}

TEST_F(VirtioNetTest, LengthsAreChecked) {
    ASSERT_TRUE(start().ok());
    uint64_t dropped = 0;
    for (const uint32_t len : {0u, 1u, 11u, 12u, 12u + 1515u, 2048u}) {
        complete_receive(len);
        ASSERT_EQ(receive(4096), Frame{}) << len;
        ASSERT_EQ(driver_->counters().rx_dropped, ++dropped);
    }
    for (const size_t len : {size_t{1}, kMaxFrameBytes}) {
        ASSERT_TRUE(card_.deliver(make_frame(len, 3)));
        EXPECT_EQ(receive(), make_frame(len, 3));
    }
    ASSERT_TRUE(card_.deliver(make_frame(200, 3)));
    EXPECT_EQ(receive(100), Frame{}) << "longer than the caller's room";
}

TEST_F(VirtioNetTest, BrokenReceiveRingEndsTheCard) {
    ASSERT_TRUE(start().ok());
    complete_receive(2049);
    EXPECT_EQ(receive(), Frame{});
    EXPECT_FALSE(card_.running()) << "it was reset";
    EXPECT_EQ(driver_->transmit(make_frame(60, 1)).code(), ErrorCode::kDevice);
    EXPECT_FALSE(driver_->link_up());
    EXPECT_EQ(receive(), Frame{});
}

TEST_F(VirtioNetTest, BrokenTransmitRingEndsTheCard) {
    ASSERT_TRUE(start().ok());
    card_.push_used(kTx, 7, 0);
    EXPECT_EQ(driver_->transmit(make_frame(60, 1)).code(), ErrorCode::kDevice);
    EXPECT_FALSE(card_.running());
}

TEST_F(VirtioNetTest, UsedIndexThatJumps) {
    ASSERT_TRUE(start().ok());
    card_.jump_used(kRx, 1000);
    EXPECT_EQ(receive(), Frame{});
    EXPECT_FALSE(card_.running());
}

TEST_F(VirtioNetTest, TransmitsWhatItIsGiven) {
    ASSERT_TRUE(start().ok());
    // The header says "no offload", whatever the buffer held before.
    const std::span buffers = memory_.span().subspan(VirtioNetLayout::kTxBuffers);
    std::fill(buffers.begin(), buffers.end(), uint8_t{0xFF});
    transmit_many(VirtioNetLayout::kTxCount);
    transmit_wrong_lengths();
    EXPECT_FALSE(card_.interrupt_asserted()) << "sent frames need no interrupt";
}

TEST_F(VirtioNetTest, FullTransmitRingIsSaidAndRecovers) {
    card_.hold_transmit = true;
    ASSERT_TRUE(start().ok());
    fill_transmit_ring(VirtioNetLayout::kTxCount);
    card_.finish(1, true);  // the newest first: its descriptor is not the next one
    EXPECT_EQ(driver_->transmit(make_frame(60, 99)).code(), ErrorCode::kExhausted);
    card_.finish(1);
    EXPECT_TRUE(driver_->transmit(make_frame(60, 100)).ok());
    card_.finish(VirtioNetLayout::kTxCount);
    EXPECT_EQ(card_.sent.size(), VirtioNetLayout::kTxCount + 1u);
}

TEST_F(VirtioNetTest, InterruptIsAcknowledgedAndCounted) {
    ASSERT_TRUE(start().ok());
    EXPECT_FALSE(driver_->on_interrupt()) << "a neighbour's on a shared line";
    ASSERT_TRUE(card_.deliver(make_frame(60, 1)));
    ASSERT_TRUE(card_.interrupt_asserted());
    EXPECT_TRUE(driver_->on_interrupt());
    EXPECT_FALSE(card_.interrupt_asserted());
    EXPECT_EQ(driver_->counters().interrupts, 1u);
    card_.gone = true;
    EXPECT_FALSE(driver_->on_interrupt());
}

TEST_F(VirtioNetTest, WithoutALineItIsPolled) {
    ASSERT_TRUE(start(-1).ok());
    ASSERT_TRUE(card_.deliver(make_frame(60, 1)));
    EXPECT_FALSE(card_.interrupt_asserted());
    EXPECT_EQ(receive(), make_frame(60, 1));
}

TEST_F(VirtioNetTest, LinkChangesAreSeenAndCounted) {
    ASSERT_TRUE(start().ok());
    card_.set_link(false);
    EXPECT_TRUE(driver_->on_interrupt());
    EXPECT_FALSE(driver_->link_up());
    card_.set_link(true);
    EXPECT_TRUE(driver_->link_up());
    EXPECT_EQ(driver_->counters().link_changes, 2u);
}

TEST_F(VirtioNetTest, RandomTraffic) {
    card_.hold_transmit = true;
    random_traffic();
}

}  // namespace
}  // namespace bareflow
