#include "drivers/net/virtio_net.h"

#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <random>

#include "tests/fakes/fake_virtio.h"

namespace bareflow {
namespace {

using fakes::DmaMemory;
using fakes::FakeVirtioNet;
using fakes::FakeVirtioRegs;
using Driver = VirtioNet<FakeVirtioRegs>;
using Frame = FakeVirtioNet::Frame;
constexpr uint16_t kRx = virtio::kNetReceiveQueue;
constexpr uint16_t kTx = virtio::kNetTransmitQueue;

Frame make_frame(size_t len, unsigned seed) {
    Frame frame(len);
    for (size_t i = 0; i < len; ++i) {
        frame[i] = static_cast<uint8_t>(seed * 31 + i * 7 + (i >> 8));
    }
    return frame;
}

class VirtioNetTest : public testing::Test {
  protected:
    VirtioNetTest() { fake_.dma.allow(memory_.span()); }
    Status start(int irq = 11) {
        auto made = Driver::create(FakeVirtioRegs(fake_), memory_.span(), irq);
        if (!made) {
            return made.status();
        }
        driver_ = std::make_unique<Driver>(std::move(made).value());
        return {};
    }
    Frame receive(size_t room = kMaxFrameBytes) {
        Frame frame(room);
        frame.resize(driver_->receive(frame));
        return frame;
    }
    // The device's own: gives the next receive buffer back with a length of its choice.
    void complete_receive(uint32_t len) {
        auto &buffers = fake_.waiting(kRx);
        ASSERT_FALSE(buffers.empty());
        const auto chain = buffers.front();
        buffers.pop_front();
        fake_.complete(kRx, chain, len);
    }

