// Memory for machine code made at run time. It is mapped twice (platform::allocate_code_pages): it
// is written at one address and runs at another, and no address is ever both writable and
// executable. Every region has its own pages and a name, which crash reports show for an address
// inside it. A few bytes of int3 stand before and behind the code: execution that runs past the
// region stops there. Constants lie on pages of their own, which cannot be executed.
//
// When there is no room, open() asks the owner to give up the coldest regions, as long as they are
// colder than the new one. Boot processor only, between two jobs of the worker pool. The caller of
// release() must know that no processor is inside the region.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "kernel_lib/base/result.h"
#include "kernel_lib/base/text_writer.h"
#include "kernel_lib/jit/assembler.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow::jit {

class CodeBuffer {
  public:
    static constexpr size_t kMaxRegions = 128;
    static constexpr size_t kMaxPages = 256;
    static constexpr size_t kNameBytes = 64;
    static constexpr size_t kHeadBytes = 16;  // before the code
    static constexpr size_t kConstantPages = 2;
    static constexpr size_t kConstantBytes = 64;  // constants are allocated in pieces of this size

    // Index of a region while it is in use.
    using Region = uint16_t;

    // Where an address lies. `name` is valid until the region is released.
    struct Place {
        std::string_view name;
        size_t offset;  // from the first instruction
    };

    CodeBuffer() = default;
    // Takes `pages` (1..kMaxPages) for code, and some for constants, from the platform, until the
    // buffer is destroyed. kTooLarge: the platform has none.
    [[nodiscard]] Status create(size_t pages);
    ~CodeBuffer();
    CodeBuffer(const CodeBuffer &) = delete;
    CodeBuffer &operator=(const CodeBuffer &) = delete;

    // Asked when there is no room: true when no processor is inside the region and nobody will
    // enter it again; it is released then.
    using GiveUp = bool (*)(void *owner, Region region);
    void set_give_up(GiveUp give_up, void *owner) {
        give_up_ = give_up;
        owner_ = owner;
    }
    // How much a region is worth, in the owner's measure. kNeverGiveUp at first.
    static constexpr uint64_t kNeverGiveUp = ~uint64_t{0};
    void set_heat(Region region, uint64_t heat) { regions_[region].heat = heat; }

    // A new region that can be written: at least `bytes` of code, all int3, and `constant_bytes` of
    // constants. The name is copied, and cut if it is long. Only regions colder than `heat` may be
    // given up for it. kExhausted: no room.
    [[nodiscard]] Result<Region> open(std::string_view name, size_t bytes,
                                      size_t constant_bytes = 0, uint64_t heat = 0);
    [[nodiscard]] std::span<uint8_t> room(Region region);
    // For the assembler that writes into room().
    [[nodiscard]] ConstantPool constants(Region region);
    // The first `bytes` of its room are code now: every processor may run it at the address that is
    // returned. Pages that it does not need become free again.
    [[nodiscard]] const void *seal(Region region, size_t bytes);
    void release(Region region);

    [[nodiscard]] std::optional<Place> lookup(uintptr_t address) const;
    // The same over all buffers, for crash reports (cpu/exception_frame.h).
    static void name_address(uint64_t address, TextWriter &out);
    // Bytes of code in a region; 0 while it is open.
    [[nodiscard]] size_t code_bytes(Region region) const { return regions_[region].bytes; }
    [[nodiscard]] size_t pages_in_use() const { return pages_in_use_; }
    [[nodiscard]] size_t pages() const { return pages_; }

  private:
    struct RegionState {
        uint16_t first_page = 0;
        uint16_t page_count = 0;  // 0: not in use
        uint16_t first_constant = 0;
        uint16_t constant_count = 0;
        uint32_t bytes = 0;
        bool sealed = false;
        bool refused = false;  // its owner did not give it up for the present open()
        uint8_t name_len = 0;
        uint64_t heat = kNeverGiveUp;
        std::array<char, kNameBytes> name{};
    };

    static constexpr size_t kConstants = kConstantPages * platform::kPageBytes / kConstantBytes;

    // Code page `index`, where it is written.
    [[nodiscard]] uint8_t *page(size_t index) const;
    // Distance from the writable address to the one where the code runs.
    [[nodiscard]] ptrdiff_t alias() const { return memory_.runnable - memory_.writable; }
    [[nodiscard]] bool place(RegionState &region, size_t pages, size_t constants);
    [[nodiscard]] bool give_up_coldest(uint64_t below);
    void free_pages(size_t first, size_t count);

    CodeBuffer *next_ = nullptr;  // of all that were created
    platform::CodePages memory_;
    GiveUp give_up_ = nullptr;
    void *owner_ = nullptr;
    size_t pages_ = 0;
    size_t pages_in_use_ = 0;
    std::array<bool, kMaxPages> used_{};
    std::array<bool, kConstants> constant_used_{};
    std::array<RegionState, kMaxRegions> regions_{};
};

}  // namespace bareflow::jit
