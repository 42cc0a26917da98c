// A 16550 that checks its driver: every misuse is recorded as a sentence in `complaints`, which the
// test expects to be empty. It does things at the worst moments. While interrupts are on, it raises
// its interrupt before every port access. Bytes in flight arrive after that moment has passed, so
// their interrupt can come only before the next access.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "kernel_lib/io/uart_regs.h"

namespace bareflow {

class FakeUart {
  public:
    bool absent = false;           // every read gives FF
    bool loopback_broken = false;  // a probe comes back wrong
    bool transmitter_stuck = false;
    int reads_until_sent = 0;  // LSR reads until the transmit FIFO is empty again
    std::function<bool()> interrupt_handler;

    std::string sent;  // what went out on the line
    std::vector<std::string> complaints;
    std::deque<uint8_t> line_waiting;  // what the other side holds back while RTS is off
    std::deque<uint8_t> in_flight;     // arrive one by one, each during a port read
    uint64_t lost = 0;                 // bytes that found the receive FIFO full
    uint64_t port_reads = 0;
    uint64_t interrupts = 0;

    // The other side sends a byte. It goes into the FIFO if RTS is on and there is room; otherwise
    // it waits at the other side.
    void line_sends(uint8_t byte) {
        line_waiting.push_back(byte);
        deliver();
    }
    // The other side sends a byte without looking at RTS.
    void line_sends_regardless(uint8_t byte) {
        if (receive_.size() == uart::kFifoBytes) {
            ++lost;
            overrun_ = true;
        } else {
            receive_.push_back(byte);
        }
    }

    uint8_t in8(uint16_t port);
    void out8(uint16_t port, uint8_t value);
    void before_access();
    [[nodiscard]] bool interrupt_pending() const {
        return (registers_.interrupt_enable & uart::kIerReceived) != 0 && !receive_.empty() &&
               (registers_.modem_control & uart::kMcrOut2) != 0;
    }
    // Raises the interrupt while no port is accessed, as an interrupt controller would.
    void run_interrupts();

    static inline int interrupts_off = 0;

  private:
    struct Registers {
        uint16_t divisor = 0;
        uint8_t line_control = 0;
        uint8_t modem_control = 0;
        uint8_t interrupt_enable = 0;
    };

    void complain(const std::string &what) { complaints.push_back(what); }
    void deliver() {
        while (!line_waiting.empty() && (registers_.modem_control & uart::kMcrRts) != 0 &&
               receive_.size() < uart::kFifoBytes) {
            receive_.push_back(line_waiting.front());
            line_waiting.pop_front();
        }
    }

    std::deque<uint8_t> receive_;
    int transmit_bytes_ = 0;
    int reads_left_ = 0;
    Registers registers_;
    bool fifo_on_ = false;
    bool overrun_ = false;
    bool in_handler_ = false;
};

// What the driver is given as its `Io`.
class FakeUartIo {
  public:
    explicit FakeUartIo(FakeUart *uart) : uart_(uart) {}
    uint8_t in8(uint16_t port) { return uart_->in8(port); }
    void out8(uint16_t port, uint8_t value) { uart_->out8(port, value); }
    class InterruptsOff {
      public:
        InterruptsOff() { ++FakeUart::interrupts_off; }
        ~InterruptsOff() { --FakeUart::interrupts_off; }
        InterruptsOff(const InterruptsOff &) = delete;
        InterruptsOff &operator=(const InterruptsOff &) = delete;
    };

  private:
    FakeUart *uart_;
};

}  // namespace bareflow
