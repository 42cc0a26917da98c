// The program's heap on bare metal, by its C, C++ and runtime.h names.
#include <new>

#include "kernel_lib/memory/buffer.h"
#include "kernel_lib/memory/heap.h"
#include "kernel_lib/platform/platform.h"
#include "kernel_lib/runtime.h"

namespace bareflow {

namespace {

class PlatformPages final : public PageSource {
  public:
    void *allocate(size_t count) override { return platform::allocate_pages_unzeroed(count); }
    void release(void *pages, size_t count) override { platform::free_pages(pages, count); }
};

constinit PlatformPages platform_pages;

// Made at its first use: its lists, written out as initial data, would be in the image.
Heap &the_heap() {
    alignas(Heap) static constinit uint8_t storage[sizeof(Heap)] = {};
    static constinit Heap *made = nullptr;
    if (made == nullptr) {
        made = new (storage) Heap(platform_pages);
    }
    return *made;
}

}  // namespace

void *heap_allocate(size_t bytes, size_t alignment) {
    return the_heap().allocate(bytes, alignment);
}
void heap_release(void *memory) {
    the_heap().release(memory);
}
HeapStats heap_stats() {
    return the_heap().stats();
}

}  // namespace bareflow

extern "C" {

void *malloc(size_t bytes) {
    return bareflow::the_heap().allocate(bytes);
}
void *calloc(size_t count, size_t bytes) {
    size_t total = 0;
    if (__builtin_mul_overflow(count, bytes, &total)) {
        return nullptr;
    }
    void *memory = bareflow::the_heap().allocate(total);
    if (memory != nullptr) {
        memset(memory, 0, total);
    }
    return memory;
}
void *realloc(void *memory, size_t bytes) {
    return bareflow::the_heap().resize(memory, bytes);
}
void *aligned_alloc(size_t alignment, size_t bytes) {
    return bareflow::the_heap().allocate(bytes, alignment);
}
void free(void *memory) {
    bareflow::the_heap().release(memory);
}
}
