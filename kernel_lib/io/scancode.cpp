// What must hold: any sequence of bytes is decoded without reading outside the two tables, and a
// byte of a longer code never counts as a code of its own.
#include "kernel_lib/io/scancode.h"

#include <string_view>

#include "kernel_lib/runtime.h"

namespace bareflow {

namespace {

// The character of each make code from 0x00 on; '\0': the key has none.
constexpr std::string_view kPlain{
    "\0\x1b"
    "1234567890-=\b\t"
    "qwertyuiop[]\n\0"
    "asdfghjkl;'`\0\\"
    "zxcvbnm,./\0*\0 ",
    58};
constexpr std::string_view kShifted{
    "\0\x1b"
    "!@#$%^&*()_+\b\t"
    "QWERTYUIOP{}\n\0"
    "ASDFGHJKL:\"~\0|"
    "ZXCVBNM<>?\0*\0 ",
    58};
static_assert(kPlain[0x1E] == 'a' && kPlain[0x2C] == 'z' && kPlain[0x39] == ' ');
static_assert(kShifted[0x1E] == 'A' && kShifted[0x2C] == 'Z' && kShifted[0x39] == ' ');

constexpr uint8_t kReleased = 0x80;
constexpr uint8_t kExtended = 0xE0;
constexpr uint8_t kPause = 0xE1;
constexpr uint8_t kControl = 0x1D;
constexpr uint8_t kShiftLeft = 0x2A;
constexpr uint8_t kShiftRight = 0x36;
constexpr uint8_t kAlt = 0x38;
constexpr uint8_t kCapsLock = 0x3A;
constexpr uint8_t kEnter = 0x1C;
constexpr uint8_t kSlash = 0x35;

// The keys between the blocks send E0 before these codes. Those of the number pad send the codes
// alone and mean the same, because Num Lock is taken to be off.
constexpr Key navigation_key(uint8_t code) {
    switch (code) {
        case 0x47:
            return KEY_HOME;
        case 0x48:
            return KEY_UP;
        case 0x4B:
            return KEY_LEFT;
        case 0x4D:
            return KEY_RIGHT;
        case 0x4F:
            return KEY_END;
        case 0x50:
            return KEY_DOWN;
        case 0x53:
            return KEY_DELETE;
        default:
            return 0;
    }
}

// What a key without a modifier's meaning gives when it is pressed.
std::optional<Key> pressed_key(const KeyboardModifiers &held, uint8_t code, bool extended) {
    constexpr uint8_t kPadMinus = 0x4A;
    constexpr uint8_t kPadPlus = 0x4E;
    if (extended && code == kEnter) {
        return Key{'\n'};
    }
    if (extended && code == kSlash) {
        return Key{'/'};
    }
    if (const Key key = navigation_key(code); key != 0) {
        return key;
    }
    if (!extended && code == kPadMinus) {
        return Key{'-'};
    }
    if (!extended && code == kPadPlus) {
        return Key{'+'};
    }
    if (extended || code >= kPlain.size()) {
        return std::nullopt;
    }
    const char plain = kPlain[code];
    const bool letter = plain >= 'a' && plain <= 'z';
    if (held.control_left || held.control_right) {
        return letter ? std::optional<Key>(static_cast<Key>(plain - 'a' + 1)) : std::nullopt;
    }
    if (plain == '\0' || held.alt) {
        return std::nullopt;
    }
    const bool shifted = (held.shift_left || held.shift_right) != (letter && held.caps);
    return static_cast<Key>(shifted ? kShifted[code] : plain);
}

}  // namespace

std::optional<Key> ScancodeDecoder::feed(uint8_t scancode) {
    if (pause_bytes_ != 0) {
        --pause_bytes_;
        return std::nullopt;
    }
    if (scancode == kPause) {
        pause_bytes_ = 5;
        extended_ = false;
        return std::nullopt;
    }
    if (scancode == kExtended) {
        extended_ = true;
        return std::nullopt;
    }
    const bool extended = extended_;
    extended_ = false;
    const bool pressed = (scancode & kReleased) == 0;
    const auto code = static_cast<uint8_t>(scancode & ~kReleased);
    switch (code) {
        case kControl:
            (extended ? held_.control_right : held_.control_left) = pressed;
            return std::nullopt;
        case kShiftLeft:
            // E0 2A and E0 AA are no key: the keyboard wraps navigation keys in them.
            held_.shift_left = extended ? held_.shift_left : pressed;
            return std::nullopt;
        case kShiftRight:
            held_.shift_right = extended ? held_.shift_right : pressed;
            return std::nullopt;
        case kAlt:
            held_.alt = pressed;
            return std::nullopt;
        case kCapsLock:
            held_.caps = held_.caps != pressed;
            return std::nullopt;
        default:
            return pressed ? pressed_key(held_, code, extended) : std::nullopt;
    }
}

}  // namespace bareflow
