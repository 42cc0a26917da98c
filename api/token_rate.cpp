#include "api/token_rate.h"

#include <algorithm>

#include "kernel_lib/platform/ticks.h"

namespace bareflow::api {

double TokenRate::per_second(uint64_t now_ticks) const {
    if (count_ < 2) {
        return 0;
    }
    const uint64_t count = std::min<uint64_t>(count_, kTokens);
    const double ms = ticks_to_ms(now_ticks - ticks_[(count_ - count) % kTokens]);
    return ms > 0 ? static_cast<double>(count - 1) * 1000.0 / ms : 0;
}

}  // namespace bareflow::api
