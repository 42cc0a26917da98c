// The head of a disk image that tools/make_image.py wrote: where the model lies and which settings
// came with it. Pure; trusts nothing in the bytes. Layout: docs/decisions/0002.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernel_lib/base/result.h"

namespace bareflow {

// Sectors (of 512 bytes) from the disk's first on that parse_image_layout wants to see.
inline constexpr size_t kImageHeadSectors = 18;
inline constexpr size_t kImageSectorBytes = 512;
inline constexpr size_t kImageHeadBytes = kImageHeadSectors * kImageSectorBytes;
// Settings take at most one sector less a NUL.
inline constexpr size_t kMaxImageOptionsBytes = 511;

// The layout on disk, for those who read or write it (stage2.asm, make_image.py): sector numbers
// and the header sector's fields, little-endian. All words of the header add up to zero.
namespace image_format {
inline constexpr uint64_t kStage2Sector = 1;
inline constexpr uint64_t kStage2Sectors = 15;
inline constexpr uint64_t kHeaderSector = 16;
inline constexpr uint64_t kOptionsSector = 17;
inline constexpr uint64_t kKernelSector = 24;
inline constexpr std::string_view kMagic = "BFIMAGE1";
inline constexpr uint32_t kVersion = 3;

struct Header {
    char magic[8];
    uint32_t version;
    uint32_t balance;  // makes the sum zero
    uint32_t kernel_sector;
    uint32_t kernel_sectors;
    uint32_t kernel_address;     // where its first byte goes
    uint32_t kernel_file_bytes;  // unpacked, a multiple of 4
    uint32_t kernel_end;         // end of its zeroed memory, a multiple of 4
    uint32_t kernel_entry;
    uint32_t kernel_sum;  // of its sectors' words, as they are on disk
    uint32_t options_len_bytes;
    uint64_t model_sector;
    uint64_t model_len_bytes;
    uint32_t packed_address;  // where its sectors are read to (boot/bios/unpack.h)
    uint32_t packed_len_bytes;
    uint32_t memory_end;  // nothing at or above is touched before the kernel runs
    uint32_t reserved;
};
static_assert(sizeof(Header) == 80);
}  // namespace image_format

struct ImageLayout {
    uint64_t model_first_sector = 0;
    uint64_t model_len_bytes = 0;  // exact; 0: the image holds no model
    std::string_view options;      // points into the bytes parsed
};

// kNotFound: not one of our images; kUnsupported: of a version that this program does not know;
// kInvalid: damaged. Does not know how long the disk is: the caller compares.
[[nodiscard]] Result<ImageLayout> parse_image_layout(std::span<const uint8_t> head);

}  // namespace bareflow
