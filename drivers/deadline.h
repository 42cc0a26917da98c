// The end of our patience with a device. Every wait on hardware is a loop over one of these.
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

// True as soon as `ready()` is; false when `timeout_ms` passed first. The condition is looked at
// once more after the deadline, so that being descheduled by the host is not taken for a fault.
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

// Lets at least this long go by (device settling times; microseconds, never milliseconds in a
// loop).
inline void settle_us(uint32_t time_us) {
    const uint64_t start = platform::ticks();
    const uint64_t len = us_to_ticks(time_us) + 1;
    while (platform::ticks() - start < len) {
        __builtin_ia32_pause();
    }
}

}  // namespace bareflow
