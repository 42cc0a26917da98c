// Bytes are operations on a heap of limited memory; every allocation is filled and checked.
#include <algorithm>
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

// Fills both ends, where neighbours would do harm; filling everything would take most of the time.
constexpr size_t kEdgeBytes = 32;

void fill_edges(const Live &live) {
    const size_t edge = std::min(live.bytes, kEdgeBytes);
    std::memset(live.memory, live.fill, edge);
    std::memset(live.memory + live.bytes - edge, live.fill, edge);
}

void verify(const uint8_t *memory, size_t bytes, uint8_t fill) {
    for (size_t i = 0; i < bytes; ++i) {
        if (memory[i] != fill) {
            std::abort();
        }
    }
}
void verify(const Live &live) {
    const size_t edge = std::min(live.bytes, kEdgeBytes);
    verify(live.memory, edge, live.fill);
    verify(live.memory + live.bytes - edge, edge, live.fill);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0 || size > 1024) {
        return 0;
    }
    bareflow::HeapPages pages(200);
    bareflow::Heap heap(pages, (data[0] & 1) != 0);
    std::vector<Live> live;
    uint8_t fill = 0;
    for (size_t i = 1; i + 3 < size; i += 4) {
        const uint8_t what = data[i];
        // Up to 4 KiB, or up to 512 KiB.
        const size_t bytes = (data[i + 1] | (data[i + 2] & 15U) << 8)
                             << ((what & 0x40) != 0 ? 7 : 0);
        const uint8_t pick = data[i + 3];
        ++fill;
        if ((what & 3) == 0) {
            const size_t alignment = size_t{1} << (pick % 13);
            auto *memory = static_cast<uint8_t *>(heap.allocate(bytes, alignment));
            if (memory != nullptr) {
                if (reinterpret_cast<uintptr_t>(memory) % alignment != 0) {
                    std::abort();
                }
                live.push_back({memory, bytes, fill});
                fill_edges(live.back());
            }
        } else if (!live.empty()) {
            Live &chosen = live[pick % live.size()];
            verify(chosen);
            if ((what & 3) == 1 && bytes != 0) {
                auto *memory = static_cast<uint8_t *>(heap.resize(chosen.memory, bytes));
                if (memory != nullptr) {
                    chosen.memory = memory;
                    verify(memory, std::min({bytes, chosen.bytes, kEdgeBytes}), chosen.fill);
                    chosen.bytes = bytes;
                    fill_edges(chosen);
                }
            } else {
                heap.release(chosen.memory);
                chosen = live.back();
                live.pop_back();
            }
        }
        if ((i % 64 == 1 && !heap.consistent()) || heap.stats().live_allocations != live.size()) {
            std::abort();
        }
    }
    for (const Live &l : live) {
        verify(l);
        heap.release(l.memory);
    }
    if (heap.stats().used_bytes != 0 || !heap.consistent()) {
        std::abort();
    }
    return 0;
}
