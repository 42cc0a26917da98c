// Pages of memory that somebody owns until they are released by hand, or given to another owner.
// (GuardedPages in kernel_lib/memory has a hole on either side and releases itself.)
#pragma once

#include <cstdint>

#include "kernel_lib/platform/platform.h"

namespace bareflow::compute {

struct PagesOwner {
    uint8_t *data = nullptr;
    uint64_t count = 0;  // pages

    static constexpr uint64_t pages_for(uint64_t bytes) {
        return (bytes + platform::kPageBytes - 1) / platform::kPageBytes;
    }
    // Takes pages for at least `bytes`. Pages that are enough stay as they are; others are released
    // first, with what they contain. False: there is no memory, or `bytes` is more than `most`.
    [[nodiscard]] bool take(uint64_t bytes, uint64_t most = ~uint64_t{0});
    void release();
};

}  // namespace bareflow::compute
