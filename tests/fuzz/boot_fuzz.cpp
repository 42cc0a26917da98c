// What is read before the program runs: the head of a disk, and a firmware's memory map. Both are
// made of the same bytes. What is accepted must make sense.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "boot/image_layout.h"
#include "kernel_lib/memory/page_allocator.h"

namespace {

using namespace bareflow;

void require(bool condition) {
    if (!condition) {
        abort();
    }
}

// The input is the header and the options sector. Its checksum is corrected, because few inputs
// would pass it otherwise.
void parse_head(std::span<const uint8_t> data) {
    std::vector<uint8_t> head(kImageHeadBytes);
    uint8_t *const header = &head[image_format::kHeaderSector * kImageSectorBytes];
    const size_t count = std::min(data.size(), 2 * kImageSectorBytes);
    if (count != 0) {
        std::memcpy(header, data.data(), count);
    }
    uint32_t sum = 0;
    constexpr size_t kBalance = offsetof(image_format::Header, balance);
    std::memset(header + kBalance, 0, sizeof(sum));
    for (size_t i = 0; i < kImageSectorBytes; i += sizeof(sum)) {
        uint32_t word = 0;
        std::memcpy(&word, header + i, sizeof(word));
        sum += word;
    }
    sum = 0 - sum;
    std::memcpy(header + kBalance, &sum, sizeof(sum));

    const Result<ImageLayout> layout = parse_image_layout(head);
    if (!layout) {
        require(!layout.error().message.empty());
        return;
    }
    require(layout->options.size() <= kMaxImageOptionsBytes);
    const auto *options = reinterpret_cast<const uint8_t *>(layout->options.data());
    require(
        layout->options.empty() ||
        (options >= head.data() && options + layout->options.size() <= head.data() + head.size()));
    if (layout->model_len_bytes != 0) {
        require(layout->model_first_sector >= image_format::kKernelSector);
        const uint64_t end =
            layout->model_first_sector * kImageSectorBytes + layout->model_len_bytes;
        require(end > layout->model_len_bytes && end <= uint64_t{1} << 41);
    }
}

void use_memory_map(std::span<const uint8_t> data) {
    std::vector<MemoryRange> map(data.size() / sizeof(MemoryRange));
    if (!map.empty()) {
        std::memcpy(map.data(), data.data(), map.size() * sizeof(MemoryRange));
    }
    for (MemoryRange &range : map) {
        range.type %= 3;  // usable often enough
    }
    std::array<AddressRange, 8> storage;  // few, so that it overflows
    PageAllocator pages(storage);
    const std::array reserved = {AddressRange{0, 1 << 20}};
    pages.init(map, reserved);

    uint64_t last_end = 0;
    for (const AddressRange &range : pages.free_ranges()) {
        require(range.begin < range.end && range.begin > last_end);
        require(range.begin % PageAllocator::kPageBytes == 0);
        require(range.end % PageAllocator::kPageBytes == 0);
        require(range.begin >= 1 << 20 && range.end <= uint64_t{1} << 52);
        last_end = range.end;
        for (const MemoryRange &entry : map) {
            if (entry.type == kMemoryUsable || entry.len_bytes == 0) {
                continue;
            }
            const uint64_t end = entry.base + entry.len_bytes;
            const bool wraps = end < entry.base;
            require(range.end <= entry.base || (!wraps && range.begin >= end));
        }
    }
    const uint64_t before = pages.free_bytes();
    require(before == pages.managed_bytes());
    for (const uint64_t count : {uint64_t{1}, uint64_t{1000}, uint64_t{2000}}) {
        if (const auto run = pages.allocate(count)) {
            require(!pages.release(*run, count + (uint64_t{1} << 40)));
            require(pages.release(*run, count));
            require(!pages.release(*run, count));
        }
    }
    require(pages.free_bytes() + pages.lost_bytes() == before);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    parse_head({data, size});
    use_memory_map({data, size});
    return 0;
}
