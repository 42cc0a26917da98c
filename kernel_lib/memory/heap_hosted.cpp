#include "kernel_lib/memory/heap.h"

#include <malloc.h>
#include <stdlib.h>

#include <atomic>

#include "kernel_lib/memory/buffer.h"

namespace bareflow {
namespace {

constinit std::atomic<uint64_t> used_bytes = 0;
constinit std::atomic<uint64_t> peak_bytes = 0;

}  // namespace

void *heap_allocate(size_t bytes, size_t alignment) {
    void *memory = nullptr;
    const size_t wanted = alignment < sizeof(void *) ? sizeof(void *) : alignment;
    if (bytes == 0 || posix_memalign(&memory, wanted, bytes) != 0) {
        return nullptr;
    }
    const size_t taken = malloc_usable_size(memory);
    const uint64_t used = used_bytes.fetch_add(taken, std::memory_order_relaxed) + taken;
    uint64_t peak = peak_bytes.load(std::memory_order_relaxed);
    while (peak < used &&
           !peak_bytes.compare_exchange_weak(peak, used, std::memory_order_relaxed)) {
    }
    return memory;
}
void heap_release(void *memory) {
    used_bytes.fetch_sub(memory == nullptr ? 0 : malloc_usable_size(memory),
                         std::memory_order_relaxed);
    free(memory);
}
// Of heap_allocate(); what libraries of the system take is not counted.
HeapStats heap_stats() {
    const struct mallinfo2 info = mallinfo2();
    HeapStats stats;
    stats.used_bytes = used_bytes.load(std::memory_order_relaxed);
    stats.peak_used_bytes = peak_bytes.load(std::memory_order_relaxed);
    stats.free_bytes = info.fordblks;
    stats.region_bytes = info.arena + info.hblkhd;
    return stats;
}

}  // namespace bareflow
