// The serial driver against a fake UART that complains about every breach of its protocol: no byte
// may be lost, whenever interrupts come.
#include "kernel_lib/io/serial.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>

#include "tests/fakes/fake_uart.h"

namespace bareflow {
namespace {

using Serial = Serial16550<FakeUartIo>;

class SerialTest : public testing::Test {
  protected:
    ~SerialTest() override {
        for (const std::string &complaint : uart.complaints) {
            ADD_FAILURE() << complaint;
        }
    }
    void start(bool interrupts) {
        ASSERT_TRUE(serial->init().ok());
        if (interrupts) {
            uart.interrupt_handler = [this] { return serial->on_interrupt(); };
            serial->enable_receive_interrupt();
        }
    }
    std::string read_all() {
        std::string got;
        while (const std::optional<uint8_t> byte = serial->read()) {
            got.push_back(static_cast<char>(*byte));
        }
        return got;
    }

    FakeUart uart;
    std::unique_ptr<Serial> serial = std::make_unique<Serial>(FakeUartIo(&uart));
};

TEST_F(SerialTest, SendsTextWithCarriageReturns) {
    uart.reads_until_sent = 5;
    start(false);
    EXPECT_EQ(uart.sent, "");  // the probe stayed inside
    const std::string line(100, 'x');
    serial->write_text("one\ntwo");
    serial->write_text(line);
    EXPECT_EQ(uart.sent, "one\r\ntwo" + line);
    EXPECT_EQ(serial->dropped(), 0U);
}

TEST_F(SerialTest, NoUart) {
    uart.absent = true;
    const Status status = serial->init();
    EXPECT_EQ(status.code(), ErrorCode::kNotFound);
    EXPECT_FALSE(serial->present());
    const uint64_t reads = uart.port_reads;
    serial->write_text("into the void\n");
    EXPECT_FALSE(serial->read().has_value());
    EXPECT_FALSE(serial->on_interrupt());
    serial->enable_receive_interrupt();
    EXPECT_EQ(uart.port_reads, reads);
}

TEST_F(SerialTest, UnusedBeforeInit) {
    serial->write_text("early");
    EXPECT_FALSE(serial->read().has_value());
    EXPECT_EQ(uart.port_reads, 0U);
    EXPECT_EQ(uart.sent, "");
}

TEST_F(SerialTest, LoopbackThatGarblesIsNoUart) {
    uart.loopback_broken = true;
    EXPECT_EQ(serial->init().code(), ErrorCode::kNotFound);
}

TEST_F(SerialTest, DeadLineCostsOneDeadlineThenNextToNothing) {
    start(false);
    uart.transmitter_stuck = true;
    serial->write_text("x");
    const uint64_t after_first = uart.port_reads;
    EXPECT_LE(after_first, Serial::kTransmitPolls + 100U);
    serial->write_text(std::string(1000, 'y'));
    EXPECT_LE(uart.port_reads - after_first, 1001U);
    EXPECT_EQ(serial->dropped(), 1001U);
    uart.transmitter_stuck = false;
    serial->write_text("back");
    EXPECT_EQ(uart.sent, "back");
}

TEST_F(SerialTest, ReadsByPolling) {
    start(false);
    for (const char c : std::string("hello")) {
        uart.line_sends(static_cast<uint8_t>(c));
    }
    EXPECT_EQ(read_all(), "hello");
    EXPECT_EQ(uart.interrupts, 0U);
}

TEST_F(SerialTest, ReadsByInterrupt) {
    start(true);
    std::string all;
    for (int i = 0; i < 500; ++i) {
        const auto byte = static_cast<uint8_t>(i);
        all.push_back(static_cast<char>(byte));
        uart.line_sends(byte);
        uart.run_interrupts();
    }
    EXPECT_GT(uart.interrupts, 0U);
    EXPECT_EQ(read_all(), all);
}

// Nobody reads for a long time: the ring fills, RTS drops, and when reading goes on every byte
// comes, in order.
TEST_F(SerialTest, NoByteIsLostWhenNobodyReads) {
    start(true);
    std::string all;
    for (size_t i = 0; i < 3 * Serial::kReceiveBytes; ++i) {
        const auto byte = static_cast<uint8_t>(i * 7);
        all.push_back(static_cast<char>(byte));
        uart.line_sends(byte);
        uart.run_interrupts();
    }
    EXPECT_FALSE(uart.line_waiting.empty());
    const uint64_t interrupts = uart.interrupts;
    uart.run_interrupts();
    EXPECT_EQ(uart.interrupts, interrupts);  // masked: no storm while paused
    EXPECT_EQ(read_all(), all);
    EXPECT_TRUE(uart.line_waiting.empty());
    // And it is open again.
    uart.line_sends('!');
    uart.run_interrupts();
    EXPECT_GT(uart.interrupts, interrupts);
    EXPECT_EQ(read_all(), "!");
}

TEST_F(SerialTest, InterruptsAtEveryMomentAgainstReadsAndWrites) {
    uart.reads_until_sent = 2;
    start(true);
    std::mt19937 random(5);
    std::string all;
    std::string got;
    for (int i = 0; i < 20'000; ++i) {
        if (random() % 3 != 0) {
            const auto byte = static_cast<uint8_t>(random());
            all.push_back(static_cast<char>(byte));
            uart.in_flight.push_back(byte);
        }
        if (random() % 4 == 0) {
            serial->write_text("z");
        }
        if (random() % 2 == 0) {
            if (const std::optional<uint8_t> byte = serial->read()) {
                got.push_back(static_cast<char>(*byte));
            }
        }
    }
    while (!uart.in_flight.empty()) {
        got += read_all();
    }
    got += read_all();
    EXPECT_EQ(got, all);
    EXPECT_GT(uart.interrupts, 0U);
}

TEST_F(SerialTest, OverrunOnTheWireIsCounted) {
    start(false);
    for (int i = 0; i < uart::kFifoBytes + 3; ++i) {
        uart.line_sends_regardless('a');
    }
    EXPECT_EQ(read_all(), std::string(uart::kFifoBytes, 'a'));
    EXPECT_EQ(serial->overruns(), 1U);
    EXPECT_EQ(uart.lost, 3U);
}

}  // namespace
}  // namespace bareflow
