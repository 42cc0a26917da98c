#include "boot/image_layout.h"

#include <algorithm>
#include <bit>

#include "kernel_lib/base/byte_reader.h"

namespace bareflow {

namespace {

using namespace image_format;

static_assert(std::endian::native == std::endian::little);

constexpr uint64_t kMaxSector = 0xFFFF'FFFF;  // what a partition table can say

uint32_t sum_of_words(std::span<const uint8_t> bytes) {
    ByteReader reader(bytes);
    uint32_t sum = 0;
    uint32_t word = 0;
    while (reader.read(word)) {
        sum += word;
    }
    return sum;
}

}  // namespace

Result<ImageLayout> parse_image_layout(std::span<const uint8_t> head) {
    if (head.size() < kImageHeadBytes) {
        return Error{ErrorCode::kNotFound, "too short for a BareFlow image"};
    }
    const std::span sector = head.subspan(kHeaderSector * kImageSectorBytes, kImageSectorBytes);
    Header header;
    __builtin_memcpy(&header, sector.data(), sizeof(header));
    if (std::string_view(header.magic, sizeof(header.magic)) != kMagic) {
        return Error{ErrorCode::kNotFound, "not a BareFlow image"};
    }
    if (header.version != kVersion) {
        return Error{ErrorCode::kUnsupported, "the image was made for another version"};
    }
    if (sum_of_words(sector) != 0) {
        return Error{ErrorCode::kInvalid, "the image header is damaged: its sum is wrong"};
    }
    if (header.options_len_bytes > kMaxImageOptionsBytes) {
        return Error{ErrorCode::kInvalid, "the image header is damaged: options too long"};
    }
    const std::span text =
        head.subspan(kOptionsSector * kImageSectorBytes, header.options_len_bytes);
    if (!std::all_of(text.begin(), text.end(), [](uint8_t c) { return c >= 0x20 && c < 0x7F; })) {
        return Error{ErrorCode::kInvalid, "the image's settings are not plain text"};
    }
    ImageLayout layout;
    layout.options = {reinterpret_cast<const char *>(text.data()), text.size()};
    if (header.model_len_bytes == 0) {
        return layout;
    }
    const uint64_t kernel_end = uint64_t{header.kernel_sector} + header.kernel_sectors;
    if (header.kernel_sector < kKernelSector || header.model_sector < kernel_end ||
        header.model_sector > kMaxSector ||
        header.model_len_bytes > (kMaxSector - header.model_sector) * kImageSectorBytes) {
        return Error{ErrorCode::kInvalid, "the image header is damaged: impossible model place"};
    }
    layout.model_first_sector = header.model_sector;
    layout.model_len_bytes = header.model_len_bytes;
    return layout;
}

}  // namespace bareflow
