// A set of addresses kept as sorted, disjoint, non-touching ranges in storage of fixed size. The
// physical page allocator is one, and a memory map from firmware becomes one. Pure; no allocation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace bareflow {

struct AddressRange {
    uint64_t begin = 0;
    uint64_t end = 0;  // exclusive
    [[nodiscard]] constexpr uint64_t size() const { return end - begin; }
    bool operator==(const AddressRange &) const = default;
};

class RangeSet {
  public:
    // Borrows `storage`, whose length is the most ranges the set can hold.
    constexpr explicit RangeSet(std::span<AddressRange> storage) : storage_(storage) {}

    // Both take any range, overlapping or not; an empty or inverted one changes nothing. False when
    // the storage is full: then add() leaves the range out, and remove() also drops the smaller of
    // the two pieces it could not keep apart. A set never holds what was removed.
    bool add(AddressRange range);
    bool remove(AddressRange range);

    [[nodiscard]] bool overlaps(AddressRange range) const;
    [[nodiscard]] bool contains(AddressRange range) const;
    [[nodiscard]] uint64_t total_bytes() const;
    [[nodiscard]] std::span<const AddressRange> ranges() const { return storage_.first(count_); }

  private:
    // Index of the first range whose end is beyond `address`.
    [[nodiscard]] size_t first_ending_after(uint64_t address) const;
    void erase(size_t first, size_t last);

    std::span<AddressRange> storage_;
    size_t count_ = 0;
};

}  // namespace bareflow
