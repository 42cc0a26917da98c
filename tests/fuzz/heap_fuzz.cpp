// Bytes are operations on a heap of limited memory; every allocation is filled and checked.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "kernel_lib/memory/heap.h"
#include "tests/fakes/heap_pages.h"

namespace {

struct Live {
    uint8_t *memory;
    size_t bytes;
    uint8_t fill;
};

void verify(const Live &live, size_t bytes) {
    for (size_t i = 0; i < bytes; ++i) {
        if (live.memory[i] != live.fill) {
            std::abort();
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0 || size > 4096) {
        return 0;
    }
    bareflow::HeapPages pages(300);
    bareflow::Heap heap(pages, (data[0] & 1) != 0);
    std::vector<Live> live;
    uint8_t fill = 0;
    for (size_t i = 1; i + 3 < size; i += 4) {
        const uint8_t what = data[i];
        // Up to 64 KiB, or up to 1 MiB.
        const size_t bytes = (data[i + 1] | size_t{data[i + 2]} << 8) << (what & 0x40 ? 4 : 0);
        const uint8_t pick = data[i + 3];
        ++fill;
        if ((what & 3) == 0) {
            const size_t alignment = size_t{1} << (pick % 13);
            auto *memory = static_cast<uint8_t *>(heap.allocate(bytes, alignment));
            if (memory != nullptr) {
                if (reinterpret_cast<uintptr_t>(memory) % alignment != 0) {
                    std::abort();
                }
                std::memset(memory, fill, bytes);
                live.push_back({memory, bytes, fill});
            }
        } else if (!live.empty()) {
            Live &chosen = live[pick % live.size()];
            verify(chosen, chosen.bytes);
            if ((what & 3) == 1 && bytes != 0) {
                auto *memory = static_cast<uint8_t *>(heap.resize(chosen.memory, bytes));
                if (memory != nullptr) {
                    chosen.memory = memory;
                    verify(chosen, bytes < chosen.bytes ? bytes : chosen.bytes);
                    chosen.bytes = bytes;
                    std::memset(memory, chosen.fill, bytes);
                }
            } else {
                heap.release(chosen.memory);
                chosen = live.back();
                live.pop_back();
            }
        }
        if (!heap.consistent() || heap.stats().live_allocations != live.size()) {
            std::abort();
        }
    }
    for (const Live &l : live) {
        verify(l, l.bytes);
        heap.release(l.memory);
    }
    if (heap.stats().used_bytes != 0 || !heap.consistent()) {
        std::abort();
    }
    return 0;
}
