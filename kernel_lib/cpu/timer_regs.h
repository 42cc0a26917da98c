// Timers. Sources: 8254 interval timer: Intel 82C54 data sheet (1994); local APIC: Intel SDM volume
// 3, chapter 10 (table 10-1, 10.4.4, 10.5.4).
#pragma once

#include <cstdint>

namespace bareflow {

namespace pit {
inline constexpr uint32_t kHz = 1'193'182;
inline constexpr uint16_t kCounter0 = 0x40;
inline constexpr uint16_t kControl = 0x43;
// Control word: counter 0, both bytes, mode 0 (one shot), binary.
inline constexpr uint8_t kCounter0OneShot = 0x30;
inline constexpr uint8_t kLatchCounter0 = 0x00;
// Read-back command: the status of counter 0, whose bit 7 is its output.
inline constexpr uint8_t kReadBackStatus0 = 0xE2;
inline constexpr uint8_t kStatusOutput = 0x80;
}  // namespace pit

namespace lapic {
inline constexpr uint32_t kMsrBase = 0x1B;
inline constexpr uint64_t kMsrEnabled = 1 << 11;
inline constexpr uint64_t kMsrX2Apic = 1 << 10;
inline constexpr uint64_t kMsrAddressMask = 0xF'FFFF'FFFF'F000;
inline constexpr uint32_t kRegisterBytes = 4096;
// Offsets.
inline constexpr uint32_t kId = 0x020;  // in its upper eight bits
inline constexpr uint32_t kTaskPriority = 0x080;
inline constexpr uint32_t kEndOfInterrupt = 0x0B0;
inline constexpr uint32_t kSpurious = 0x0F0;
inline constexpr uint32_t kCommandLow = 0x300;  // 10.6.1; writing it sends
inline constexpr uint32_t kCommandHigh = 0x310;
inline constexpr uint32_t kLvtTimer = 0x320;
inline constexpr uint32_t kLvtLint0 = 0x350;
inline constexpr uint32_t kLvtLint1 = 0x360;
inline constexpr uint32_t kInitialCount = 0x380;
inline constexpr uint32_t kCurrentCount = 0x390;
inline constexpr uint32_t kDivide = 0x3E0;
// Values.
inline constexpr uint32_t kSoftwareEnable = 1 << 8;
inline constexpr uint32_t kLvtMasked = 1 << 16;
inline constexpr uint32_t kLvtExtInt = 7 << 8;
inline constexpr uint32_t kLvtNmi = 4 << 8;
inline constexpr uint32_t kDivideBy16 = 3;
// Commands: delivery mode, level (always "assert"), destination shorthand.
inline constexpr uint32_t kIdShift = 24;
inline constexpr uint32_t kCommandAssert = 1 << 14;
inline constexpr uint32_t kCommandFixed = 0 << 8 | kCommandAssert;  // plus the vector
inline constexpr uint32_t kCommandNmi = 4 << 8 | kCommandAssert;
inline constexpr uint32_t kCommandInit = 5 << 8 | kCommandAssert;
inline constexpr uint32_t kCommandStartUp = 6 << 8 | kCommandAssert;  // plus the page number
inline constexpr uint32_t kCommandToOthers = 3 << 18;
inline constexpr uint32_t kCommandPending = 1 << 12;
}  // namespace lapic

}  // namespace bareflow
