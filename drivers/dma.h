// Memory that a device reads and writes by itself. A driver never allocates it. The code that
// creates the driver hands it one region of the size that the driver names: zeroed, page-aligned,
// physically contiguous. It stays as long as the driver, in practice for ever. So a test knows
// exactly which addresses a device may touch.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernel_lib/platform/platform.h"

namespace bareflow {

using DmaRegion = std::span<uint8_t>;

constexpr size_t dma_pages(size_t bytes) {
    return (bytes + platform::kPageBytes - 1) / platform::kPageBytes;
}

// x86 keeps loads in order, stores in order, and accesses of uncached device registers after
// earlier stores (Intel SDM vol. 3A section 8.2.2). So the next two only keep the compiler from
// reordering. Between seeing that the device has finished and reading what it wrote:
inline void dma_read_barrier() {
    std::atomic_thread_fence(std::memory_order_acquire);
}
// Between writing what the device will read and telling it so:
inline void dma_write_barrier() {
    std::atomic_thread_fence(std::memory_order_release);
}
// Between a store of ours and a load of what the device writes: the one order x86 does not keep.
inline void dma_full_barrier() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
}

}  // namespace bareflow
