// Two-level segregated free lists (TLSF). The list of a free block follows from its size in
// constant time: a list for each power of two and each of its equal parts.
//
// What must hold between two calls: no two neighbouring blocks are free, and every free block is in
// the list of its size. Each region ends with a block of size 0 that is in use.
#include "kernel_lib/memory/heap.h"

#include <algorithm>
#include <bit>

#include "kernel_lib/base/text_writer.h"
#include "kernel_lib/memory/heap_blocks.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow {

using namespace heap_layout;

namespace {

constexpr size_t kMaxRequest = size_t{1} << 44;
constexpr size_t kGrowBytes = size_t{256} << 10;
constexpr uint8_t kTailByte = 0xC5;       // between the requested bytes and the block's end
constexpr uint8_t kPoisonByte = 0xDB;     // freed memory
constexpr size_t kPoisonCheckBytes = 48;  // of every free block, after its links
constexpr size_t kPoisonBytes = 512;      // of a block just freed
constexpr size_t kTailBytes = 8;          // least distance from an allocation to the next block
constexpr uint64_t kGuardSeed = 0x9E3779B97F4A7C15;
// How far to look in the one list whose blocks may or may not be large enough.
constexpr int kExactFitSteps = 16;

constexpr size_t round_up(size_t value, size_t unit) {
    return (value + unit - 1) & ~(unit - 1);
}

[[noreturn]] void corrupt(std::string_view what, const void *address) {
    char text[120];
    TextWriter out(text);
    out.put("heap: ", what, " at 0x", Hex{reinterpret_cast<uintptr_t>(address)});
    platform::panic(out.view());
}

}  // namespace

namespace {

// A block's size for a payload of `bytes`.
size_t block_bytes_for(size_t bytes, bool checked) {
    const size_t payload = bytes + (checked ? kTailBytes : 0);
    return std::max(kMinBlock, round_up(payload, kUnit) + kHeaderBytes);
}

}  // namespace

Heap::ListIndex Heap::list_of(size_t bytes) {
    const int log = std::bit_width(bytes) - 1;
    const size_t second = (bytes >> (log - kSecondBits)) & (kSecondCount - 1);
    return {static_cast<size_t>(log - kFirstShift), second};
}

void Heap::insert(Block *block) {
    const auto [first, second] = list_of(block->size());
    Block *&head = lists_[first][second];
    block->links() = {head, nullptr};
    if (head != nullptr) {
        head->links().previous = block;
    }
    head = block;
    first_map_ |= uint64_t{1} << first;
    second_map_[first] |= static_cast<uint8_t>(1U << second);
    stats_.free_bytes += block->size();
}

void Heap::remove(Block *block) {
    const auto [first, second] = list_of(block->size());
    const Block::Links links = block->links();
    if (links.next != nullptr) {
        links.next->links().previous = links.previous;
    }
    if (links.previous != nullptr) {
        links.previous->links().next = links.next;
    } else {
        lists_[first][second] = links.next;
        if (links.next == nullptr) {
            second_map_[first] &= static_cast<uint8_t>(~(1U << second));
            if (second_map_[first] == 0) {
                first_map_ &= ~(uint64_t{1} << first);
            }
        }
    }
    stats_.free_bytes -= block->size();
}

// A free block of at least `bytes`, out of its list; nullptr: none.
Heap::Block *Heap::find(size_t bytes) {
    const auto [first, second] = list_of(bytes);
    // Every block of a later list is large enough.
    size_t in_first = first;
    uint32_t seconds = second_map_[first] & (0xFEU << second);
    if (seconds == 0) {
        const uint64_t later = first_map_ & (~uint64_t{1} << first);
        if (later != 0) {
            in_first = static_cast<size_t>(std::countr_zero(later));
            seconds = second_map_[in_first];
        }
    }
    Block *found = seconds != 0 ? lists_[in_first][std::countr_zero(seconds)] : nullptr;
    // A block of the size's own list fits more tightly, and may be the only one that is large
    // enough.
    Block *candidate = lists_[first][second];
    for (int i = 0; i < kExactFitSteps && candidate != nullptr; ++i) {
        if (candidate->size() >= bytes) {
            found = candidate;
            break;
        }
        candidate = candidate->links().next;
    }
    if (found != nullptr) {
        remove(found);
        check_poison(found);
    }
    return found;
}

