// Four-level page tables (SDM 3, 4.5): built, changed and read as plain memory. Pure: where tables
// live and how the processor learns of a change is the caller's business, so that the hosted tests
// walk real tables. Virtual addresses are those of the lower canonical half.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "kernel_lib/base/result.h"

namespace bareflow {

// What a page may do. Writable and executable at once is refused.
struct PageAccess {
    bool writable = false;
    bool executable = false;
    bool device = false;  // uncached
    bool operator==(const PageAccess &) const = default;
};

// Where tables come from. allocate_table returns the physical address of a zeroed page, 0 when
// there is none; table_at gives the 512 entries of a table.
class TableMemory {
  public:
    virtual uint64_t allocate_table() = 0;
    virtual uint64_t *table_at(uint64_t physical) = 0;

  protected:
    ~TableMemory() = default;
};

class PageTables {
  public:
    static constexpr uint64_t kPageBytes = 4096;
    static constexpr uint64_t kLargePageBytes = 2 << 20;
    static constexpr uint64_t kVirtualLimit = uint64_t{1} << 47;

    // Borrows `memory`. no_execute: the processor has the NX bit (without it everything readable is
    // executable, and W^X cannot be had).
    constexpr PageTables(TableMemory &memory, bool no_execute)
        : memory_(&memory), no_execute_(no_execute) {}

    // Address of the top table, for CR3; 0 before the first map().
    [[nodiscard]] uint64_t root() const { return root_; }

    // `virt`, `physical`, `bytes`: multiples of kPageBytes. 2 MiB pages wherever both addresses
    // allow. Replaces what was mapped there. kInvalid: misaligned, out of range, writable and
    // executable; kExhausted: no page for a table (what was mapped until then stays).
    [[nodiscard]] Status map(uint64_t virt, uint64_t physical, uint64_t bytes, PageAccess access);
    // Changes what mapped pages may do; large pages are split as needed. kNotFound: a hole.
    [[nodiscard]] Status protect(uint64_t virt, uint64_t bytes, PageAccess access);
    // Holes are allowed.
    [[nodiscard]] Status unmap(uint64_t virt, uint64_t bytes);

    struct Translation {
        uint64_t physical;
        PageAccess access;
        bool large;
        bool operator==(const Translation &) const = default;
    };
    [[nodiscard]] std::optional<Translation> lookup(uint64_t virt) const;

    // What the processor would find, walked entry by entry: pages of 4 KiB.
    struct Audit {
        uint64_t mapped = 0;
        uint64_t executable = 0;
        uint64_t writable_and_executable = 0;
    };
    [[nodiscard]] Audit audit() const;

  private:
    [[nodiscard]] uint64_t leaf_bits(PageAccess access) const;
    // The entry that maps `virt` at `level` (1: 4 KiB, 2: 2 MiB), tables made on the way; nullptr
    // when there is no page for one.
    [[nodiscard]] uint64_t *entry_at(uint64_t virt, int level, bool create);
    [[nodiscard]] bool split(uint64_t &entry);
    void audit(uint64_t table, int level, Audit &out) const;

    TableMemory *memory_;
    bool no_execute_;
    uint64_t root_ = 0;
};

}  // namespace bareflow
