// 16550 UART. Source: National Semiconductor PC16550D data sheet (June 1995), section 8, table II.
#pragma once

#include <cstdint>

namespace bareflow::uart {

inline constexpr uint16_t kCom1 = 0x3F8;  // IRQ 4

// Register offsets. 0 and 1 are the divisor latch while kLcrDivisorLatch is set.
inline constexpr uint16_t kData = 0;             // RBR when read, THR when written
inline constexpr uint16_t kInterruptEnable = 1;  // IER
inline constexpr uint16_t kDivisorLow = 0;
inline constexpr uint16_t kDivisorHigh = 1;
inline constexpr uint16_t kInterruptId = 2;   // IIR, read only
inline constexpr uint16_t kFifoControl = 2;   // FCR, write only
inline constexpr uint16_t kLineControl = 3;   // LCR
inline constexpr uint16_t kModemControl = 4;  // MCR
inline constexpr uint16_t kLineStatus = 5;    // LSR
inline constexpr uint16_t kModemStatus = 6;   // MSR

// 8.1 line control
inline constexpr uint8_t kLcr8N1 = 0x03;
inline constexpr uint8_t kLcrDivisorLatch = 0x80;
// 8.2 divisor: 1.8432 MHz / 16 / 115200
inline constexpr uint16_t kDivisor115200 = 1;
// 8.4 line status
inline constexpr uint8_t kLsrDataReady = 0x01;
inline constexpr uint8_t kLsrOverrun = 0x02;
inline constexpr uint8_t kLsrThrEmpty = 0x20;  // with FIFOs: the whole transmit FIFO is empty
// 8.5 FIFO control
inline constexpr uint8_t kFcrEnable = 0x01;
inline constexpr uint8_t kFcrClearReceive = 0x02;
inline constexpr uint8_t kFcrClearTransmit = 0x04;
inline constexpr uint8_t kFcrTrigger8 = 0x80;
inline constexpr int kFifoBytes = 16;
// 8.6 interrupt identification
inline constexpr uint8_t kIirNonePending = 0x01;
// 8.7 interrupt enable
inline constexpr uint8_t kIerReceived = 0x01;
inline constexpr uint8_t kIerLineStatus = 0x04;
// 8.8 modem control
inline constexpr uint8_t kMcrDtr = 0x01;
inline constexpr uint8_t kMcrRts = 0x02;
inline constexpr uint8_t kMcrOut2 = 0x08;  // lets the interrupt out on a PC
inline constexpr uint8_t kMcrLoopback = 0x10;

}  // namespace bareflow::uart
