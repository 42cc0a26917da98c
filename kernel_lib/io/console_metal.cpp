#include "kernel_lib/io/console.h"
#include "kernel_lib/io/devices.h"

namespace bareflow {

std::optional<Key> console_read() {
    if (const std::optional<Key> key = keyboard().read()) {
        return key;
    }
    const std::optional<uint8_t> byte = serial().read();
    if (!byte) {
        return std::nullopt;
    }
    constexpr uint8_t kDel = 0x7F;
    return *byte == '\r' ? Key{'\n'} : *byte == kDel ? Key{'\b'} : Key{*byte};
}

void console_set_status(std::string_view text) {
    vga().set_status(text);
}

}  // namespace bareflow
