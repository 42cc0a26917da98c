// Finds and starts the machine's network card (bare metal only). It lives in static storage for as
// long as the program runs.
#pragma once

#include "drivers/net/net_device.h"
#include "kernel_lib/base/result.h"

namespace bareflow {

// Starts the first network card on the bus that there is a driver for; if it does not start, the
// next one. kNotFound: there is no known card. Other errors say why the last card did not start.
// Call it early: QEMU's e1000 delivers its first frame only a second after it was enabled. The
// caller routes irq() to on_interrupt(); a card without a line is polled.
[[nodiscard]] Result<NetDevice *> probe_network();

}  // namespace bareflow
