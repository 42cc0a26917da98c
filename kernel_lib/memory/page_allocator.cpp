// Makes a clean set of free pages out of the firmware's map, and chooses where runs are taken from.
// What must hold: no page is handed out twice, and none that the map does not call usable.
#include "kernel_lib/memory/page_allocator.h"

#include <algorithm>

namespace bareflow {

namespace {

constexpr uint64_t kPageMask = PageAllocator::kPageBytes - 1;
// The last whole page of a 52-bit physical address space ends here (SDM 3, 4.1.4).
constexpr uint64_t kAddressLimit = uint64_t{1} << 52;

// End of [base, base + len), cut at the limit: lengths from firmware may wrap.
uint64_t end_of(uint64_t base, uint64_t len) {
    if (base >= kAddressLimit) {
        return kAddressLimit;
    }
    return len > kAddressLimit - base ? kAddressLimit : base + len;
}

uint64_t page_down(uint64_t address) {
    return address & ~kPageMask;
}
uint64_t page_up(uint64_t address) {
    return (address + kPageMask) & ~kPageMask;
}

}  // namespace

void usable_memory(std::span<const MemoryRange> map, RangeSet &out) {
    for (const MemoryRange &range : map) {
        if (range.type == kMemoryUsable && range.base < kAddressLimit) {
            out.add({page_up(range.base), page_down(end_of(range.base, range.len_bytes))});
        }
    }
    for (const MemoryRange &range : map) {
        if (range.type != kMemoryUsable && range.base < kAddressLimit && range.len_bytes != 0) {
            out.remove({page_down(range.base), page_up(end_of(range.base, range.len_bytes))});
        }
    }
    out.remove({0, PageAllocator::kPageBytes});
}

void PageAllocator::init(std::span<const MemoryRange> map, std::span<const AddressRange> reserved) {
    usable_memory(map, free_);
    for (const AddressRange &range : reserved) {
        free_.remove({page_down(range.begin), page_up(range.end)});
    }
    managed_bytes_ = free_.total_bytes();
    if (!free_.ranges().empty()) {
        lowest_ = free_.ranges().front().begin;
        highest_ = free_.ranges().back().end;
    }
}

std::optional<uint64_t> PageAllocator::find_low(uint64_t bytes, uint64_t begin,
                                                uint64_t end) const {
    for (const AddressRange &range : free_.ranges()) {
        const uint64_t from = std::max(range.begin, begin);
        const uint64_t to = std::min(range.end, end);
        if (from < to && to - from >= bytes) {
            return from;
        }
    }
    return std::nullopt;
}

std::optional<uint64_t> PageAllocator::find_high(uint64_t bytes, uint64_t begin,
                                                 uint64_t end) const {
    const std::span<const AddressRange> ranges = free_.ranges();
    for (size_t i = ranges.size(); i-- > 0;) {
        const uint64_t from = std::max(ranges[i].begin, begin);
        const uint64_t to = std::min(ranges[i].end, end);
        if (from < to && to - from >= bytes) {
            const uint64_t at = (to - bytes) & ~(kLargePageBytes - 1);
            if (at >= from) {
                return at;
            }
        }
    }
    return std::nullopt;
}

std::optional<uint64_t> PageAllocator::allocate(uint64_t count) {
    if (count == 0 || count > highest_ / kPageBytes) {
        return std::nullopt;
    }
    const uint64_t bytes = count * kPageBytes;
    std::optional<uint64_t> at;
    if (bytes >= kLargeRunBytes) {
        uint64_t low_free = 0;
        for (const AddressRange &range : free_.ranges()) {
            if (range.begin < kDmaLimit) {
                low_free += std::min(range.end, kDmaLimit) - range.begin;
            }
        }
        if (low_free >= kLowReserveBytes && low_free - kLowReserveBytes >= bytes) {
            at = find_high(bytes, 0, kDmaLimit);
        }
        if (!at) {
            at = find_high(bytes, kDmaLimit, highest_);
        }
        if (!at) {
            at = find_high(bytes, 0, highest_);
        }
    }
    if (!at) {
        at = find_low(bytes, 0, highest_);
    }
    if (!at) {
        return std::nullopt;
    }
    const uint64_t before = free_.total_bytes();
    free_.remove({*at, *at + bytes});
    lost_bytes_ += before - bytes - free_.total_bytes();
    return at;
}

bool PageAllocator::release(uint64_t address, uint64_t count) {
    if (count == 0 || (address & kPageMask) != 0 || address < lowest_ || address >= highest_ ||
        count > (highest_ - address) / kPageBytes) {
        return false;
    }
    const AddressRange range{address, address + count * kPageBytes};
    if (free_.overlaps(range)) {
        return false;
    }
    if (!free_.add(range)) {
        lost_bytes_ += range.size();
    }
    return true;
}

}  // namespace bareflow
