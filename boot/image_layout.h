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

struct ImageLayout {
    uint64_t model_first_sector = 0;
    uint64_t model_len_bytes = 0;  // exact; 0: the image holds no model
    std::string_view options;      // points into the bytes parsed
};

// kNotFound: not one of our images; kUnsupported: of a version that this program does not know;
// kInvalid: damaged. Does not know how long the disk is: the caller compares.
[[nodiscard]] Result<ImageLayout> parse_image_layout(std::span<const uint8_t> head);

}  // namespace bareflow
