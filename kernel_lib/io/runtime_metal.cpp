// The console part of runtime.h.
#include "kernel_lib/io/devices.h"
#include "kernel_lib/runtime.h"

using namespace bareflow;

extern "C" {

void vga_init(void) {
    vga().init(vga_memory());
}
void vga_puts(const char *text) {
    vga().write(text);
}
void vga_set_color(uint8_t foreground, uint8_t background) {
    vga().set_color(foreground, background);
}

int serial_init(void) {
    return serial().init().ok() ? 0 : -1;
}
void serial_puts(const char *text) {
    serial().write_text(text);
}
int serial_getchar(void) {
    const std::optional<uint8_t> byte = serial().read();
    return byte ? *byte : -1;
}

int keyboard_getchar(void) {
    // The first call also finds the keyboard, for programs that set nothing up themselves.
    static constinit bool tried = false;
    if (!tried) {
        tried = true;
        if (!keyboard().present() && !keyboard().init()) {
            return -1;
        }
    }
    const std::optional<Key> key = keyboard().read();
    return key ? *key : -1;
}
}
