// PS/2 controller and keyboard. Source: IBM PS/2 Hardware Interface Technical Reference (1990),
// "Keyboard and Auxiliary Device Controller" and "Keyboards (101- and 102-Key)".
#pragma once

#include <cstdint>

namespace bareflow::ps2 {

inline constexpr uint16_t kData = 0x60;
inline constexpr uint16_t kStatus = 0x64;   // read
inline constexpr uint16_t kCommand = 0x64;  // write

inline constexpr uint8_t kStatusOutputFull = 0x01;  // a byte waits for us at kData
inline constexpr uint8_t kStatusInputFull = 0x02;   // the controller has not taken our last byte
inline constexpr uint8_t kStatusAuxiliary = 0x20;   // the byte that waits is the mouse's
inline constexpr uint8_t kStatusNothing = 0xFF;     // an empty bus: no controller

// Commands to the controller.
inline constexpr uint8_t kReadConfig = 0x20;
inline constexpr uint8_t kWriteConfig = 0x60;
inline constexpr uint8_t kDisableAuxiliary = 0xA7;
inline constexpr uint8_t kDisableKeyboard = 0xAD;
inline constexpr uint8_t kEnableKeyboard = 0xAE;
// Its configuration byte.
inline constexpr uint8_t kConfigKeyboardInterrupt = 0x01;
inline constexpr uint8_t kConfigAuxiliaryInterrupt = 0x02;
inline constexpr uint8_t kConfigKeyboardClockOff = 0x10;
inline constexpr uint8_t kConfigTranslate = 0x40;  // scancode set 1 for us

// To and from the keyboard.
inline constexpr uint8_t kEnableScanning = 0xF4;
inline constexpr uint8_t kAcknowledge = 0xFA;

}  // namespace bareflow::ps2