    DmaMemory memory_{VirtioNetLayout::kDmaBytes};
    FakeVirtioNet fake_;
    std::unique_ptr<Driver> driver_;
};

TEST_F(VirtioNetTest, BringsTheCardUp) {
    ASSERT_TRUE(start().ok());
    EXPECT_EQ(driver_->mac(), (MacAddress{{0x52, 0x54, 0x00, 0x12, 0x34, 0x56}}));
    EXPECT_EQ(fake_.accepted(),
              virtio::kFeatureVersion1 | virtio::kNetFeatureMac | virtio::kNetFeatureStatus);
    EXPECT_TRUE(fake_.running());
    EXPECT_EQ(fake_.waiting(kRx).size(), VirtioNetLayout::kRxCount);
    EXPECT_TRUE(driver_->link_up());
    EXPECT_EQ(driver_->name(), "virtio-net");
}

TEST_F(VirtioNetTest, SmallerQueuesThanOurs) {
    fake_.queue_max = 4;
    ASSERT_TRUE(start().ok());
    EXPECT_EQ(fake_.queue_size(kRx), 4);
    for (unsigned i = 0; i < 50; ++i) {
        ASSERT_TRUE(fake_.deliver(make_frame(100, i)));
        ASSERT_EQ(receive(), make_frame(100, i));
        ASSERT_EQ(receive(), Frame{});
        ASSERT_TRUE(driver_->transmit(make_frame(70, i)).ok());
    }
    EXPECT_EQ(fake_.sent.size(), 50u);
}

TEST_F(VirtioNetTest, AddressOfOurOwnWhenTheDeviceHasNone) {
    fake_.offered &= ~virtio::kNetFeatureMac;
    ASSERT_TRUE(start().ok());
    EXPECT_EQ(driver_->mac().bytes[0] & 3, 2) << "local, and no group's";
}

TEST_F(VirtioNetTest, AddressesThatCannotBe) {
    fake_.config[0] = 0x53;  // a group's
    EXPECT_EQ(start().code(), ErrorCode::kDevice);
    std::fill_n(fake_.config.begin(), 6, uint8_t{0});
    EXPECT_EQ(start().code(), ErrorCode::kDevice);
    EXPECT_FALSE(fake_.running());
}

TEST_F(VirtioNetTest, ConfigurationThatChangesWhileItIsRead) {
    fake_.config_changes = 7;
    ASSERT_TRUE(start().ok());
    EXPECT_EQ(driver_->mac().bytes[5], 0x56);
}

TEST_F(VirtioNetTest, ConfigurationThatIsTooShort) {
    fake_.config.resize(7);
    EXPECT_EQ(start().code(), ErrorCode::kDevice);
}

TEST_F(VirtioNetTest, TooLittleMemory) {
    EXPECT_EQ(Driver::create(FakeVirtioRegs(fake_),
                             memory_.span().first(VirtioNetLayout::kDmaBytes - 1), 11)
                  .error()
                  .code,
              ErrorCode::kTooLarge);
}

TEST_F(VirtioNetTest, ReceivesInOrderRoundTheRing) {
    ASSERT_TRUE(start().ok());
    for (unsigned i = 0; i < 5 * VirtioNetLayout::kRxCount; ++i) {
        const Frame frame = make_frame(60 + i % 1455, i);
        ASSERT_TRUE(fake_.deliver(frame));
        ASSERT_EQ(receive(), frame) << i;
        ASSERT_EQ(receive(), Frame{});
    }
    EXPECT_EQ(driver_->counters().rx_frames, 5u * VirtioNetLayout::kRxCount);
}

TEST_F(VirtioNetTest, BurstFillsTheRingAndDrains) {
    ASSERT_TRUE(start().ok());
    for (unsigned round = 0; round < 3; ++round) {
        for (unsigned i = 0; i < VirtioNetLayout::kRxCount; ++i) {
            ASSERT_TRUE(fake_.deliver(make_frame(100, i)));
        }
        EXPECT_FALSE(fake_.deliver(make_frame(100, 99)));
        for (unsigned i = 0; i < VirtioNetLayout::kRxCount; ++i) {
            ASSERT_EQ(receive(), make_frame(100, i));
        }
        ASSERT_EQ(receive(), Frame{});
        EXPECT_EQ(fake_.waiting(kRx).size(), VirtioNetLayout::kRxCount);
    }
}

TEST_F(VirtioNetTest, KicksAreKeptWhenTheDeviceLooksByItself) {
    ASSERT_TRUE(start().ok());
    fake_.set_no_notify(kRx, true);
    fake_.set_no_notify(kTx, true);
    for (unsigned i = 0; i < 200; ++i) {
        ASSERT_TRUE(fake_.deliver(make_frame(100, i)));
        ASSERT_EQ(receive(), make_frame(100, i));
        fake_.fetch(kRx);
        ASSERT_TRUE(driver_->transmit(make_frame(60, i)).ok());
        fake_.fetch(kTx);
        fake_.finish(1);
    }
    EXPECT_EQ(fake_.sent.size(), 200u);
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
        ASSERT_TRUE(fake_.deliver(make_frame(len, 3)));
        EXPECT_EQ(receive(), make_frame(len, 3));
    }
    ASSERT_TRUE(fake_.deliver(make_frame(200, 3)));
    EXPECT_EQ(receive(100), Frame{}) << "longer than the caller's room";
}

TEST_F(VirtioNetTest, BrokenReceiveRingEndsTheCard) {
    ASSERT_TRUE(start().ok());
    complete_receive(2049);
    EXPECT_EQ(receive(), Frame{});
    EXPECT_FALSE(fake_.running()) << "it was reset";
    EXPECT_EQ(driver_->transmit(make_frame(60, 1)).code(), ErrorCode::kDevice);
    EXPECT_FALSE(driver_->link_up());
    EXPECT_EQ(receive(), Frame{});
}

TEST_F(VirtioNetTest, BrokenTransmitRingEndsTheCard) {
    ASSERT_TRUE(start().ok());
    fake_.push_used(kTx, 7, 0);
    EXPECT_EQ(driver_->transmit(make_frame(60, 1)).code(), ErrorCode::kDevice);
    EXPECT_FALSE(fake_.running());
}

TEST_F(VirtioNetTest, UsedIndexThatJumps) {
    ASSERT_TRUE(start().ok());
    fake_.jump_used(kRx, 1000);
    EXPECT_EQ(receive(), Frame{});
    EXPECT_FALSE(fake_.running());
}

TEST_F(VirtioNetTest, TransmitsWhatItIsGiven) {
    ASSERT_TRUE(start().ok());
    // Whatever is left in a buffer, the header says "no offload".
    const std::span buffers = memory_.span().subspan(VirtioNetLayout::kTxBuffers);
    std::fill(buffers.begin(), buffers.end(), uint8_t{0xFF});
    for (unsigned i = 0; i < 3 * VirtioNetLayout::kTxCount; ++i) {
        Frame frame = make_frame(1 + (i * 97) % kMaxFrameBytes, i);
        ASSERT_TRUE(driver_->transmit(frame).ok());
        const Frame copy = frame;
        std::fill(frame.begin(), frame.end(), uint8_t{0});
        ASSERT_EQ(fake_.sent.back(), copy);
    }
    EXPECT_EQ(driver_->transmit({}).code(), ErrorCode::kInvalid);
    EXPECT_EQ(driver_->transmit(make_frame(kMaxFrameBytes + 1, 0)).code(), ErrorCode::kInvalid);
    EXPECT_FALSE(fake_.interrupt_asserted()) << "sent frames need no interrupt";
}

TEST_F(VirtioNetTest, FullTransmitRingIsSaidAndRecovers) {
    fake_.hold_transmit = true;
    ASSERT_TRUE(start().ok());
    for (unsigned i = 0; i < VirtioNetLayout::kTxCount; ++i) {
        ASSERT_TRUE(driver_->transmit(make_frame(60, i)).ok());
    }
    EXPECT_EQ(driver_->transmit(make_frame(60, 99)).code(), ErrorCode::kExhausted);
    EXPECT_EQ(driver_->counters().tx_dropped, 1u);
    fake_.finish(1, true);  // the newest first: its slot is not the next one
    EXPECT_EQ(driver_->transmit(make_frame(60, 99)).code(), ErrorCode::kExhausted);
    fake_.finish(1);
    EXPECT_TRUE(driver_->transmit(make_frame(60, 100)).ok());
    fake_.finish(VirtioNetLayout::kTxCount);
    EXPECT_EQ(fake_.sent.size(), VirtioNetLayout::kTxCount + 1u);
}

TEST_F(VirtioNetTest, InterruptIsAcknowledgedAndCounted) {
    ASSERT_TRUE(start().ok());
    EXPECT_FALSE(driver_->on_interrupt()) << "a neighbour's on a shared line";
    ASSERT_TRUE(fake_.deliver(make_frame(60, 1)));
    ASSERT_TRUE(fake_.interrupt_asserted());
    EXPECT_TRUE(driver_->on_interrupt());
    EXPECT_FALSE(fake_.interrupt_asserted());
    EXPECT_EQ(driver_->counters().interrupts, 1u);
    fake_.gone = true;
    EXPECT_FALSE(driver_->on_interrupt());
}

TEST_F(VirtioNetTest, WithoutALineItIsPolled) {
    ASSERT_TRUE(start(-1).ok());
    ASSERT_TRUE(fake_.deliver(make_frame(60, 1)));
    EXPECT_FALSE(fake_.interrupt_asserted());
    EXPECT_EQ(receive(), make_frame(60, 1));
}

TEST_F(VirtioNetTest, LinkChangesAreSeenAndCounted) {
    ASSERT_TRUE(start().ok());
    fake_.set_link(false);
    EXPECT_TRUE(driver_->on_interrupt());
    EXPECT_FALSE(driver_->link_up());
    fake_.set_link(true);
    EXPECT_TRUE(driver_->link_up());
    EXPECT_EQ(driver_->counters().link_changes, 2u);
}

TEST_F(VirtioNetTest, RandomTraffic) {
    fake_.hold_transmit = true;
    ASSERT_TRUE(start().ok());
    std::mt19937 random(1);
    std::deque<Frame> arriving;
    std::deque<Frame> leaving;
    size_t sent_seen = 0;
    for (unsigned i = 0; i < 20000; ++i) {
        const Frame frame = make_frame(1 + random() % kMaxFrameBytes, i);
        switch (random() % 5) {
            case 0:
            case 1:
                if (fake_.deliver(frame)) {
                    arriving.push_back(frame);
                }
                break;
            case 2:
                if (const Frame got = receive(); !got.empty()) {
                    ASSERT_FALSE(arriving.empty());
                    ASSERT_EQ(got, arriving.front());
                    arriving.pop_front();
                } else {
                    ASSERT_TRUE(arriving.empty());
                }
                break;
            case 3:
                if (driver_->transmit(frame).ok()) {
                    leaving.push_back(frame);
                }
                break;
            default:
                fake_.finish(random() % 4);
                for (; sent_seen < fake_.sent.size(); ++sent_seen) {
                    ASSERT_EQ(fake_.sent[sent_seen], leaving.front());
                    leaving.pop_front();
                }
                break;
        }
    }
    EXPECT_GT(driver_->counters().rx_frames, 3000u);
    EXPECT_GT(driver_->counters().tx_frames, 3000u);
}

}  // namespace
}  // namespace bareflow
