// What every disk driver checks of a request before it touches the device.
#pragma once

#include "drivers/block/block_device.h"

namespace bareflow {

// kInvalid unless `bytes` is 16-byte aligned and 1 to max_sectors() whole sectors that lie inside
// the disk.
[[nodiscard]] inline Status check_transfer(const BlockDevice &disk, uint64_t first_sector,
                                           std::span<const uint8_t> bytes) {
    constexpr uintptr_t kAlignment = 16;
    const uint64_t count = bytes.size() / kSectorBytes;
    if (count == 0 || bytes.size() % kSectorBytes != 0 || count > disk.max_sectors()) {
        return Error{ErrorCode::kInvalid, "disk transfer of a wrong length"};
    }
    if (reinterpret_cast<uintptr_t>(bytes.data()) % kAlignment != 0) {
        return Error{ErrorCode::kInvalid, "disk transfer to misaligned memory"};
    }
    if (first_sector >= disk.sector_count() || count > disk.sector_count() - first_sector) {
        return Error{ErrorCode::kInvalid, "disk transfer past the end of the disk"};
    }
    return {};
}

}  // namespace bareflow
