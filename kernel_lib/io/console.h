// The keys that a person types on any device, and the screen's status line. Metal: PS/2 keyboard
// and serial line, VGA's bottom line. Hosted: standard input; there is no status line.
#pragma once

#include <optional>
#include <string_view>

#include "kernel_lib/io/scancode.h"

namespace bareflow {

// Next key typed, from any source, without waiting. A terminal's carriage return is '\n' and its
// DEL is '\b', whatever the source.
[[nodiscard]] std::optional<Key> console_read();

// Replaces the status line; what is too long is cut.
void console_set_status(std::string_view text);

}  // namespace bareflow
