#include "kernel_lib/platform/ticks.h"

namespace bareflow {

namespace {

constexpr uint64_t kMicrosPerSecond = 1'000'000;

}  // namespace

uint64_t ticks_to_us(uint64_t ticks) {
    const uint64_t rate = platform::ticks_per_second();
    return rate == 0 ? 0 : scale(ticks, kMicrosPerSecond, rate);
}

uint64_t us_to_ticks(uint64_t us) {
    return scale(us, platform::ticks_per_second(), kMicrosPerSecond);
}

}  // namespace bareflow
