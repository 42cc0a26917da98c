// What must hold: ranges are sorted, do not overlap or touch, and none is empty.
#include "kernel_lib/memory/range_set.h"

#include <algorithm>

namespace bareflow {

size_t RangeSet::first_ending_after(uint64_t address) const {
    size_t low = 0;
    size_t high = count_;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (storage_[middle].end > address) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

void RangeSet::erase(size_t first, size_t last) {
    std::move(storage_.begin() + static_cast<ptrdiff_t>(last),
              storage_.begin() + static_cast<ptrdiff_t>(count_),
              storage_.begin() + static_cast<ptrdiff_t>(first));
    count_ -= last - first;
}

bool RangeSet::add(AddressRange range) {
    if (range.begin >= range.end) {
        return true;
    }
    // All that overlap or touch become one.
    const size_t first = range.begin == 0 ? 0 : first_ending_after(range.begin - 1);
    size_t last = first;
    while (last < count_ && storage_[last].begin <= range.end) {
        range.begin = std::min(range.begin, storage_[last].begin);
        range.end = std::max(range.end, storage_[last].end);
        ++last;
    }
    if (last > first) {
        storage_[first] = range;
        erase(first + 1, last);
        return true;
    }
    if (count_ == storage_.size()) {
        return false;
    }
    std::move_backward(storage_.begin() + static_cast<ptrdiff_t>(first),
                       storage_.begin() + static_cast<ptrdiff_t>(count_),
                       storage_.begin() + static_cast<ptrdiff_t>(count_ + 1));
    storage_[first] = range;
    ++count_;
    return true;
}

bool RangeSet::remove(AddressRange range) {
    if (range.begin >= range.end) {
        return true;
    }
    bool kept_all = true;
    size_t at = first_ending_after(range.begin);
    while (at < count_ && storage_[at].begin < range.end) {
        AddressRange &hit = storage_[at];
        const AddressRange left{hit.begin, range.begin};
        const AddressRange right{range.end, hit.end};
        const bool has_left = left.begin < left.end;
        const bool has_right = right.begin < right.end;
        if (has_left && has_right) {
            hit = left;
            if (!add(right)) {
                kept_all = false;
                if (right.size() > left.size()) {
                    hit = right;
                }
            }
            break;
        }
        if (has_left) {
            hit = left;
            ++at;
        } else if (has_right) {
            hit = right;
            break;
        } else {
            erase(at, at + 1);
        }
    }
    return kept_all;
}

bool RangeSet::overlaps(AddressRange range) const {
    if (range.begin >= range.end) {
        return false;
    }
    const size_t at = first_ending_after(range.begin);
    return at < count_ && storage_[at].begin < range.end;
}

bool RangeSet::contains(AddressRange range) const {
    if (range.begin >= range.end) {
        return true;
    }
    const size_t at = first_ending_after(range.begin);
    return at < count_ && storage_[at].begin <= range.begin && storage_[at].end >= range.end;
}

uint64_t RangeSet::total_bytes() const {
    uint64_t total = 0;
    for (const AddressRange &range : ranges()) {
        total += range.size();
    }
    return total;
}

}  // namespace bareflow
