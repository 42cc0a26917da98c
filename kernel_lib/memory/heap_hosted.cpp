#include "kernel_lib/memory/heap.h"

#include <malloc.h>
#include <stdlib.h>

#include "kernel_lib/memory/buffer.h"

namespace bareflow {

void *heap_allocate(size_t bytes, size_t alignment) {
    void *memory = nullptr;
    const size_t wanted = alignment < sizeof(void *) ? sizeof(void *) : alignment;
    return bytes != 0 && posix_memalign(&memory, wanted, bytes) == 0 ? memory : nullptr;
}
void heap_release(void *memory) {
    free(memory);
}
HeapStats heap_stats() {
    const struct mallinfo2 info = mallinfo2();
    HeapStats stats;
    stats.used_bytes = info.uordblks + info.hblkhd;
    stats.free_bytes = info.fordblks;
    stats.region_bytes = info.arena + info.hblkhd;
    return stats;
}

}  // namespace bareflow
