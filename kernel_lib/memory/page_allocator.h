// Physical pages: which are free, and runs of them handed out. Touches no page itself, so that it
// also works on the imaginary machines of tests/unit/memory. Pure; no allocation.
//
// Small runs come from the lowest addresses, so that rings and tables stay where every device can
// reach them. Runs of kLargeRunBytes and more come from the top of the memory below 4 GiB as long
// as that leaves kLowReserveBytes there, else from above 4 GiB, else from anywhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "boot/boot_info.h"
#include "kernel_lib/memory/range_set.h"

namespace bareflow {

class PageAllocator {
  public:
    static constexpr uint64_t kPageBytes = 4096;
    static constexpr uint64_t kLargePageBytes = 2 << 20;
    static constexpr uint64_t kLargeRunBytes = 4 << 20;
    static constexpr uint64_t kLowReserveBytes = 64 << 20;
    static constexpr uint64_t kDmaLimit = uint64_t{1} << 32;

    // Borrows the storage; one entry per free run.
    constexpr explicit PageAllocator(std::span<AddressRange> storage) : free_(storage) {}

    // Everything that `map` calls usable and nothing else in it contradicts, whole pages only, less
    // `reserved`. The map may be unsorted and overlapping; 0 is never free.
    void init(std::span<const MemoryRange> map, std::span<const AddressRange> reserved);

    // A run of pages, 2 MiB aligned when it is large. nullopt: no such run (or count is 0).
    [[nodiscard]] std::optional<uint64_t> allocate(uint64_t count);
    // False when part of the run is already free or was never this allocator's: a caller's mistake.
    [[nodiscard]] bool release(uint64_t address, uint64_t count);

    [[nodiscard]] uint64_t free_bytes() const { return free_.total_bytes(); }
    // What was free after init().
    [[nodiscard]] uint64_t managed_bytes() const { return managed_bytes_; }
    // Released runs that had to be forgotten because the storage was full.
    [[nodiscard]] uint64_t lost_bytes() const { return lost_bytes_; }
    [[nodiscard]] std::span<const AddressRange> free_ranges() const { return free_.ranges(); }

  private:
    [[nodiscard]] std::optional<uint64_t> find_low(uint64_t bytes, uint64_t begin,
                                                   uint64_t end) const;
    [[nodiscard]] std::optional<uint64_t> find_high(uint64_t bytes, uint64_t begin,
                                                    uint64_t end) const;

    RangeSet free_;
    uint64_t managed_bytes_ = 0;
    uint64_t lost_bytes_ = 0;
    uint64_t lowest_ = 0;
    uint64_t highest_ = 0;
};

// `map` as a set of whole usable pages: usable entries inwards, all others outwards.
void usable_memory(std::span<const MemoryRange> map, RangeSet &out);

}  // namespace bareflow
