// Tables are walked and made entry by entry. What must hold: no entry is both writable and
// executable, and a large page that is split maps the same memory before and after.
#include "kernel_lib/memory/paging.h"

namespace bareflow {

namespace {

// SDM 3, tables 4-15 to 4-20.
constexpr uint64_t kPresent = 1 << 0;
constexpr uint64_t kWritable = 1 << 1;
constexpr uint64_t kWriteThrough = 1 << 3;
constexpr uint64_t kCacheDisable = 1 << 4;
constexpr uint64_t kAccessed = 1 << 5;
constexpr uint64_t kDirty = 1 << 6;
constexpr uint64_t kLarge = 1 << 7;
constexpr uint64_t kNoExecute = uint64_t{1} << 63;
constexpr uint64_t kAddressMask = 0x000F'FFFF'FFFF'F000;
constexpr int kEntries = 512;
constexpr int kTopLevel = 4;

constexpr size_t index_of(uint64_t virt, int level) {
    return virt >> (12 + 9 * (level - 1)) & (kEntries - 1);
}

Status check_range(uint64_t virt, uint64_t physical, uint64_t bytes) {
    if (((virt | physical | bytes) & (PageTables::kPageBytes - 1)) != 0) {
        return Error{ErrorCode::kInvalid, "mapping is not made of whole pages"};
    }
    if (virt > PageTables::kVirtualLimit || bytes > PageTables::kVirtualLimit - virt ||
        (physical & ~kAddressMask) != 0) {
        return Error{ErrorCode::kInvalid, "mapping is outside the address space"};
    }
    return {};
}

}  // namespace

// Accessed and dirty are set beforehand: the processor need not write the tables back.
uint64_t PageTables::leaf_bits(PageAccess access) const {
    uint64_t bits = kPresent | kAccessed;
    bits |= access.writable ? kWritable | kDirty : 0;
    bits |= access.device ? kCacheDisable | kWriteThrough : 0;
    bits |= no_execute_ && !access.executable ? kNoExecute : 0;
    return bits;
}

bool PageTables::split(uint64_t &entry) {
    const uint64_t table = memory_->allocate_table();
    if (table == 0) {
        return false;
    }
    uint64_t *entries = memory_->table_at(table);
    for (uint64_t i = 0; i < kEntries; ++i) {
        entries[i] = (entry & ~kLarge) + i * kPageBytes;
    }
    entry = table | kPresent | kWritable | kAccessed;
    return true;
}

uint64_t *PageTables::entry_at(uint64_t virt, int level, bool create) {
    if (root_ == 0) {
        root_ = create ? memory_->allocate_table() : 0;
        if (root_ == 0) {
            return nullptr;
        }
    }
    uint64_t *table = memory_->table_at(root_);
    for (int at = kTopLevel; at > level; --at) {
        uint64_t &entry = table[index_of(virt, at)];
        if ((entry & kPresent) == 0) {
            if (!create) {
                return nullptr;
            }
            const uint64_t next = memory_->allocate_table();
            if (next == 0) {
                return nullptr;
            }
            entry = next | kPresent | kWritable | kAccessed;
        } else if ((entry & kLarge) != 0 && !split(entry)) {
            return nullptr;
        }
        table = memory_->table_at(entry & kAddressMask);
    }
    return &table[index_of(virt, level)];
}

Status PageTables::map(uint64_t virt, uint64_t physical, uint64_t bytes, PageAccess access) {
    BF_TRY(check_range(virt, physical, bytes));
    if (access.writable && access.executable) {
        return Error{ErrorCode::kInvalid, "a page may not be both writable and executable"};
    }
    const uint64_t bits = leaf_bits(access);
    while (bytes != 0) {
        const bool large =
            ((virt | physical) & (kLargePageBytes - 1)) == 0 && bytes >= kLargePageBytes;
        const uint64_t step = large ? kLargePageBytes : kPageBytes;
        uint64_t *entry = entry_at(virt, large ? 2 : 1, true);
        if (entry == nullptr) {
            return Error{ErrorCode::kExhausted, "no memory for page tables"};
        }
        // A table of small pages that a large page replaces is left behind: mappings of devices and
        // memory never change that way.
        *entry = physical | bits | (large ? kLarge : 0);
        virt += step;
        physical += step;
        bytes -= step;
    }
    return {};
}

Status PageTables::protect(uint64_t virt, uint64_t bytes, PageAccess access) {
    BF_TRY(check_range(virt, 0, bytes));
    if (access.writable && access.executable) {
        return Error{ErrorCode::kInvalid, "a page may not be both writable and executable"};
    }
    for (uint64_t at = virt; at < virt + bytes; at += kPageBytes) {
        if (!lookup(at)) {
            return Error{ErrorCode::kNotFound, "no memory is mapped there"};
        }
    }
    const uint64_t bits = leaf_bits(access);
    while (bytes != 0) {
        const bool whole =
            (virt & (kLargePageBytes - 1)) == 0 && bytes >= kLargePageBytes && lookup(virt)->large;
        uint64_t *entry = entry_at(virt, whole ? 2 : 1, false);
        if (entry == nullptr) {
            return Error{ErrorCode::kExhausted, "no memory for page tables"};
        }
        *entry = (*entry & (kAddressMask | (whole ? kLarge : 0))) | bits;
        const uint64_t step = whole ? kLargePageBytes : kPageBytes;
        virt += step;
        bytes -= step;
    }
    return {};
}

Status PageTables::unmap(uint64_t virt, uint64_t bytes) {
    BF_TRY(check_range(virt, 0, bytes));
    while (bytes != 0) {
        if (lookup(virt)) {
            uint64_t *entry = entry_at(virt, 1, false);
            if (entry == nullptr) {
                return Error{ErrorCode::kExhausted, "no memory for page tables"};
            }
            *entry = 0;
        }
        virt += kPageBytes;
        bytes -= kPageBytes;
    }
    return {};
}

std::optional<PageTables::Translation> PageTables::lookup(uint64_t virt) const {
    if (root_ == 0 || virt >= kVirtualLimit) {
        return std::nullopt;
    }
    uint64_t table = root_;
    for (int level = kTopLevel; level >= 1; --level) {
        const uint64_t entry = memory_->table_at(table)[index_of(virt, level)];
        if ((entry & kPresent) == 0) {
            return std::nullopt;
        }
        if (level == 1 || (entry & kLarge) != 0) {
            const uint64_t page_bytes = level == 1 ? kPageBytes : kLargePageBytes;
            const PageAccess access{
                .writable = (entry & kWritable) != 0,
                .executable = (entry & kNoExecute) == 0,
                .device = (entry & kCacheDisable) != 0,
            };
            const uint64_t base = entry & kAddressMask & ~(page_bytes - 1);
            return Translation{base + (virt & (page_bytes - 1)), access, level == 2};
        }
        table = entry & kAddressMask;
    }
    return std::nullopt;
}

PageTables::Audit PageTables::audit() const {
    Audit out;
    if (root_ != 0) {
        audit(root_, kTopLevel, out);
    }
    return out;
}

// Only leaves restrict here: the tables above them let everything through.
void PageTables::audit(uint64_t table, int level, Audit &out) const {
    for (size_t i = 0; i < kEntries; ++i) {
        const uint64_t entry = memory_->table_at(table)[i];
        if ((entry & kPresent) == 0) {
            continue;
        }
        if (level > 1 && (entry & kLarge) == 0) {
            audit(entry & kAddressMask, level - 1, out);
            continue;
        }
        const uint64_t count = uint64_t{1} << 9 * (level - 1);
        const bool executable = (entry & kNoExecute) == 0;
        out.mapped += count;
        out.executable += executable ? count : 0;
        out.writable_and_executable += executable && (entry & kWritable) != 0 ? count : 0;
    }
}

}  // namespace bareflow
