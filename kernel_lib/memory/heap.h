// The heap: two-level segregated free lists with boundary tags (constant time, neighbours merged at
// once). It asks for pages when it needs them and gives them back when it does not.
//
// One thread of control; not for interrupt handlers. In checked mode every allocation carries
// canaries and freed memory is poisoned. A double free, an overrun, a wild pointer or a write to
// freed memory ends in a panic that names the address. The check costs a few dozen cycles a call.
//
// A block in memory, 16-byte units:   | header 32 | payload ... | next header ...
// A region (one run of pages):        | Region | block | block ... | end header (size 0, in use) |
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace bareflow {

// Where pages come from.
class PageSource {
  public:
    // `count` zeroed or dirty pages of 4096 bytes in a row, aligned to a page; nullptr: none.
    virtual void *allocate(size_t count) = 0;
    virtual void release(void *pages, size_t count) = 0;

  protected:
    ~PageSource() = default;
};

struct HeapStats {
    uint64_t used_bytes = 0;  // in live allocations, overhead included
    uint64_t free_bytes = 0;  // held but free
    uint64_t peak_used_bytes = 0;
    uint64_t region_bytes = 0;  // taken from the page source
    uint64_t live_allocations = 0;
    uint64_t total_allocations = 0;
    uint64_t failed_allocations = 0;
};

class Heap {
  public:
    static constexpr size_t kMinAlignment = 16;
    static constexpr size_t kMaxAlignment = 4096;

    // Borrows `pages`.
    constexpr explicit Heap(PageSource &pages, bool checked = true)
        : pages_(&pages), checked_(checked) {}
    Heap(const Heap &) = delete;
    Heap &operator=(const Heap &) = delete;

    // nullptr when there is no room, bytes is 0, or alignment is no power of two up to 4096.
    [[nodiscard]] void *allocate(size_t bytes, size_t alignment = kMinAlignment);
    // nullptr is ignored.
    void release(void *memory);
    // In place when the block or its free neighbour has the room; else moves, keeping the contents
    // (and only the 16-byte alignment). nullptr: like allocate. 0 bytes: like release, returns
    // nullptr. When there is no room: nullptr, and `memory` is still valid.
    [[nodiscard]] void *resize(void *memory, size_t bytes);

    [[nodiscard]] const HeapStats &stats() const { return stats_; }
    // Walks every block: tags agree, neighbours merged, lists complete, sums right. Slow; hosted
    // only, for tests.
    [[nodiscard]] bool consistent() const;

  private:
    struct Block;
    struct Region;
    static constexpr int kSecondBits = 3;
    static constexpr size_t kSecondCount = size_t{1} << kSecondBits;
    static constexpr int kFirstShift = 6;  // smallest block: 64 bytes
    static constexpr size_t kFirstCount = 40;

    struct ListIndex {
        size_t first;
        size_t second;
    };
    static ListIndex list_of(size_t bytes);
    Block *find(size_t bytes);
    Block *grow(size_t bytes);
    void insert(Block *block);
    void remove(Block *block);
    Block *merge_with_neighbours(Block *block);
    void trim(Block *block, size_t bytes);
    void give_back(Block *block);
    void use(Block *block, size_t requested);
    void unuse(Block *block);
    Block *live_block(void *memory, const char *what) const;
    void seal(Block *block, size_t requested) const;
    void poison_head(Block *block) const;
    void check_poison(Block *block) const;
    [[nodiscard]] uint64_t guard_of(const Block *block) const;
    [[nodiscard]] bool owns(const void *memory) const;

    PageSource *pages_;
    bool checked_;
    Region *regions_ = nullptr;
    uint64_t first_map_ = 0;
    std::array<uint8_t, kFirstCount> second_map_{};
    std::array<std::array<Block *, kSecondCount>, kFirstCount> lists_{};
    HeapStats stats_;
};

// The program's heap (hosted: what the C library says).
[[nodiscard]] HeapStats heap_stats();

}  // namespace bareflow
