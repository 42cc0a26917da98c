#include "boot/image_layout.h"

#include <algorithm>

#include "kernel_lib/base/byte_reader.h"

namespace bareflow {

namespace {

constexpr size_t kHeaderSector = 16;
constexpr size_t kOptionsSector = 17;
constexpr uint64_t kFirstKernelSector = 24;
constexpr std::string_view kMagic = "BFIMAGE1";
constexpr uint32_t kVersion = 1;
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
    const std::span header = head.subspan(kHeaderSector * kImageSectorBytes, kImageSectorBytes);
    ByteReader reader(header);
    std::string_view magic;
    uint32_t version = 0;
    uint32_t balance = 0;
    uint32_t kernel_sector = 0;
    uint32_t kernel_sectors = 0;
    uint32_t options_len = 0;
    uint64_t model_sector = 0;
    uint64_t model_len = 0;
    // Between kernel_sectors and options_len: what only stage 2 needs.
    constexpr uint64_t kForStage2Bytes = 5 * sizeof(uint32_t);
    if (!reader.read_text(kMagic.size(), magic) || magic != kMagic) {
        return Error{ErrorCode::kNotFound, "not a BareFlow image"};
    }
    if (!reader.read(version) || !reader.read(balance) || !reader.read(kernel_sector) ||
        !reader.read(kernel_sectors) || !reader.skip(kForStage2Bytes) ||
        !reader.read(options_len) || !reader.read(model_sector) || !reader.read(model_len)) {
        return Error{ErrorCode::kInvalid, "the image header is cut off"};
    }
    if (version != kVersion) {
        return Error{ErrorCode::kUnsupported, "the image was made for another version"};
    }
    if (sum_of_words(header) != 0) {
        return Error{ErrorCode::kInvalid, "the image header is damaged: its sum is wrong"};
    }
    if (options_len > kMaxImageOptionsBytes) {
        return Error{ErrorCode::kInvalid, "the image header is damaged: options too long"};
    }
    const std::span text = head.subspan(kOptionsSector * kImageSectorBytes, options_len);
    if (!std::all_of(text.begin(), text.end(), [](uint8_t c) { return c >= 0x20 && c < 0x7F; })) {
        return Error{ErrorCode::kInvalid, "the image's settings are not plain text"};
    }
    ImageLayout layout;
    layout.options = {reinterpret_cast<const char *>(text.data()), text.size()};
    if (model_len == 0) {
        return layout;
    }
    const uint64_t kernel_end = uint64_t{kernel_sector} + kernel_sectors;
    if (kernel_sector < kFirstKernelSector || model_sector < kernel_end ||
        model_sector > kMaxSector || model_len > (kMaxSector - model_sector) * kImageSectorBytes) {
        return Error{ErrorCode::kInvalid, "the image header is damaged: impossible model place"};
    }
    layout.model_first_sector = model_sector;
    layout.model_len_bytes = model_len;
    return layout;
}

}  // namespace bareflow
