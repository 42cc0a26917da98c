// Ticks of the time-stamp counter to time and back: the one place where they are converted.
//
// All results are rounded down, so a deadline that must not pass early adds 1 to its ticks. No
// product overflows on the way: a result is right whenever it fits into 64 bits. Any context, any
// processor.
#pragma once

#include <cstdint>

#include "kernel_lib/platform/platform.h"

namespace bareflow {

// value * numerator / denominator, rounded down, for numerator * denominator < 2^64.
[[nodiscard]] constexpr uint64_t scale(uint64_t value, uint64_t numerator, uint64_t denominator) {
    return value / denominator * numerator + value % denominator * numerator / denominator;
}

// 0 as long as the rate is not known (metal: before timer_init()).
[[nodiscard]] uint64_t ticks_to_us(uint64_t ticks);
// With its fraction, for figures that are shown.
[[nodiscard]] inline double ticks_to_ms(uint64_t ticks) {
    return static_cast<double>(ticks) * 1000.0 / static_cast<double>(platform::ticks_per_second());
}
[[nodiscard]] uint64_t us_to_ticks(uint64_t us);
[[nodiscard]] inline uint64_t ms_to_ticks(uint64_t ms) {
    return us_to_ticks(ms * 1000);
}

}  // namespace bareflow
