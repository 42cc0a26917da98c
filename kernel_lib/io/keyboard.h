// PS/2 keyboard: controller set-up, and scancodes taken by interrupt (IRQ 1). Every read of a key
// polls as well, so that the keyboard also works before interrupts do.
//
// `Io` is PortIo or a fake with in8, out8 and InterruptsOff. Waits are bounded by a count of port
// reads (see serial.h).
#pragma once

#include <cstdint>
#include <optional>

#include "kernel_lib/base/result.h"
#include "kernel_lib/base/ring_buffer.h"
#include "kernel_lib/io/ps2_regs.h"
#include "kernel_lib/io/scancode.h"

namespace bareflow {

template <typename Io>
class Ps2Keyboard {
  public:
    static constexpr int kPolls = 50'000;  // the controller answers within 10 ms
    static constexpr int kFlushBytes = 64;

    constexpr explicit Ps2Keyboard(Io io = {}) : io_(io) {}

    // Keyboard on, scancode set 1, its interrupt on; the mouse off. Typed-ahead keys are discarded.
    // kNotFound: no controller; kTimeout: one that does not answer. Call with interrupts off or
    // before IRQ 1 is unmasked. All other members do nothing unless it succeeded.
    Status init() {
        present_ = false;
        if (io_.in8(ps2::kStatus) == ps2::kStatusNothing) {
            return Error{ErrorCode::kNotFound, "no PS/2 controller"};
        }
        BF_TRY(command(ps2::kDisableKeyboard));  // or it may type into our answers
        BF_TRY(command(ps2::kDisableAuxiliary));
        flush();
        BF_TRY(command(ps2::kReadConfig));
        BF_ASSIGN(uint8_t config, wait_read());
        config |= ps2::kConfigKeyboardInterrupt | ps2::kConfigTranslate;
        config &=
            static_cast<uint8_t>(~(ps2::kConfigAuxiliaryInterrupt | ps2::kConfigKeyboardClockOff));
        BF_TRY(command(ps2::kWriteConfig));
        BF_TRY(send(ps2::kData, config));
        BF_TRY(command(ps2::kEnableKeyboard));
        BF_TRY(send(ps2::kData, ps2::kEnableScanning));
        // A key pressed just now may come before the acknowledgement.
        for (int i = 0; i < kFlushBytes; ++i) {
            BF_ASSIGN(const uint8_t answer, wait_read());
            if (answer == ps2::kAcknowledge) {
                present_ = true;
                return {};
            }
        }
        return Error{ErrorCode::kDevice, "the keyboard did not acknowledge"};
    }

    // Next key. Not for interrupt handlers.
    [[nodiscard]] std::optional<Key> read() {
        if (!present_) {
            return std::nullopt;
        }
        if (std::optional<Key> key = keys_.pop()) {
            return key;
        }
        // Interrupts off: or the handler takes the byte between our look and our read.
        [[maybe_unused]] const typename Io::InterruptsOff guard;
        (void)receive();
        return keys_.pop();
    }
    // The interrupt handler's part; bounded. True when the interrupt was this device's.
    bool on_interrupt() { return present_ && receive(); }

    [[nodiscard]] bool present() const { return present_; }
    // Keys that were lost because the ring was full.
    [[nodiscard]] uint64_t dropped() const { return dropped_; }

  private:
    Status send(uint16_t port, uint8_t value) {
        for (int i = 0; i < kPolls; ++i) {
            if ((io_.in8(ps2::kStatus) & ps2::kStatusInputFull) == 0) {
                io_.out8(port, value);
                return {};
            }
        }
        return Error{ErrorCode::kTimeout, "the PS/2 controller takes no command"};
    }
    Status command(uint8_t value) { return send(ps2::kCommand, value); }
    Result<uint8_t> wait_read() {
        for (int i = 0; i < kPolls; ++i) {
            if ((io_.in8(ps2::kStatus) & ps2::kStatusOutputFull) != 0) {
                return io_.in8(ps2::kData);
            }
        }
        return Error{ErrorCode::kTimeout, "the PS/2 controller does not answer"};
    }
    void flush() {
        for (int i = 0; i < kFlushBytes; ++i) {
            if ((io_.in8(ps2::kStatus) & ps2::kStatusOutputFull) == 0) {
                return;
            }
            (void)io_.in8(ps2::kData);
        }
    }
    // Controller to ring, with interrupts off. False when there was nothing.
    bool receive() {
        bool any = false;
        for (int i = 0; i < kFlushBytes; ++i) {
            const uint8_t status = io_.in8(ps2::kStatus);
            if ((status & ps2::kStatusOutputFull) == 0) {
                break;
            }
            any = true;
            const uint8_t byte = io_.in8(ps2::kData);
            if ((status & ps2::kStatusAuxiliary) != 0) {
                continue;
            }
            if (const std::optional<Key> key = decoder_.feed(byte)) {
                dropped_ += !keys_.push(*key);
            }
        }
        return any;
    }

    [[no_unique_address]] Io io_;
    bool present_ = false;
    uint64_t dropped_ = 0;
    ScancodeDecoder decoder_;
    RingBuffer<Key, 64> keys_;
};

}  // namespace bareflow
