// Scancode set 1 to keys: a pure decoder for a US keyboard. Source: IBM PS/2 Hardware Interface
// Technical Reference (1990), "Keyboards (101- and 102-Key)", scan code set 1.
#pragma once

#include <cstdint>
#include <optional>

namespace bareflow {

// A character (enter '\n', backspace '\b', tab '\t', escape 27, control letters 1-26) or KEY_* of
// runtime.h.
using Key = uint16_t;

class ScancodeDecoder {
  public:
    constexpr ScancodeDecoder() = default;

    // Any sequence of bytes is acceptable; keys without a meaning here give nothing. Keys repeat as
    // the keyboard repeats them.
    [[nodiscard]] std::optional<Key> feed(uint8_t scancode);

  private:
    bool shift_left_ = false;
    bool shift_right_ = false;
    bool control_left_ = false;
    bool control_right_ = false;
    bool alt_ = false;
    bool caps_ = false;
    bool extended_ = false;    // the byte before was E0
    uint8_t pause_bytes_ = 0;  // left of the Pause key's six bytes
};

}  // namespace bareflow
