// How long a driver waits for a device. Every wait on hardware is a loop over a Deadline.
#pragma once

#include <cstdint>

#include "kernel_lib/platform/platform.h"
#include "kernel_lib/platform/ticks.h"

namespace bareflow {

class Deadline {
  public:
    explicit Deadline(uint32_t timeout_ms)
        : start_(platform::ticks()), len_ticks_(ms_to_ticks(timeout_ms)) {}
    [[nodiscard]] bool passed() const { return platform::ticks() - start_ > len_ticks_; }

  private:
    uint64_t start_;
    uint64_t len_ticks_;
};

// Returns true as soon as `ready()` does, and false if `timeout_ms` passes first. `ready()` is
// called once more after the deadline: the host may have stopped us meanwhile, which is no fault of
// the device.
template <typename Ready>
[[nodiscard]] bool wait_until(uint32_t timeout_ms, Ready ready) {
    const Deadline deadline(timeout_ms);
    while (!ready()) {
        if (deadline.passed()) {
            return ready();
        }
        __builtin_ia32_pause();
    }
    return true;
}

// Waits at least `time_us`. For settling times of devices: microseconds, never milliseconds in a
// loop.
inline void settle_us(uint32_t time_us) {
    const uint64_t start = platform::ticks();
    const uint64_t len = us_to_ticks(time_us) + 1;
    while (platform::ticks() - start < len) {
        __builtin_ia32_pause();
    }
}

}  // namespace bareflow
