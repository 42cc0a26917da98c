#include <poll.h>
#include <unistd.h>

#include "kernel_lib/io/console.h"

namespace bareflow {

std::optional<Key> console_read() {
    static constinit bool ended = false;
    pollfd input{STDIN_FILENO, POLLIN, 0};
    if (ended || ::poll(&input, 1, 0) != 1) {
        return std::nullopt;
    }
    uint8_t byte = 0;
    if (::read(STDIN_FILENO, &byte, 1) != 1) {
        ended = true;  // at its end it stays readable for ever
        return std::nullopt;
    }
    constexpr uint8_t kDel = 0x7F;
    return byte == '\r' ? Key{'\n'} : byte == kDel ? Key{'\b'} : Key{byte};
}

void console_set_status(std::string_view /*text*/) {}

}  // namespace bareflow
