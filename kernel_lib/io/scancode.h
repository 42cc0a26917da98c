// Scancode set 1 to keys: a pure decoder for a US keyboard. Source: IBM PS/2 Hardware Interface
// Technical Reference (1990), "Keyboards (101- and 102-Key)", scan code set 1.
#pragma once

#include <cstdint>
#include <optional>

namespace bareflow {

// A character (enter '\n', backspace '\b', tab '\t', escape 27, control letters 1-26) or KEY_* of
// runtime.h.
using Key = uint16_t;

// The keys that change what another key gives, as far as they are held (caps: locked).
struct KeyboardModifiers {
    bool shift_left = false;
    bool shift_right = false;
    bool control_left = false;
    bool control_right = false;
    bool alt = false;
    bool caps = false;
};

class ScancodeDecoder {
  public:
    constexpr ScancodeDecoder() = default;

    // Takes the next byte. Any sequence of bytes is acceptable; keys without a meaning here give
    // nothing. Keys repeat as the keyboard repeats them.
    [[nodiscard]] std::optional<Key> feed(uint8_t scancode);

  private:
    KeyboardModifiers held_;
    bool extended_ = false;    // the byte before was E0
    uint8_t pause_bytes_ = 0;  // of the Pause key's six bytes, those still to come
};

}  // namespace bareflow
