// The machine's own console devices (bare metal only). One of each, in static storage, usable from
// the first instruction: before its init() each does nothing.
#pragma once

#include "kernel_lib/io/keyboard.h"
#include "kernel_lib/io/port.h"
#include "kernel_lib/io/serial.h"
#include "kernel_lib/io/vga.h"

namespace bareflow {

// Compiled once, in devices_metal.cpp.
extern template class Serial16550<PortIo>;
extern template class VgaText<PortIo>;
extern template class Ps2Keyboard<PortIo>;

[[nodiscard]] Serial16550<PortIo> &serial();
[[nodiscard]] VgaText<PortIo> &vga();
[[nodiscard]] Ps2Keyboard<PortIo> &keyboard();

// Screen memory at 0xB8000, identity mapped: vga().init(vga_memory()).
[[nodiscard]] std::span<uint16_t> vga_memory();

// For the handlers of IRQ 4 and IRQ 1. They take what the device has and say whether it was theirs;
// they do not end the interrupt at the interrupt controller.
bool on_serial_interrupt();
bool on_keyboard_interrupt();

}  // namespace bareflow
