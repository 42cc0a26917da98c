// Each port access first lets an interrupt come; a read then lets a byte arrive. So a driver that
// is right only by luck fails.
#include "tests/fakes/fake_uart.h"

namespace bareflow {

void FakeUart::before_access() {
    if (interrupts_off == 0 && !in_handler_) {
        run_interrupts();
    }
}

void FakeUart::run_interrupts() {
    // Edge triggered: the handler is called once for each rise of the line. If it leaves the line
    // up, no other rise follows and the interrupt is lost, so it must leave the line low or masked.
    if (interrupt_pending() && interrupt_handler && !in_handler_) {
        in_handler_ = true;
        ++interrupts;
        if (!interrupt_handler()) {
            complain("the handler disowned an interrupt of the UART");
        }
        in_handler_ = false;
        if (interrupt_pending() && in_flight.empty()) {
            complain("the handler left the interrupt line up");
        }
    }
}

uint8_t FakeUart::in8(uint16_t port) {
    before_access();
    ++port_reads;
    if (absent) {
        return 0xFF;
    }
    if (!in_flight.empty()) {
        line_waiting.push_back(in_flight.front());
        in_flight.pop_front();
    }
    deliver();
    const auto offset = static_cast<uint16_t>(port - uart::kCom1);
    const bool latch = (registers_.line_control & uart::kLcrDivisorLatch) != 0;
    switch (offset) {
        case uart::kData: {
            if (latch) {
                complain("read data with the divisor latch open");
                return 0;
            }
            if (receive_.empty()) {
                complain("read data when none was ready");
                return 0;
            }
            const uint8_t byte = receive_.front();
            receive_.pop_front();
            deliver();
            return byte;
        }
        case uart::kInterruptId:
            return interrupt_pending() ? 0xC4 : 0xC1;
        case uart::kLineStatus: {
            if (transmit_bytes_ > 0 && !transmitter_stuck && --reads_left_ <= 0) {
                transmit_bytes_ = 0;
            }
            uint8_t status = 0;
            status |= receive_.empty() ? 0 : uart::kLsrDataReady;
            status |= overrun_ ? uart::kLsrOverrun : 0;
            status |= transmit_bytes_ == 0 && !transmitter_stuck ? uart::kLsrThrEmpty : 0;
            overrun_ = false;
            return status;
        }
        default:
            complain("read of register " + std::to_string(offset));
            return 0;
    }
}

void FakeUart::out8(uint16_t port, uint8_t value) {
    before_access();
    if (absent) {
        return;
    }
    const auto offset = static_cast<uint16_t>(port - uart::kCom1);
    const bool latch = (registers_.line_control & uart::kLcrDivisorLatch) != 0;
    switch (offset) {
        case uart::kData:
            if (latch) {
                registers_.divisor = static_cast<uint16_t>((registers_.divisor & 0xFF00) | value);
                return;
            }
            if (registers_.divisor != uart::kDivisor115200 ||
                registers_.line_control != uart::kLcr8N1 || !fifo_on_) {
                complain("data written before the line was set up");
            }
            if ((registers_.modem_control & uart::kMcrLoopback) != 0) {
                receive_.push_back(loopback_broken ? static_cast<uint8_t>(value ^ 0x10) : value);
                return;
            }
            if (++transmit_bytes_ > uart::kFifoBytes) {
                complain("more bytes written than the transmit FIFO holds");
            }
            reads_left_ = reads_until_sent;
            sent.push_back(static_cast<char>(value));
            return;
        case uart::kInterruptEnable:
            if (latch) {
                registers_.divisor =
                    static_cast<uint16_t>((registers_.divisor & 0x00FF) | value << 8);
            } else {
                if ((value & 0xF0) != 0) {
                    complain("reserved bits of IER set");
                }
                registers_.interrupt_enable = value;
            }
            return;
        case uart::kFifoControl:
            fifo_on_ = (value & uart::kFcrEnable) != 0;
            if ((value & uart::kFcrClearReceive) != 0) {
                receive_.clear();
            }
            if ((value & uart::kFcrClearTransmit) != 0) {
                transmit_bytes_ = 0;
            }
            return;
        case uart::kLineControl:
            registers_.line_control = value;
            return;
        case uart::kModemControl:
            registers_.modem_control = value;
            deliver();
            return;
        default:
            complain("write to register " + std::to_string(offset));
    }
}

}  // namespace bareflow
