// A PS/2 controller with a keyboard and a mouse that checks its driver (see fake_uart.h): misuse is
// recorded in `complaints`. Its interrupt comes before every port access that allows it. Keys in
// flight arrive during an access, after that moment.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "kernel_lib/io/ps2_regs.h"

namespace bareflow {

class FakePs2 {
  public:
    bool absent = false;
    bool input_stuck = false;     // it never takes a command
    bool never_answers = false;   // it takes commands and answers none
    bool no_keyboard = false;     // the controller answers, the keyboard does not
    int busy_reads = 2;           // status reads until a written byte is taken
    std::string keys_before_ack;  // scancodes that come before the keyboard's acknowledgement
    std::function<bool()> interrupt_handler;

    std::vector<std::string> complaints;
    std::deque<uint8_t> in_flight;  // scancodes that arrive one by one, each during a port read
    uint64_t port_reads = 0;
    uint64_t interrupts = 0;

    void key(uint8_t scancode) { output_.push_back({scancode, false}); }
    void mouse(uint8_t byte) { output_.push_back({byte, true}); }

    uint8_t in8(uint16_t port);
    void out8(uint16_t port, uint8_t value);
    void run_interrupts();
    [[nodiscard]] uint8_t config() const { return config_; }
    [[nodiscard]] bool scanning() const { return scanning_; }
    [[nodiscard]] bool keyboard_clock() const { return keyboard_on_; }

    static inline int interrupts_off = 0;

  private:
    struct Byte {
        uint8_t value;
        bool from_mouse;
    };
    void complain(const std::string &what) { complaints.push_back(what); }
    void before_access();
    [[nodiscard]] bool interrupt_pending() const {
        return !output_.empty() && scanning_ && keyboard_on_ &&
               (config_ & ps2::kConfigKeyboardInterrupt) != 0;
    }

    std::deque<Byte> output_;
    uint8_t config_ = 0x37;  // as a BIOS may leave it: mouse interrupt on, keyboard clock off
    bool keyboard_on_ = false;
    bool scanning_ = false;
    int busy_left_ = 0;
    uint8_t awaiting_ = 0;  // the command whose data byte comes next
    bool in_handler_ = false;
};

class FakePs2Io {
  public:
    explicit FakePs2Io(FakePs2 *controller) : controller_(controller) {}
    uint8_t in8(uint16_t port) { return controller_->in8(port); }
    void out8(uint16_t port, uint8_t value) { controller_->out8(port, value); }
    class InterruptsOff {
      public:
        InterruptsOff() { ++FakePs2::interrupts_off; }
        ~InterruptsOff() { --FakePs2::interrupts_off; }
        InterruptsOff(const InterruptsOff &) = delete;
        InterruptsOff &operator=(const InterruptsOff &) = delete;
    };

  private:
    FakePs2 *controller_;
};

}  // namespace bareflow
