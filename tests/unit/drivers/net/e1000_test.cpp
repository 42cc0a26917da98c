// The e1000 driver on a fake card that checks every access, and on one that lies.
#include "drivers/net/e1000.h"

#include <gtest/gtest.h>

#include "tests/fakes/fake_e1000.h"
#include "tests/unit/drivers/net/net_card_test.h"

namespace bareflow {
namespace {

using fakes::FakeE1000;
using fakes::FakeE1000Regs;
using Driver = E1000<FakeE1000Regs>;

constexpr uint32_t kRxUsable = E1000Layout::kRxCount - 1;
constexpr uint32_t kTxUsable = E1000Layout::kTxCount - 1;

class E1000Test : public NetCardTest<Driver, FakeE1000> {
  protected:
    E1000Test() : NetCardTest(E1000Layout::kDmaBytes) {}

    Result<Driver> create(std::span<uint8_t> memory, int irq) override {
        return Driver::create(FakeE1000Regs{&card_}, e1000::kModels[0], memory, irq);
    }
};

TEST_F(E1000Test, BringsTheCardUp) {
    ASSERT_TRUE(start().ok());
    EXPECT_EQ(driver_->mac(), (MacAddress{{0x52, 0x54, 0x00, 0x12, 0x34, 0x56}}));
    EXPECT_EQ(card_.last_written(e1000::kRal0), 0x12005452u);
    EXPECT_EQ(card_.last_written(e1000::kRah0), 0x80005634u);
    EXPECT_EQ(card_.free_receive_descriptors(), kRxUsable);
    EXPECT_EQ(card_.interrupt_mask(), 0xD4u);
    EXPECT_EQ(driver_->irq(), 11);
    EXPECT_TRUE(driver_->link_up());
    EXPECT_EQ(driver_->name(), "e1000");
}

TEST_F(E1000Test, ModelsHaveTheirEepromLayout) {
    card_.behaviour.eerd = e1000::kEerd82574;
    auto made =
        Driver::create(FakeE1000Regs{&card_}, *e1000::find_model(0x10D3), memory_.span(), 11);
    ASSERT_TRUE(made.ok());
    EXPECT_EQ(made->mac().bytes[5], 0x56);
    EXPECT_EQ(e1000::find_model(0x1234), nullptr);
}

TEST_F(E1000Test, SilentEepromFallsBackToTheReceiveFilter) {
    card_.behaviour.eeprom_silent = true;
    card_.behaviour.ral = 0x44332202;
    card_.behaviour.rah = 0x80006655;
    ASSERT_TRUE(start().ok());
    EXPECT_EQ(driver_->mac(), (MacAddress{{0x02, 0x22, 0x33, 0x44, 0x55, 0x66}}));
}

TEST_F(E1000Test, NoUsableAddressAnywhere) {
    for (const auto &words :
         {std::array<uint16_t, 3>{0, 0, 0}, std::array<uint16_t, 3>{0xFFFF, 0xFFFF, 0xFFFF},
          std::array<uint16_t, 3>{0x0001, 0, 0}}) {
        card_.behaviour.eeprom = words;
        EXPECT_EQ(start().code(), ErrorCode::kDevice);
    }
}

TEST_F(E1000Test, ResetThatNeverEnds) {
    card_.behaviour.reset_hangs = true;
    EXPECT_EQ(start().code(), ErrorCode::kTimeout);
}

TEST_F(E1000Test, CardThatIsNotThere) {
    card_.behaviour.gone = true;
    EXPECT_EQ(start().code(), ErrorCode::kTimeout);
}

TEST_F(E1000Test, TooLittleMemory) {
    auto made = create(memory_.span().first(E1000Layout::kDmaBytes - 1), 11);
    EXPECT_EQ(made.error().code, ErrorCode::kTooLarge);
}

TEST_F(E1000Test, ReceivesInOrderRoundTheRing) {
    receive_in_order(E1000Layout::kRxCount);
    EXPECT_EQ(card_.free_receive_descriptors(), kRxUsable);
}

TEST_F(E1000Test, BurstFillsTheRingAndDrains) {
    receive_bursts(kRxUsable, [this] { return card_.free_receive_descriptors(); });
}

TEST_F(E1000Test, LongestAndShortestFrames) {
    ASSERT_TRUE(start().ok());
    for (const size_t len : {size_t{1}, size_t{14}, size_t{60}, kMaxFrameBytes}) {
        ASSERT_TRUE(card_.deliver(make_frame(len, 1)));
        EXPECT_EQ(receive().size(), len);
    }
}

TEST_F(E1000Test, WhatTheCardClaimsIsChecked) {
    ASSERT_TRUE(start().ok());
    const Frame frame = make_frame(200, 5);
    const FakeE1000::Lie lies[] = {
        {.len = 0},          {.len = 1515},       {.len = 2048},
        {.len = 65535},      {.errors = 1u << 0}, {.errors = 1u << 1},
        {.errors = 1u << 2}, {.errors = 1u << 4}, {.errors = 1u << 7},
    };
    uint64_t dropped = 0;
    for (const FakeE1000::Lie &lie : lies) {
        ASSERT_TRUE(card_.deliver(frame, lie));
        ASSERT_EQ(receive(4096), Frame{});
        ASSERT_EQ(driver_->counters().rx_dropped, ++dropped);
    }
    // Errors of checksums that the driver did not ask for do not count.
    ASSERT_TRUE(card_.deliver(frame, {.errors = 1u << 5 | 1u << 6}));
    EXPECT_EQ(receive(), frame);
}

TEST_F(E1000Test, FrameOverSeveralDescriptorsIsDroppedWhole) {
    ASSERT_TRUE(start().ok());
    const Frame good = make_frame(64, 9);
    ASSERT_TRUE(card_.deliver(make_frame(2048, 1), {.end_of_packet = false}));
    ASSERT_TRUE(card_.deliver(make_frame(2048, 2), {.end_of_packet = false}));
    ASSERT_TRUE(card_.deliver(make_frame(100, 3)));
    ASSERT_TRUE(card_.deliver(good));
    EXPECT_EQ(receive(), good);
    EXPECT_EQ(driver_->counters().rx_dropped, 1u);
    EXPECT_EQ(driver_->counters().rx_frames, 1u);
}

TEST_F(E1000Test, FrameLongerThanTheCallersRoom) {
    ASSERT_TRUE(start().ok());
    ASSERT_TRUE(card_.deliver(make_frame(200, 1)));
    ASSERT_TRUE(card_.deliver(make_frame(100, 2)));
    EXPECT_EQ(receive(150), make_frame(100, 2));
    EXPECT_EQ(driver_->counters().rx_dropped, 1u);
}

TEST_F(E1000Test, RingFullOfRubbishDoesNotHoldTheCaller) {
    ASSERT_TRUE(start().ok());
    for (unsigned i = 0; i < kRxUsable; ++i) {
        ASSERT_TRUE(card_.deliver(make_frame(60, i), {.len = 9000}));
    }
    EXPECT_EQ(receive(), Frame{});
    EXPECT_EQ(driver_->counters().rx_dropped, kRxUsable);
    EXPECT_EQ(card_.free_receive_descriptors(), kRxUsable);
}

TEST_F(E1000Test, TransmitsWhatItIsGiven) {
    ASSERT_TRUE(start().ok());
    transmit_many(E1000Layout::kTxCount);
}

TEST_F(E1000Test, FullTransmitRingIsSaidAndRecovers) {
    card_.behaviour.hold_transmit = true;
    ASSERT_TRUE(start().ok());
    fill_transmit_ring(kTxUsable);
    card_.finish(1);
    EXPECT_TRUE(driver_->transmit(make_frame(60, 100)).ok());
    EXPECT_EQ(driver_->transmit(make_frame(60, 101)).code(), ErrorCode::kExhausted);
    card_.finish(kTxUsable);
    EXPECT_EQ(card_.sent.size(), kTxUsable + 1);
    EXPECT_EQ(card_.sent.back(), make_frame(60, 100));
}

TEST_F(E1000Test, FramesOfWrongLengthAreRefused) {
    ASSERT_TRUE(start().ok());
    transmit_wrong_lengths();
}

TEST_F(E1000Test, InterruptIsAcknowledgedAndCounted) {
    ASSERT_TRUE(start().ok());
    (void)driver_->on_interrupt();  // the link change that followed the reset
    const uint64_t before = driver_->counters().interrupts;
    EXPECT_FALSE(driver_->on_interrupt()) << "a neighbour's on a shared line";
    ASSERT_TRUE(card_.deliver(make_frame(60, 1)));
    ASSERT_TRUE(card_.interrupt_asserted());
    EXPECT_TRUE(driver_->on_interrupt());
    EXPECT_FALSE(card_.interrupt_asserted());
    EXPECT_EQ(driver_->counters().interrupts, before + 1);
    EXPECT_EQ(receive(), make_frame(60, 1));
    card_.behaviour.gone = true;
    EXPECT_FALSE(driver_->on_interrupt());
}

TEST_F(E1000Test, WithoutALineItIsPolled) {
    ASSERT_TRUE(start(-1).ok());
    EXPECT_EQ(card_.interrupt_mask(), 0u);
    ASSERT_TRUE(card_.deliver(make_frame(60, 1)));
    EXPECT_FALSE(card_.interrupt_asserted());
    EXPECT_EQ(receive(), make_frame(60, 1));
}

TEST_F(E1000Test, LinkChangesAreSeenAndCounted) {
    ASSERT_TRUE(start().ok());
    EXPECT_TRUE(driver_->link_up());
    EXPECT_EQ(driver_->counters().link_changes, 0u);
    card_.set_link(false);
    EXPECT_TRUE(card_.interrupt_asserted());
    EXPECT_FALSE(driver_->link_up());
    EXPECT_FALSE(driver_->link_up());
    card_.set_link(true);
    EXPECT_TRUE(driver_->link_up());
    EXPECT_EQ(driver_->counters().link_changes, 2u);
}

TEST_F(E1000Test, RandomTraffic) {
    card_.behaviour.hold_transmit = true;
    random_traffic();
}

// The fake must find mistakes: without that, the tests above would prove nothing.
class FakeE1000Itself : public E1000Test {
  protected:
    bool caught(const char *what) {
        for (const std::string &violation : card_.violations.take()) {
            if (violation.find(what) != std::string::npos) {
                return true;
            }
        }
        return false;
    }
};

TEST_F(FakeE1000Itself, CatchesAnUnpreparedReceiver) {
    card_.write(e1000::kCtrl, e1000::kCtrlReset);
    while ((card_.read(e1000::kCtrl) & e1000::kCtrlReset) != 0) {
    }
    card_.write(e1000::kRctl, e1000::kRctlEnable);
    EXPECT_TRUE(caught("receive ring has no address"));
    card_.write(e1000::kRctl, 1u << 0);
    EXPECT_TRUE(caught("reserved bits"));
    card_.write(e1000::kIms, 1);
    EXPECT_TRUE(caught("interrupts on before"));
}

TEST_F(FakeE1000Itself, CatchesAccessDuringReset) {
    card_.write(e1000::kCtrl, e1000::kCtrlReset);
    (void)card_.read(e1000::kStatus);
    EXPECT_TRUE(caught("during reset"));
}

TEST_F(FakeE1000Itself, CatchesMemoryThatIsNotTheDrivers) {
    card_.dma.forbid_all();
    EXPECT_TRUE(start().ok());
    EXPECT_TRUE(caught("memory that is not its own"));
}

TEST_F(FakeE1000Itself, CatchesBadTails) {
    ASSERT_TRUE(start().ok());
    card_.write(e1000::kRdt, E1000Layout::kRxCount);
    EXPECT_TRUE(caught("tail outside"));
    card_.write(e1000::kRdt, 5);
    EXPECT_TRUE(caught("moved back"));
    card_.write(e1000::kTdt, 1);  // over a descriptor that was not written
    EXPECT_TRUE(caught("without end"));
    ASSERT_TRUE(card_.deliver(make_frame(60, 1)));
    ASSERT_TRUE(card_.deliver(make_frame(60, 2)));
    card_.write(e1000::kRdt, 1);  // gives the first one back unread
    EXPECT_TRUE(caught("status set"));
}

}  // namespace
}  // namespace bareflow
