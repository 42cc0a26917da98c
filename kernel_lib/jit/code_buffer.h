// Memory for machine code made at run time. Code is written first and sealed then: a page is either
// writable or executable, never both (platform::make_executable). Every region has its own pages,
// so that opening one never touches another that may be running, and a name, so that an address
// inside it can be told to a person. A few bytes of int3 stand before the code: what runs on past
// the region below stops there, and tools that look before a function find memory.
//
// When the pages run out, open() refuses (kExhausted): what to give up is the caller's decision.
// Boot processor only; whoever releases a region knows that no processor is inside it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "kernel_lib/base/result.h"
#include "kernel_lib/base/text_writer.h"

namespace bareflow::jit {

class CodeBuffer {
  public:
    static constexpr size_t kMaxRegions = 128;
    static constexpr size_t kMaxPages = 256;
    static constexpr size_t kNameBytes = 64;
    static constexpr size_t kHeadBytes = 16;  // before the code

    // Index of a region while it is in use.
    using Region = uint16_t;

    // Where an address lies. `name` is valid until the region is released.
    struct Place {
        std::string_view name;
        size_t offset;  // from the first instruction
    };

    CodeBuffer() = default;
    // Takes `pages` (1..kMaxPages) from the platform for good; kTooLarge when it has none.
    [[nodiscard]] Status create(size_t pages);
    ~CodeBuffer();
    CodeBuffer(const CodeBuffer &) = delete;
    CodeBuffer &operator=(const CodeBuffer &) = delete;

    // A new region that can be written, of at least `bytes`, all int3. The name is copied (and
    // cut).
    [[nodiscard]] Result<Region> open(std::string_view name, size_t bytes);
    [[nodiscard]] std::span<uint8_t> room(Region region);
    // The first `bytes` of its room are code now; pages that are not needed become free again.
    // On failure the region is released.
    [[nodiscard]] Result<const void *> seal(Region region, size_t bytes);
    void release(Region region);

    [[nodiscard]] std::optional<Place> lookup(uintptr_t address) const;
    // The same in all buffers there are, for crash reports (cpu/exception_frame.h).
    static void name_address(uint64_t address, TextWriter &out);
    // Of the code in a region, 0 while it is open.
    [[nodiscard]] size_t code_bytes(Region region) const { return regions_[region].bytes; }
    [[nodiscard]] size_t pages_in_use() const { return pages_in_use_; }
    [[nodiscard]] size_t pages() const { return pages_; }

  private:
    struct RegionState {
        uint16_t first_page = 0;
        uint16_t page_count = 0;  // 0: not in use
        uint32_t bytes = 0;
        bool sealed = false;
        uint8_t name_len = 0;
        std::array<char, kNameBytes> name{};
    };

    [[nodiscard]] uint8_t *page(size_t index) const;
    void free_pages(size_t first, size_t count);

    CodeBuffer *next_ = nullptr;  // of all that were created
    uint8_t *memory_ = nullptr;
    size_t pages_ = 0;
    size_t pages_in_use_ = 0;
    std::array<bool, kMaxPages> used_{};
    std::array<RegionState, kMaxRegions> regions_{};
};

}  // namespace bareflow::jit
