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
    if (memory_ != nullptr || pages == 0 || pages > kMaxPages) {
        platform::panic("code buffer of a wrong size");
    }
    memory_ = static_cast<uint8_t *>(platform::allocate_pages(pages));
    if (memory_ == nullptr) {
        return {ErrorCode::kTooLarge, "no memory for generated code"};
    }
    pages_ = pages;
    next_ = all_buffers;
    all_buffers = this;
    set_address_namer(name_address);
    return {};
}

CodeBuffer::~CodeBuffer() {
    for (size_t i = 0; i < kMaxRegions; ++i) {
        if (regions_[i].page_count != 0) {
            release(static_cast<Region>(i));
        }
    }
    if (memory_ != nullptr) {
        CodeBuffer **link = &all_buffers;
        while (*link != this) {
            link = &(*link)->next_;
        }
        *link = next_;
        platform::free_pages(memory_, pages_);
    }
}

uint8_t *CodeBuffer::page(size_t index) const {
    return memory_ + index * platform::kPageBytes;
}

Result<CodeBuffer::Region> CodeBuffer::open(std::string_view name, size_t bytes) {
    // In two parts, so that nothing overflows.
    const size_t wanted = bytes / platform::kPageBytes +
                          (bytes % platform::kPageBytes + kHeadBytes + platform::kPageBytes - 1) /
                              platform::kPageBytes;
    const auto free_region =
        std::ranges::find(regions_, 0, [](const RegionState &r) { return r.page_count; });
    if (bytes == 0 || wanted > pages_ - pages_in_use_ || free_region == regions_.end()) {
        return {ErrorCode::kExhausted, "no room for generated code"};
    }
    size_t run = 0;  // free pages up to here
    size_t end = 0;
    while (end < pages_ && run < wanted) {
        run = used_[end++] ? 0 : run + 1;
    }
    if (run < wanted) {
        return {ErrorCode::kExhausted, "no room for generated code in one piece"};
    }
    const size_t first = end - wanted;
    std::fill_n(used_.begin() + static_cast<ptrdiff_t>(first), wanted, true);
    pages_in_use_ += wanted;
    __builtin_memset(page(first), kInt3, wanted * platform::kPageBytes);
    RegionState &region = *free_region;
    region.first_page = static_cast<uint16_t>(first);
    region.page_count = static_cast<uint16_t>(wanted);
    region.bytes = 0;
    region.sealed = false;
    region.name_len = static_cast<uint8_t>(std::min(name.size(), kNameBytes));
    std::copy_n(name.begin(), region.name_len, region.name.begin());
    return static_cast<Region>(free_region - regions_.begin());
}

std::span<uint8_t> CodeBuffer::room(Region region) {
    const RegionState &r = regions_[region];
    if (r.page_count == 0 || r.sealed) {
        platform::panic("code written outside an open region");
    }
    return {page(r.first_page) + kHeadBytes, r.page_count * platform::kPageBytes - kHeadBytes};
}

Result<const void *> CodeBuffer::seal(Region region, size_t bytes) {
    if (bytes > room(region).size() || bytes == 0) {
        platform::panic("more code than its region holds");
    }
    RegionState &r = regions_[region];
    const size_t needed = (kHeadBytes + bytes + platform::kPageBytes - 1) / platform::kPageBytes;
    free_pages(r.first_page + needed, r.page_count - needed);
    r.page_count = static_cast<uint16_t>(needed);
    if (const Status status = platform::make_executable(page(r.first_page), needed); !status) {
        release(region);
        return status;
    }
    r.bytes = static_cast<uint32_t>(bytes);
    r.sealed = true;
    return static_cast<const void *>(page(r.first_page) + kHeadBytes);
}

void CodeBuffer::release(Region region) {
    RegionState &r = regions_[region];
    if (r.page_count == 0) {
        platform::panic("code region released twice");
    }
    // Pages that cannot be opened again are lost, not reused.
    if (!r.sealed || platform::make_writable(page(r.first_page), r.page_count)) {
        free_pages(r.first_page, r.page_count);
    }
    r = {};
}

void CodeBuffer::free_pages(size_t first, size_t count) {
    std::fill_n(used_.begin() + static_cast<ptrdiff_t>(first), count, false);
    pages_in_use_ -= count;
}

std::optional<CodeBuffer::Place> CodeBuffer::lookup(uintptr_t address) const {
    for (const RegionState &r : regions_) {
        const auto start = reinterpret_cast<uintptr_t>(page(r.first_page)) + kHeadBytes;
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
