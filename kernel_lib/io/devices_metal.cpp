#include "kernel_lib/io/devices.h"

namespace bareflow {

template class Serial16550<PortIo>;
template class VgaText<PortIo>;
template class Ps2Keyboard<PortIo>;

namespace {

constinit Serial16550<PortIo> the_serial;
constinit VgaText<PortIo> the_vga;
constinit Ps2Keyboard<PortIo> the_keyboard;

}  // namespace

Serial16550<PortIo> &serial() {
    return the_serial;
}
VgaText<PortIo> &vga() {
    return the_vga;
}
Ps2Keyboard<PortIo> &keyboard() {
    return the_keyboard;
}

std::span<uint16_t> vga_memory() {
    return {reinterpret_cast<uint16_t *>(vga_text::kMemory), VgaScreen::kCells};
}

bool on_serial_interrupt() {
    return the_serial.on_interrupt();
}
bool on_keyboard_interrupt() {
    return the_keyboard.on_interrupt();
}

}  // namespace bareflow
