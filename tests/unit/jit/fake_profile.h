// For tests of the optimiser: a clock that moves only when a test moves it, and a profile that each
// fixture makes anew.
#pragma once

#include <cstdint>
#include <memory>

#include "kernel_lib/jit/profile.h"
#include "kernel_lib/jit_runtime.h"

namespace bareflow::fakes {

inline uint64_t now_ticks = 0;
inline uint64_t fake_clock() {
    return now_ticks;
}

inline std::unique_ptr<Profiler> test_profiler;
inline Profiler &profile() {
    return *test_profiler;
}
inline void begin_profile() {
    now_ticks = 0;
    test_profiler = std::make_unique<Profiler>();
}
// Calls of one cycle each.
inline void count_calls(const char *name, int count) {
    const FunctionId id = profile().key(name);
    for (int i = 0; i < count; ++i) {
        profile().begin(id, 0);
        profile().end(id, 1);
    }
}

}  // namespace bareflow::fakes
