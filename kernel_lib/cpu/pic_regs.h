// 8259A programmable interrupt controllers. Source: Intel 8259A data sheet (1988); ports of a PC
// from the PIIX3 data sheet (1996), section 2.5.3.
#pragma once

#include <cstdint>

namespace bareflow::pic {

inline constexpr uint16_t kMasterCommand = 0x20;
inline constexpr uint16_t kMasterData = 0x21;
inline constexpr uint16_t kSlaveCommand = 0xA0;
inline constexpr uint16_t kSlaveData = 0xA1;

inline constexpr uint8_t kIcw1InitWithIcw4 = 0x11;
inline constexpr uint8_t kIcw3MasterSlaveOn2 = 0x04;
inline constexpr uint8_t kIcw3SlaveIdentity = 0x02;
inline constexpr uint8_t kIcw4Mode8086 = 0x01;
inline constexpr uint8_t kOcw2EndOfInterrupt = 0x20;
inline constexpr uint8_t kOcw3ReadInService = 0x0B;

inline constexpr int kLines = 16;
inline constexpr int kCascadeLine = 2;

}  // namespace bareflow::pic
