// 16550 serial line: polled output with a deadline, and input by interrupt into a ring. Every read
// polls as well, so that input also works before interrupts do. No byte that the UART took is lost:
// when the ring is full, bytes stay in the UART and RTS asks the other side to pause.
//
// `Io` is PortIo or a fake with in8, out8 and InterruptsOff. Waits are bounded by a count of port
// reads, not by a clock: the line is set up before any clock is calibrated. A port read takes about
// 1 us on a real ISA bus and never less than 0.1 us.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "kernel_lib/base/result.h"
#include "kernel_lib/base/ring_buffer.h"
#include "kernel_lib/io/uart_regs.h"

namespace bareflow {

template <typename Io, uint16_t kBase = uart::kCom1>
class Serial16550 {
  public:
    // A full FIFO at 115200 baud drains in 1.4 ms.
    static constexpr int kTransmitPolls = 50'000;
    static constexpr int kLoopbackPolls = 10'000;
    static constexpr size_t kReceiveBytes = 1024;
    static constexpr int kHandlerPasses = 4;

    constexpr explicit Serial16550(Io io = {}) : io_(io) {}

    // 115200 8N1, FIFOs on, loop-back self test. Interrupts stay off. kNotFound: no UART there; all
    // other members then do nothing.
    Status init() {
        present_ = false;
        write(uart::kInterruptEnable, 0);
        write(uart::kLineControl, uart::kLcrDivisorLatch);
        write(uart::kDivisorLow, uart::kDivisor115200 & 0xFF);
        write(uart::kDivisorHigh, uart::kDivisor115200 >> 8);
        write(uart::kLineControl, uart::kLcr8N1);
        write(uart::kFifoControl, uart::kFcrEnable | uart::kFcrClearReceive |
                                      uart::kFcrClearTransmit | uart::kFcrTrigger8);
        if (!loopback_works()) {
            return Error{ErrorCode::kNotFound, "no UART answered the loop-back test"};
        }
        interrupt_enable_ = 0;
        write(uart::kModemControl, kModemOpen);
        present_ = true;
        return {};
    }
    // Call once the handler for its line (IRQ 4 for COM1) is in place.
    void enable_receive_interrupt() {
        if (present_) {
            interrupt_enable_ = uart::kIerReceived | uart::kIerLineStatus;
            write(uart::kInterruptEnable, interrupt_enable_);
        }
    }

    // Text with "\n" sent as "\r\n". What a stalled line does not take within the deadline is
    // dropped and counted; while it stays stalled further text costs one port read. May be called
    // from a fault handler.
    void write_text(std::string_view text) {
        for (const char c : text) {
            if (c == '\n') {
                put('\r');
            }
            put(static_cast<uint8_t>(c));
        }
    }
    // Next received byte. Not for interrupt handlers.
    [[nodiscard]] std::optional<uint8_t> read() {
        if (!present_) {
            return std::nullopt;
        }
        std::optional<uint8_t> byte = received_.pop();
        if (!byte || paused_) {
            // Interrupts off: or the handler empties the UART between our look and our read.
            [[maybe_unused]] const typename Io::InterruptsOff guard;
            receive();
            if (!byte) {
                byte = received_.pop();
            }
        }
        return byte;
    }
    // The interrupt handler's part; bounded. True when the interrupt was this device's.
    bool on_interrupt() {
        bool ours = false;
        // Each pass takes all there is. Another pass follows only when a byte came in between. The
        // line must be low when the handler returns, or the controller sees no further edge on it.
        for (int pass = 0; pass < kHandlerPasses && present_ && !paused_; ++pass) {
            if ((read(uart::kInterruptId) & uart::kIirNonePending) != 0) {
                break;
            }
            ours = true;
            receive();
        }
        return ours;
    }

    [[nodiscard]] bool present() const { return present_; }
    // Bytes that came while the UART was full: lost on the wire, not by us.
    [[nodiscard]] uint64_t overruns() const { return overruns_; }
    // Bytes that a stalled line did not take.
    [[nodiscard]] uint64_t dropped() const { return dropped_; }

  private:
    static constexpr uint8_t kModemOpen = uart::kMcrDtr | uart::kMcrRts | uart::kMcrOut2;
    static constexpr uint8_t kModemPaused = uart::kMcrDtr | uart::kMcrOut2;

    uint8_t read(uint16_t offset) { return io_.in8(static_cast<uint16_t>(kBase + offset)); }
    void write(uint16_t offset, uint8_t value) {
        io_.out8(static_cast<uint16_t>(kBase + offset), value);
    }

    bool loopback_works() {
        constexpr uint8_t kProbe[] = {0xAE, 0x51};
        write(uart::kModemControl, uart::kMcrLoopback | uart::kMcrRts | uart::kMcrDtr);
        bool works = true;
        for (const uint8_t probe : kProbe) {
            write(uart::kData, probe);
            int polls = kLoopbackPolls;
            while ((read(uart::kLineStatus) & uart::kLsrDataReady) == 0 && --polls > 0) {
            }
            works = works && polls > 0 && read(uart::kData) == probe;
        }
        return works;
    }

    void put(uint8_t byte) {
        if (!present_) {
            return;
        }
        if (room_bytes_ == 0) {
            int polls = stalled_ ? 1 : kTransmitPolls;
            while ((read(uart::kLineStatus) & uart::kLsrThrEmpty) == 0 && --polls > 0) {
            }
            stalled_ = polls <= 0;
            if (stalled_) {
                ++dropped_;
                return;
            }
            room_bytes_ = uart::kFifoBytes;
        }
        --room_bytes_;
        write(uart::kData, byte);
    }

    // UART to ring, with interrupts off. Leaves bytes in the UART when the ring is full.
    void receive() {
        for (size_t i = 0; i < kReceiveBytes; ++i) {
            const uint8_t status = read(uart::kLineStatus);  // reading it clears its error bits
            overruns_ += (status & uart::kLsrOverrun) != 0;
            if ((status & uart::kLsrDataReady) == 0) {
                break;
            }
            if (received_.size() == kReceiveBytes) {
                pause(true);
                return;
            }
            (void)received_.push(read(uart::kData));
        }
        if (paused_ && received_.size() <= kReceiveBytes / 2) {
            pause(false);
        }
    }
    void pause(bool paused) {
        paused_ = paused;
        write(uart::kModemControl, paused ? kModemPaused : kModemOpen);
        // The line stays raised while bytes wait: masked, or the handler would run for ever.
        write(uart::kInterruptEnable, paused ? uint8_t{0} : interrupt_enable_);
    }

    [[no_unique_address]] Io io_;
    bool present_ = false;
    bool stalled_ = false;
    bool paused_ = false;
    uint8_t interrupt_enable_ = 0;
    int room_bytes_ = 0;  // what the transmit FIFO takes without another look at it
    uint64_t overruns_ = 0;
    uint64_t dropped_ = 0;
    RingBuffer<uint8_t, kReceiveBytes> received_;
};

}  // namespace bareflow
