// VGA text mode. Source: IBM VGA Technical Reference (1992), "CRT controller registers"; memory
// layout of alphanumeric mode 3: character in the low byte, attribute in the high byte.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bareflow::vga_text {

inline constexpr uintptr_t kMemory = 0xB8000;
inline constexpr size_t kColumns = 80;
inline constexpr size_t kRows = 25;

inline constexpr uint16_t kCrtcIndex = 0x3D4;
inline constexpr uint16_t kCrtcData = 0x3D5;
inline constexpr uint8_t kCursorStart = 0x0A;  // bit 5: cursor off; bits 0-4: first scan line
inline constexpr uint8_t kCursorEnd = 0x0B;    // bits 0-4: last scan line
inline constexpr uint8_t kCursorHigh = 0x0E;
inline constexpr uint8_t kCursorLow = 0x0F;

enum Color : uint8_t {
    kBlack = 0,
    kBlue = 1,
    kGreen = 2,
    kCyan = 3,
    kRed = 4,
    kLightGrey = 7,
    kLightGreen = 10,
    kLightRed = 12,
    kYellow = 14,
    kWhite = 15,
};

}  // namespace bareflow::vga_text
