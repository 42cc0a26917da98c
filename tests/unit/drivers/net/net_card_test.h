// What the tests of all network drivers share: a driver on a fake card, and traffic that each of
// them must carry.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "drivers/net/net_device.h"
#include "kernel_lib/base/result.h"
#include "tests/fakes/dma_space.h"

namespace bareflow {

using Frame = std::vector<uint8_t>;

inline Frame make_frame(size_t len, unsigned seed) {
    Frame frame(len);
    for (size_t i = 0; i < len; ++i) {
        frame[i] = static_cast<uint8_t>(seed * 31 + i * 7 + (i >> 8));
    }
    return frame;
}

template <typename Driver, typename Card>
class NetCardTest : public ::testing::Test {
  protected:
    explicit NetCardTest(size_t dma_bytes) : memory_(dma_bytes) { card_.dma.allow(memory_.span()); }
    virtual Result<Driver> create(std::span<uint8_t> memory, int irq) = 0;

    Status start(int irq = 11) {
        auto made = create(memory_.span(), irq);
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

    // One frame after the other, often round a ring of that many.
    void receive_in_order(unsigned ring) {
        ASSERT_TRUE(start().ok());
        for (unsigned i = 0; i < 5 * ring; ++i) {
            const Frame frame = make_frame(60 + i % 1455, i);
            ASSERT_TRUE(card_.deliver(frame));
            ASSERT_EQ(receive(), frame) << i;
            ASSERT_EQ(receive(), Frame{});
        }
        EXPECT_EQ(driver_->counters().rx_frames, uint64_t{5} * ring);
    }
    // Bursts that fill a ring with room for `usable`; prepared(): how many the card can take now.
    template <typename Prepared>
    void receive_bursts(unsigned usable, Prepared prepared) {
        ASSERT_TRUE(start().ok());
        for (unsigned round = 0; round < 3; ++round) {
            for (unsigned i = 0; i < usable; ++i) {
                ASSERT_TRUE(card_.deliver(make_frame(100, i)));
            }
            EXPECT_FALSE(card_.deliver(make_frame(100, 99)));
            for (unsigned i = 0; i < usable; ++i) {
                ASSERT_EQ(receive(), make_frame(100, i));
            }
            ASSERT_EQ(receive(), Frame{});
            EXPECT_EQ(prepared(), usable);
        }
    }
    // Often round a ring of that many; a frame is the caller's again after transmit().
    void transmit_many(unsigned ring) {
        for (unsigned i = 0; i < 3 * ring; ++i) {
            Frame frame = make_frame(1 + (i * 97) % kMaxFrameBytes, i);
            ASSERT_TRUE(driver_->transmit(frame).ok());
            const Frame copy = frame;
            std::fill(frame.begin(), frame.end(), uint8_t{0});
            ASSERT_EQ(card_.sent.back(), copy);
        }
        EXPECT_EQ(driver_->counters().tx_frames, uint64_t{3} * ring);
    }
    void transmit_wrong_lengths() {
        const size_t before = card_.sent.size();
        EXPECT_EQ(driver_->transmit({}).code(), ErrorCode::kInvalid);
        EXPECT_EQ(driver_->transmit(make_frame(kMaxFrameBytes + 1, 0)).code(), ErrorCode::kInvalid);
        EXPECT_EQ(card_.sent.size(), before);
    }
    // For a card that holds the frames that it is to transmit.
    void fill_transmit_ring(unsigned usable) {
        for (unsigned i = 0; i < usable; ++i) {
            ASSERT_TRUE(driver_->transmit(make_frame(60, i)).ok());
        }
        EXPECT_EQ(driver_->transmit(make_frame(60, 99)).code(), ErrorCode::kExhausted);
        EXPECT_EQ(driver_->counters().tx_dropped, 1u);
    }
    // Everything at once, for a card that holds the frames that it is to transmit, compared with
    // two std::deques.
    void random_traffic() {
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
                    if (card_.deliver(frame)) {
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
                    card_.finish(random() % 4);
                    for (; sent_seen < card_.sent.size(); ++sent_seen) {
                        ASSERT_EQ(card_.sent[sent_seen], leaving.front());
                        leaving.pop_front();
                    }
                    break;
            }
        }
        EXPECT_GT(driver_->counters().rx_frames, 3000u);
        EXPECT_GT(driver_->counters().tx_frames, 3000u);
    }

    fakes::DmaMemory memory_;
    Card card_;
    std::unique_ptr<Driver> driver_;
};

}  // namespace bareflow
