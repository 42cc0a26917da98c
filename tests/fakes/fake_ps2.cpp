// Controller, keyboard and mouse. A written byte is taken only after some reads of the status, as
// on real machines.
#include "tests/fakes/fake_ps2.h"

namespace bareflow {

void FakePs2::before_access() {
    if (interrupts_off == 0 && !in_handler_) {
        run_interrupts();
    }
}

void FakePs2::run_interrupts() {
    if (interrupt_pending() && interrupt_handler && !in_handler_) {
        in_handler_ = true;
        ++interrupts;
        if (!interrupt_handler()) {
            complain("the handler disowned an interrupt of the keyboard");
        }
        in_handler_ = false;
        if (interrupt_pending() && in_flight.empty()) {
            complain("the handler left bytes behind");
        }
    }
}

uint8_t FakePs2::in8(uint16_t port) {
    before_access();
    ++port_reads;
    if (absent) {
        return 0xFF;
    }
    if (!in_flight.empty()) {
        key(in_flight.front());
        in_flight.pop_front();
    }
    if (port == ps2::kStatus) {
        uint8_t status = 0x14;  // self test passed, not locked
        if (busy_left_ > 0 || input_stuck) {
            status |= ps2::kStatusInputFull;
            --busy_left_;
        }
        if (!output_.empty()) {
            status |= ps2::kStatusOutputFull;
            status |= output_.front().from_mouse ? ps2::kStatusAuxiliary : 0;
        }
        return status;
    }
    if (port != ps2::kData) {
        complain("read of port " + std::to_string(port));
        return 0;
    }
    if (output_.empty()) {
        complain("data read when there was none");
        return 0;
    }
    const uint8_t value = output_.front().value;
    output_.pop_front();
    return value;
}

void FakePs2::out8(uint16_t port, uint8_t value) {
    before_access();
    if (absent) {
        return;
    }
    if (busy_left_ > 0 || input_stuck) {
        complain("written while the controller was busy");
    }
    busy_left_ = busy_reads;
    if (port == ps2::kCommand) {
        awaiting_ = 0;
        switch (value) {
            case ps2::kReadConfig:
                if (!output_.empty()) {
                    complain("configuration asked for with bytes still waiting");
                }
                if (!never_answers) {
                    output_.push_back({config_, false});
                }
                return;
            case ps2::kWriteConfig:
                awaiting_ = value;
                return;
            case ps2::kDisableKeyboard:
                keyboard_on_ = false;
                return;
            case ps2::kEnableKeyboard:
                keyboard_on_ = true;
                return;
            case ps2::kDisableAuxiliary:
                return;
            default:
                complain("unknown controller command");
                return;
        }
    }
    if (awaiting_ == ps2::kWriteConfig) {
        awaiting_ = 0;
        config_ = value;
        if ((value & ps2::kConfigKeyboardClockOff) == 0) {
            keyboard_on_ = true;
        }
        return;
    }
    if (value != ps2::kEnableScanning) {
        complain("unknown keyboard command");
        return;
    }
    if (!keyboard_on_) {
        complain("spoke to the keyboard with its clock off");
    }
    if (no_keyboard) {
        return;
    }
    for (const char scancode : keys_before_ack) {
        key(static_cast<uint8_t>(scancode));
    }
    output_.push_back({ps2::kAcknowledge, false});
    scanning_ = true;
}

}  // namespace bareflow
