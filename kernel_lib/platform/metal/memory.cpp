// Pages: the metal half of platform.h that is about memory. See docs/decisions/0002 for the map.
#include <array>
#include <atomic>

#include "kernel_lib/cpu/privileged.h"
#include "kernel_lib/cpu/worker_pool.h"
#include "kernel_lib/memory/page_allocator.h"
#include "kernel_lib/memory/paging.h"
#include "kernel_lib/platform/metal/device_memory.h"
#include "kernel_lib/platform/metal/memory_setup.h"
#include "kernel_lib/platform/platform.h"

// boot/link.ld
extern "C" char kernel_begin[], kernel_text_begin[], kernel_text_end[], kernel_rodata_begin[],
    kernel_rodata_end[], kernel_data_begin[], kernel_end[], boot_stack_guard[], boot_stack_bottom[],
    exception_stack_guard[], exception_stack_bottom[], double_fault_stack_guard[],
    double_fault_stack_bottom[], nmi_stack_guard[], nmi_stack_bottom[];

namespace bareflow {

namespace {

constexpr uint64_t kPage = platform::kPageBytes;
constexpr uint64_t kLowEnd = 0x10'0000;
// Generated code runs this far above where it is written: above all memory, in the lower half.
constexpr uint64_t kCodeAlias = uint64_t{1} << 46;
constexpr uint64_t kVideoBegin = 0xA'0000;
constexpr uint64_t kVideoEnd = 0xC'0000;

constexpr PageAccess kReadOnly{};
constexpr PageAccess kReadWrite{.writable = true};
constexpr PageAccess kReadExecute{.executable = true};
constexpr PageAccess kDevice{.writable = true, .device = true};

constexpr size_t kMaxFreeRuns = 512;
constexpr size_t kMaxUsableRanges = 256;

struct Guard {
    const char *begin;
    const char *end;
    std::string_view meaning;
};
constexpr std::array kGuards = {
    Guard{boot_stack_guard, boot_stack_bottom,
          "stack overflow: the boot stack ran into its guard page"},
    Guard{exception_stack_guard, exception_stack_bottom,
          "stack overflow: the exception stack ran out"},
    Guard{double_fault_stack_guard, double_fault_stack_bottom,
          "stack overflow: the double fault stack ran out"},
    Guard{nmi_stack_guard, nmi_stack_bottom, "stack overflow: the NMI stack ran out"},
};

constinit std::array<AddressRange, kMaxFreeRuns> free_storage{};
constinit PageAllocator pages{free_storage};
constinit std::array<AddressRange, kMaxUsableRanges> usable_storage{};
constinit RangeSet usable{usable_storage};

// Tables are pages like any other. All memory is mapped one to one, also in the boot code's
// temporary tables as far as 4 GiB. Single pages come from below.
class MetalTables final : public TableMemory {
  public:
    uint64_t allocate_table() override {
        const std::optional<uint64_t> page = pages.allocate(1);
        if (!page) {
            return 0;
        }
        __builtin_memset(table_at(*page), 0, kPage);
        return *page;
    }
    uint64_t *table_at(uint64_t physical) override {
        return reinterpret_cast<uint64_t *>(physical);
    }
};
constinit MetalTables table_memory;
constinit PageTables tables{table_memory, false};
constinit std::atomic<uint32_t> translations = 0;

// Holes below the stacks of the other processors.
constexpr size_t kMaxHoles = 3 * WorkerPool::kMaxProcessors;
constinit std::array<uint64_t, kMaxHoles> holes{};
constinit size_t hole_count = 0;

uint64_t address_of(const void *pointer) {
    return reinterpret_cast<uint64_t>(pointer);
}
uint64_t page_down(uint64_t address) {
    return address & ~(kPage - 1);
}
uint64_t page_up(uint64_t address) {
    return page_down(address + kPage - 1);
}

Status map_same(uint64_t begin, uint64_t end, PageAccess access) {
    return begin < end ? tables.map(begin, begin, end - begin, access) : Status{};
}

// Everything that was changed may sit in the translation buffers; those of the other processors are
// flushed before they do any more work (translation_count).
void flush_translations() {
    translations.fetch_add(1, std::memory_order_relaxed);
    write_cr3(tables.root());
}

Status map_everything(const BootInfo &info, uint64_t local_apic) {
    const uint64_t kernel_first = address_of(kernel_begin);
    const uint64_t kernel_last = address_of(kernel_end);

    // Below 1 MiB: page zero stays a hole, screen memory is a device, ROM is for reading.
    BF_TRY(map_same(kPage, kVideoBegin, kReadWrite));
    BF_TRY(map_same(kVideoBegin, kVideoEnd, kDevice));
    BF_TRY(map_same(kVideoEnd, kLowEnd, kReadOnly));

    BF_TRY(map_same(address_of(kernel_text_begin), address_of(kernel_text_end), kReadExecute));
    BF_TRY(map_same(address_of(kernel_rodata_begin), address_of(kernel_rodata_end), kReadOnly));
    BF_TRY(map_same(address_of(kernel_data_begin), kernel_last, kReadWrite));
    for (const Guard &guard : kGuards) {
        BF_TRY(
            tables.unmap(address_of(guard.begin), address_of(guard.end) - address_of(guard.begin)));
    }

    for (const AddressRange &range : usable.ranges()) {
        BF_TRY(map_same(range.begin < kLowEnd ? kLowEnd : range.begin,
                        range.end < kernel_first ? range.end : kernel_first, kReadWrite));
        BF_TRY(
            map_same(range.begin > kernel_last ? range.begin : kernel_last, range.end, kReadWrite));
    }
    // A module may lie outside of what the map calls usable. It is mapped for reading all the same.
    const uint64_t initrd_end = info.initrd + info.initrd_len_bytes;
    const AddressRange initrd{page_down(info.initrd), page_up(initrd_end)};
    if (info.initrd_len_bytes != 0 && !usable.contains(initrd)) {
        if (initrd_end < info.initrd || info.initrd < kernel_last) {
            return Error{ErrorCode::kInvalid, "the initrd lies where it cannot be"};
        }
        BF_TRY(map_same(initrd.begin, initrd.end, kReadOnly));
    }
    if (local_apic != 0) {
        BF_TRY(map_same(local_apic, local_apic + kPage, kDevice));
    }
    return {};
}

bool is_allocatable(const void *start, size_t count) {
    const uint64_t begin = address_of(start);
    return begin % kPage == 0 && count != 0 && count <= (~uint64_t{0} - begin) / kPage &&
           begin >= address_of(kernel_end) && usable.contains({begin, begin + count * kPage});
}

// Whole pages around [physical, physical + bytes), or an empty range when that is impossible.
AddressRange device_range(uint64_t physical, size_t bytes) {
    if (bytes == 0 || physical >= PageTables::kVirtualLimit ||
        bytes > PageTables::kVirtualLimit - physical) {
        return {};
    }
    return {page_down(physical), page_up(physical + bytes)};
}

}  // namespace

Status init_memory(const BootInfo &info, bool no_execute, uint64_t local_apic) {
    const std::span map(info.memory_ranges, info.memory_range_count);
    usable_memory(map, usable);
    const std::array reserved = {
        AddressRange{0, kLowEnd},
        AddressRange{address_of(kernel_begin), address_of(kernel_end)},
        AddressRange{info.initrd, info.initrd + info.initrd_len_bytes},
    };
    pages.init(map, reserved);
    tables = PageTables{table_memory, no_execute};
    BF_TRY(map_everything(info, local_apic));
    flush_translations();
    return {};
}

Status protect_low_page(uint64_t address, bool executable) {
    if (address % kPage != 0 || address == 0 || address >= kVideoBegin ||
        !usable.contains({address, address + kPage})) {
        return Error{ErrorCode::kInvalid, "this page is not the program's to change"};
    }
    const Status changed = tables.protect(address, kPage, executable ? kReadExecute : kReadWrite);
    flush_translations();
    return changed;
}

uint64_t allocate_stack(size_t page_count) {
    void *const run = platform::allocate_pages_unzeroed(page_count + 1);
    if (run == nullptr) {
        return 0;
    }
    if (hole_count == holes.size() || !tables.unmap(address_of(run), kPage)) {
        platform::free_pages(run, page_count + 1);
        return 0;
    }
    flush_translations();
    holes[hole_count++] = address_of(run);
    return address_of(run) + (page_count + 1) * kPage;
}

uint32_t translation_count() {
    return translations.load(std::memory_order_relaxed);
}

PageTables::Audit audit_page_tables() {
    return tables.audit();
}

bool is_readable(uint64_t address) {
    const auto mapped = [](uint64_t at) {
        const std::optional<PageTables::Translation> page = tables.lookup(at);
        return page && !page->access.device;
    };
    return address <= ~uint64_t{15} && mapped(address) && mapped(address + 15);
}

std::string_view explain_fault(uint64_t address) {
    if (address < kPage) {
        return "a null pointer, or close to one";
    }
    for (const Guard &guard : kGuards) {
        if (address >= address_of(guard.begin) && address < address_of(guard.end)) {
            return guard.meaning;
        }
    }
    for (const uint64_t hole : std::span(holes).first(hole_count)) {
        if (address >= hole && address < hole + kPage) {
            return "stack overflow: a stack of this processor ran into its guard page";
        }
    }
    if (address >= address_of(kernel_text_begin) && address < address_of(kernel_text_end)) {
        return "the program's own code";
    }
    if (address >= address_of(kernel_rodata_begin) && address < address_of(kernel_rodata_end)) {
        return "the program's constants";
    }
    return {};
}

void *map_device_memory(uint64_t physical, size_t bytes) {
    const AddressRange range = device_range(physical, bytes);
    if (range.size() == 0 || range.begin < kLowEnd || usable.overlaps(range)) {
        return nullptr;
    }
    const bool mapped = map_same(range.begin, range.end, kDevice).ok();
    flush_translations();
    return mapped ? reinterpret_cast<void *>(physical) : nullptr;
}

const void *map_firmware_memory(uint64_t physical, size_t bytes) {
    const AddressRange range = device_range(physical, bytes);
    if (range.size() == 0 || range.begin == 0) {
        return nullptr;
    }
    for (uint64_t page = range.begin; page < range.end; page += kPage) {
        if (!tables.lookup(page) && !map_same(page, page + kPage, kReadOnly)) {
            return nullptr;
        }
    }
    return reinterpret_cast<const void *>(physical);
}

namespace platform {

void *allocate_pages_unzeroed(size_t count) {
    const std::optional<uint64_t> run = pages.allocate(count);
    return run ? reinterpret_cast<void *>(*run) : nullptr;
}

void *allocate_pages(size_t count) {
    void *memory = allocate_pages_unzeroed(count);
    if (memory != nullptr) {
        __builtin_memset(memory, 0, count * kPage);
    }
    return memory;
}

void free_pages(void *memory, size_t count) {
    if (memory == nullptr) {
        return;
    }
    if (!is_allocatable(memory, count)) {
        panic("free_pages: not a run of pages that was handed out");
    }
    if (!pages.release(address_of(memory), count)) {
        panic("free_pages: freed twice");
    }
}

void *allocate_guarded_pages(size_t count) {
    constexpr size_t kHoles = 2;
    void *const run = count > SIZE_MAX - kHoles ? nullptr : allocate_pages(count + kHoles);
    if (run == nullptr) {
        return nullptr;
    }
    const uint64_t first = address_of(run);
    const uint64_t last = first + (count + 1) * kPage;
    if (!tables.unmap(first, kPage) || !tables.unmap(last, kPage)) {
        // No page for a table, so what is unmapped needs none to be mapped again.
        (void)map_same(first, first + kPage, kReadWrite).ok();
        (void)pages.release(first, count + kHoles);
        return nullptr;
    }
    flush_translations();
    return reinterpret_cast<void *>(first + kPage);
}

void free_guarded_pages(void *memory, size_t count) {
    if (memory == nullptr) {
        return;
    }
    const uint64_t first = address_of(memory) - kPage;
    const uint64_t last = first + (count + 1) * kPage;
    // The tables exist already, because the holes were part of them.
    if (!map_same(first, first + kPage, kReadWrite) || !map_same(last, last + kPage, kReadWrite)) {
        panic("free_guarded_pages: not what was handed out");
    }
    flush_translations();
    free_pages(reinterpret_cast<void *>(first), count + 2);
}

uint64_t free_memory_bytes() {
    return pages.free_bytes();
}
uint64_t total_memory_bytes() {
    return usable.total_bytes();
}

Status allocate_code_pages(size_t constant_pages, size_t code_pages, CodePages &out) {
    const size_t count = constant_pages + code_pages;
    void *const memory = allocate_pages(count);
    if (memory == nullptr) {
        return {ErrorCode::kTooLarge, "no memory for generated code"};
    }
    const uint64_t physical = address_of(memory);
    const uint64_t alias = kCodeAlias + physical;
    const uint64_t constant_bytes = constant_pages * kPage;
    Status mapped = tables.map(alias, physical, constant_bytes, kReadOnly);
    if (mapped) {
        mapped = tables.map(alias + constant_bytes, physical + constant_bytes, code_pages * kPage,
                            kReadExecute);
    }
    out = {static_cast<uint8_t *>(memory), reinterpret_cast<const uint8_t *>(alias)};
    if (!mapped) {
        free_code_pages(out, count);
    }
    flush_translations();
    return mapped;
}

void free_code_pages(const CodePages &code, size_t count) {
    if (code.writable == nullptr) {
        return;
    }
    // Whole pages of a table that is there: nothing to run out of.
    (void)tables.unmap(address_of(code.runnable), count * kPage).ok();
    flush_translations();
    free_pages(code.writable, count);
}

// Loading CR3 is serialising (SDM 3, 8.3), here and in worker_synchronize, which sees the count.
void publish_code() {
    flush_translations();
}

uint64_t physical_address(const void *address) {
    return address_of(address);
}

}  // namespace platform

}  // namespace bareflow