// A free block of at least `bytes` from new pages, in no list.
Heap::Block *Heap::grow(size_t bytes) {
    const size_t needed = round_up(bytes + sizeof(Region) + kHeaderBytes, platform::kPageBytes);
    size_t taken = std::max(needed, kGrowBytes);
    void *memory = pages_->allocate(taken / platform::kPageBytes);
    if (memory == nullptr && taken > needed) {
        taken = needed;
        memory = pages_->allocate(taken / platform::kPageBytes);
    }
    if (memory == nullptr) {
        return nullptr;
    }
    auto *region = static_cast<Region *>(memory);
    *region = {regions_, taken / platform::kPageBytes};
    regions_ = region;
    stats_.region_bytes += taken;
    Block *block = region->first_block();
    *block = {taken - sizeof(Region) - kHeaderBytes, 0, 0, 0};
    *block->next() = {kUsed, block->size(), 0, 0};
    poison_head(block);
    return block;
}

// Cuts what `block` (in no list) has beyond `bytes` off its end and frees it.
void Heap::trim(Block *block, size_t bytes) {
    const size_t rest = block->size() - bytes;
    if (rest < kMinBlock) {
        return;
    }
    block->size_used -= rest;
    Block *tail = block->next();
    *tail = {rest, bytes, 0, 0};
    Block *after = tail->next();
    if (!after->used()) {
        remove(after);
        check_poison(after);
        tail->size_used += after->size();
    }
    tail->next()->previous_size = tail->size();
    poison_head(tail);
    insert(tail);
}

void *Heap::allocate(size_t bytes, size_t alignment) {
    if (bytes == 0 || bytes > kMaxRequest || !std::has_single_bit(alignment) ||
        alignment > kMaxAlignment) {
        stats_.failed_allocations += bytes != 0;
        return nullptr;
    }
    const size_t wanted = block_bytes_for(bytes, checked_);
    const bool aligned = alignment > kMinAlignment;
    const size_t search = aligned ? wanted + alignment + kMinBlock : wanted;
    Block *block = find(search);
    if (block == nullptr) {
        block = grow(search);
    }
    if (block == nullptr) {
        ++stats_.failed_allocations;
        return nullptr;
    }
    if (aligned) {
        const auto start = reinterpret_cast<uintptr_t>(block->payload());
        uintptr_t payload = round_up(start, alignment);
        if (payload != start && payload - start < kMinBlock) {
            payload = round_up(start + kMinBlock, alignment);
        }
        if (const size_t gap = payload - start; gap != 0) {
            // The front becomes a free block of its own; what lies before it is in use, or it would
            // have been merged.
            Block *aligned_block = Block::of(reinterpret_cast<void *>(payload));
            *aligned_block = {block->size() - gap, gap, 0, 0};
            aligned_block->next()->previous_size = aligned_block->size();
            block->size_used = gap;
            insert(block);
            block = aligned_block;
        }
    }
    trim(block, wanted);
    use(block, bytes);
    return block->payload();
}

void Heap::use(Block *block, size_t requested) {
    block->size_used |= kUsed;
    stats_.used_bytes += block->size();
    stats_.peak_used_bytes = std::max(stats_.peak_used_bytes, stats_.used_bytes);
    ++stats_.live_allocations;
    ++stats_.total_allocations;
    seal(block, requested);
}

void Heap::unuse(Block *block) {
    stats_.used_bytes -= block->size();
    --stats_.live_allocations;
    block->size_used &= ~kUsed;
}

void Heap::release(void *memory) {
    if (memory == nullptr) {
        return;
    }
    Block *block = live_block(memory, "free of what is no live allocation (freed twice?)");
    unuse(block);
    if (checked_) {
        block->guard = 0;
        __builtin_memset(block->payload(), kPoisonByte, std::min(block->room(), kPoisonBytes));
    }
    give_back(merge_with_neighbours(block));
}

// `block` is free and in no list; so is what it returns.
Heap::Block *Heap::merge_with_neighbours(Block *block) {
    Block *after = block->next();
    if (!after->used()) {
        remove(after);
        check_poison(after);
        block->size_used += after->size();
    }
    if (block->previous_size != 0) {
        Block *before = block->previous();
        if (before->size() != block->previous_size) {
            corrupt("a broken block header", before);
        }
        if (!before->used()) {
            remove(before);
            check_poison(before);
            before->size_used += block->size();
            block = before;
        }
    }
    block->next()->previous_size = block->size();
    poison_head(block);  // a small block's head may have ended in a neighbour's header
    return block;
}

