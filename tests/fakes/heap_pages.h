// Pages for a Heap under test: counted, filled with garbage, and refused beyond a limit.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>

#include "kernel_lib/memory/heap.h"

namespace bareflow {

class HeapPages final : public PageSource {
  public:
    explicit HeapPages(size_t limit_pages) : limit_pages_(limit_pages) {}
    ~HeapPages() {
        for (const auto &[pages, count] : held_) {
            std::free(pages);
        }
    }
    void *allocate(size_t count) override {
        if (count == 0 || count > limit_pages_ - held_pages_) {
            return nullptr;
        }
        void *pages = std::aligned_alloc(4096, count * 4096);
        std::memset(pages, 0x99, std::min(count * 4096, kRubbishBytes));
        held_[pages] = count;
        held_pages_ += count;
        return pages;
    }
    void release(void *pages, size_t count) override {
        const auto found = held_.find(pages);
        if (found == held_.end() || found->second != count) {
            std::abort();  // the heap freed pages that it did not get
        }
        held_.erase(found);
        held_pages_ -= count;
        std::free(pages);
    }
    [[nodiscard]] size_t held_pages() const { return held_pages_; }

  private:
    static constexpr size_t kRubbishBytes = 16384;

    size_t limit_pages_;
    size_t held_pages_ = 0;
    std::map<void *, size_t> held_;
};

}  // namespace bareflow
