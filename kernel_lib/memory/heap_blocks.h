// How a Heap lays its memory out. For heap.cpp and heap_check_hosted.cpp only.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernel_lib/memory/heap.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow {

namespace heap_layout {

inline constexpr size_t kUnit = 16;
inline constexpr uint64_t kUsed = 1;  // lowest bit of Block::size_used
inline constexpr size_t kHeaderBytes = 32;
inline constexpr size_t kMinBlock = 64;  // a header, two links, and something to poison

}  // namespace heap_layout

struct Heap::Block {
    uint64_t size_used;      // bytes with this header, a multiple of 16; bit 0: in use
    uint64_t previous_size;  // of the block before it in memory; 0: the region's first
    uint64_t requested;      // what the caller asked for
    uint64_t guard;          // checked mode: guard_of() while in use

    [[nodiscard]] size_t size() const { return size_used & ~heap_layout::kUsed; }
    [[nodiscard]] bool used() const { return (size_used & heap_layout::kUsed) != 0; }
    [[nodiscard]] uint8_t *bytes() { return reinterpret_cast<uint8_t *>(this); }
    [[nodiscard]] uint8_t *payload() { return bytes() + sizeof(Block); }
    [[nodiscard]] size_t room() const { return size() - sizeof(Block); }
    [[nodiscard]] Block *next() { return reinterpret_cast<Block *>(bytes() + size()); }
    [[nodiscard]] Block *previous() { return reinterpret_cast<Block *>(bytes() - previous_size); }
    [[nodiscard]] bool is_end() const { return size_used == heap_layout::kUsed; }

    // The payload of a free block begins with these.
    struct Links {
        Block *next;
        Block *previous;
    };
    [[nodiscard]] Links &links() { return *reinterpret_cast<Links *>(payload()); }
    static Block *of(void *payload) {
        return reinterpret_cast<Block *>(static_cast<uint8_t *>(payload) - sizeof(Block));
    }
};

struct Heap::Region {
    Region *next;
    size_t pages;

    [[nodiscard]] size_t bytes() const { return pages * platform::kPageBytes; }
    [[nodiscard]] Block *first_block() {
        return reinterpret_cast<Block *>(reinterpret_cast<uint8_t *>(this) + sizeof(Region));
    }
};

}  // namespace bareflow
