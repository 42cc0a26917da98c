// What must hold:
// No page is ever writable and executable at one address.
// A region is released only when its owner says that no processor is inside it.
// Released code becomes int3 before reuse.
#include "kernel_lib/jit/code_buffer.h"

#include <algorithm>

#include "kernel_lib/cpu/exception_frame.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow::jit {

namespace {

constexpr uint8_t kInt3 = 0xcc;

constinit CodeBuffer *all_buffers = nullptr;

}  // namespace

Status CodeBuffer::create(size_t pages) {
    if (memory_.writable != nullptr || pages == 0 || pages > kMaxPages) {
        platform::panic("code buffer of a wrong size");
    }
    BF_TRY(platform::allocate_code_pages(kConstantPages, pages, memory_));
    pages_ = pages;
    __builtin_memset(page(0), kInt3, pages * platform::kPageBytes);
    next_ = all_buffers;
    all_buffers = this;
    set_address_namer(name_address);
    return {};
}

CodeBuffer::~CodeBuffer() {
    if (memory_.writable == nullptr) {
        return;
    }
    CodeBuffer **link = &all_buffers;
    while (*link != this) {
        link = &(*link)->next_;
    }
    *link = next_;
    platform::free_code_pages(memory_, kConstantPages + pages_);
}

uint8_t *CodeBuffer::page(size_t index) const {
    return memory_.writable + (kConstantPages + index) * platform::kPageBytes;
}

namespace {

// Takes the first run of `wanted` free pages and returns its index; used.size(): there is none.
size_t take_run(std::span<bool> used, size_t wanted) {
    size_t run = 0;  // free ones up to `end`
    size_t end = 0;
    while (end < used.size() && run < wanted) {
        run = used[end++] ? 0 : run + 1;
    }
    if (run < wanted) {
        return used.size();
    }
    std::fill_n(used.begin() + static_cast<ptrdiff_t>(end - wanted), wanted, true);
    return end - wanted;
}

}  // namespace

bool CodeBuffer::place(RegionState &region, size_t pages, size_t constants) {
    const size_t first = take_run(std::span(used_).first(pages_), pages);
    if (first == pages_) {
        return false;
    }
    const size_t constant = take_run(constant_used_, constants);
    if (constant == kConstants && constants != 0) {
        std::fill_n(used_.begin() + static_cast<ptrdiff_t>(first), pages, false);
        return false;
    }
    region = {};
    region.first_page = static_cast<uint16_t>(first);
    region.page_count = static_cast<uint16_t>(pages);
    region.first_constant = static_cast<uint16_t>(constant);
    region.constant_count = static_cast<uint16_t>(constants);
    pages_in_use_ += pages;
    return true;
}

bool CodeBuffer::give_up_coldest(uint64_t below) {
    RegionState *coldest = nullptr;
    for (RegionState &r : regions_) {
        if (r.sealed && !r.refused && r.heat < below) {
            below = r.heat;
            coldest = &r;
        }
    }
    if (coldest == nullptr || give_up_ == nullptr) {
        return false;
    }
    const auto region = static_cast<Region>(coldest - regions_.data());
    if (give_up_(owner_, region)) {
        release(region);
    } else {
        coldest->refused = true;
    }
    return true;
}

Result<CodeBuffer::Region> CodeBuffer::open(std::string_view name, size_t bytes,
                                            size_t constant_bytes, uint64_t heat) {
    // In two parts, so that nothing overflows.
    const size_t pages = bytes / platform::kPageBytes +
                         (bytes % platform::kPageBytes + kHeadBytes + platform::kPageBytes - 1) /
                             platform::kPageBytes;
    const size_t constants =
        constant_bytes / kConstantBytes + (constant_bytes % kConstantBytes != 0);
    const Error full{ErrorCode::kExhausted, "no room for generated code"};
    if (bytes == 0 || pages > pages_ || constants > kConstants) {
        return full;
    }
    for (RegionState &r : regions_) {
        r.refused = false;
    }
    while (true) {
        const auto region =
            std::ranges::find(regions_, 0, [](const RegionState &r) { return r.page_count; });
        if (region != regions_.end() && place(*region, pages, constants)) {
            region->name_len = static_cast<uint8_t>(std::min(name.size(), kNameBytes));
            std::copy_n(name.begin(), region->name_len, region->name.begin());
            return static_cast<Region>(region - regions_.begin());
        }
        if (!give_up_coldest(heat)) {
            return full;
        }
    }
}

std::span<uint8_t> CodeBuffer::room(Region region) {
    const RegionState &r = regions_[region];
    if (r.page_count == 0 || r.sealed) {
        platform::panic("code written outside an open region");
    }
    return {page(r.first_page) + kHeadBytes, r.page_count * platform::kPageBytes - kHeadBytes};
}

ConstantPool CodeBuffer::constants(Region region) {
    const RegionState &r = regions_[region];
    uint8_t *const first = memory_.writable + r.first_constant * kConstantBytes;
    return {{first, r.constant_count * kConstantBytes}, first - room(region).data()};
}

const void *CodeBuffer::seal(Region region, size_t bytes) {
    if (bytes > room(region).size() || bytes == 0) {
        platform::panic("more code than its region holds");
    }
    RegionState &r = regions_[region];
    const size_t needed = (kHeadBytes + bytes + platform::kPageBytes - 1) / platform::kPageBytes;
    free_pages(r.first_page + needed, r.page_count - needed);
    r.page_count = static_cast<uint16_t>(needed);
    r.bytes = static_cast<uint32_t>(bytes);
    r.sealed = true;
    platform::publish_code();
    return page(r.first_page) + kHeadBytes + alias();
}

void CodeBuffer::release(Region region) {
    RegionState &r = regions_[region];
    if (r.page_count == 0) {
        platform::panic("code region released twice");
    }
    free_pages(r.first_page, r.page_count);
    std::fill_n(constant_used_.begin() + r.first_constant, r.constant_count, false);
    r = {};
}

// A processor that is still inside, which must not happen, stops at the next instruction.
void CodeBuffer::free_pages(size_t first, size_t count) {
    __builtin_memset(page(first), kInt3, count * platform::kPageBytes);
    std::fill_n(used_.begin() + static_cast<ptrdiff_t>(first), count, false);
    pages_in_use_ -= count;
}

std::optional<CodeBuffer::Place> CodeBuffer::lookup(uintptr_t address) const {
    for (const RegionState &r : regions_) {
        const auto start = reinterpret_cast<uintptr_t>(page(r.first_page) + alias()) + kHeadBytes;
        if (r.page_count != 0 &&
            address - start < r.page_count * platform::kPageBytes - kHeadBytes) {
            return Place{{r.name.data(), r.name_len}, address - start};
        }
    }
    return std::nullopt;
}

void CodeBuffer::name_address(uint64_t address, TextWriter &out) {
    for (const CodeBuffer *buffer = all_buffers; buffer != nullptr; buffer = buffer->next_) {
        if (const std::optional<Place> place = buffer->lookup(address)) {
            out.put(" in ", place->name, " + 0x", Hex{place->offset, 1});
            return;
        }
    }
}

}  // namespace bareflow::jit