// Puts a free block into its list, or its whole region back to where it came from. One region of
// the ordinary size stays: a program that allocates and frees at the limit does not ask for pages
// each time.
void Heap::give_back(Block *block) {
    if (block->previous_size == 0 && block->next()->is_end()) {
        auto *region = reinterpret_cast<Region *>(block->bytes() - sizeof(Region));
        if (region->bytes() != kGrowBytes || stats_.free_bytes >= kGrowBytes) {
            Region **link = &regions_;
            while (*link != region) {
                link = &(*link)->next;
            }
            *link = region->next;
            stats_.region_bytes -= region->bytes();
            pages_->release(region, region->pages);
            return;
        }
    }
    insert(block);
}

void *Heap::resize(void *memory, size_t bytes) {
    if (memory == nullptr) {
        return allocate(bytes);
    }
    if (bytes == 0) {
        release(memory);
        return nullptr;
    }
    Block *block = live_block(memory, "realloc of what is no live allocation");
    if (bytes > kMaxRequest) {
        ++stats_.failed_allocations;
        return nullptr;
    }
    const size_t wanted = block_bytes_for(bytes, checked_);
    Block *after = block->next();
    if (block->size() < wanted && !after->used() && block->size() + after->size() >= wanted) {
        remove(after);
        check_poison(after);
        stats_.used_bytes += after->size();
        block->size_used += after->size();
        block->next()->previous_size = block->size();
    }
    if (block->size() >= wanted) {
        const size_t before = block->size();
        trim(block, wanted);
        stats_.used_bytes -= before - block->size();
        stats_.peak_used_bytes = std::max(stats_.peak_used_bytes, stats_.used_bytes);
        seal(block, bytes);
        return memory;
    }
    const size_t kept = std::min<size_t>(block->requested, bytes);
    void *moved = allocate(bytes);
    if (moved != nullptr) {
        __builtin_memcpy(moved, memory, kept);
        release(memory);
    }
    return moved;
}

// ---- checked mode

uint64_t Heap::guard_of(const Block *block) const {
    return (reinterpret_cast<uintptr_t>(block) ^ block->size_used ^ (block->requested << 20)) *
               kGuardSeed |
           1;
}

// Records what was asked for, and marks what lies beyond it.
void Heap::seal(Block *block, size_t requested) const {
    block->requested = requested;
    if (checked_) {
        block->guard = guard_of(block);
        __builtin_memset(block->payload() + requested, kTailByte, block->room() - requested);
    }
}

Heap::Block *Heap::live_block(void *memory, const char *what) const {
    if (reinterpret_cast<uintptr_t>(memory) % kUnit != 0 || (checked_ && !owns(memory))) {
        corrupt(what, memory);
    }
    Block *block = Block::of(memory);
    if (!block->used() || (checked_ && block->guard != guard_of(block))) {
        corrupt(what, memory);
    }
    if (checked_) {
        const uint8_t *tail = block->payload() + block->requested;
        const uint8_t *end = block->bytes() + block->size();
        for (; tail != end; ++tail) {
            if (*tail != kTailByte) {
                corrupt("written past the end of the allocation", memory);
            }
        }
        if (block->next()->previous_size != block->size()) {
            corrupt("a broken header after the allocation", memory);
        }
    }
    return block;
}

bool Heap::owns(const void *memory) const {
    const auto address = reinterpret_cast<uintptr_t>(memory);
    for (Region *region = regions_; region != nullptr; region = region->next) {
        const auto start = reinterpret_cast<uintptr_t>(region);
        if (address >= start + sizeof(Region) + kHeaderBytes &&
            address < start + region->bytes() - kHeaderBytes) {
            return true;
        }
    }
    return false;
}

void Heap::poison_head(Block *block) const {
    if (checked_) {
        const size_t room = block->room() - sizeof(Block::Links);
        __builtin_memset(block->payload() + sizeof(Block::Links), kPoisonByte,
                         std::min(room, kPoisonCheckBytes));
    }
}

void Heap::check_poison(Block *block) const {
    if (!checked_) {
        return;
    }
    const size_t room = block->room() - sizeof(Block::Links);
    const uint8_t *byte = block->payload() + sizeof(Block::Links);
    const uint8_t *end = byte + std::min(room, kPoisonCheckBytes);
    for (; byte != end; ++byte) {
        if (*byte != kPoisonByte) {
            corrupt("freed memory was written", byte);
        }
    }
}

}  // namespace bareflow
