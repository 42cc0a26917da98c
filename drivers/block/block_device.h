// A disk as the rest of the program sees it: 512-byte sectors, read whole. Nobody but StateDisk can
// write through it, and StateDisk writes only to a disk that bears its magic: the boot image and
// the models have no writer. Called from the boot processor's loop only.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "kernel_lib/base/result.h"

namespace bareflow {

inline constexpr uint32_t kSectorBytes = 512;
// No driver takes more than this in one call (4 MiB): larger commands are no faster, and between
// two calls the caller can show how far it is.
inline constexpr uint32_t kMaxTransferSectors = 8192;

class BlockDevice {
  public:
    [[nodiscard]] virtual std::string_view name() const = 0;  // "ata0", "virtio-blk1"
    [[nodiscard]] virtual uint64_t sector_count() const = 0;
    // The largest transfer one call takes, in sectors; callers cut longer ones.
    [[nodiscard]] virtual uint32_t max_sectors() const = 0;

    // Blocking, with the driver's own deadline. `bytes` is a multiple of kSectorBytes long, 16-byte
    // aligned, DMA-reachable. kInvalid: outside the disk or badly sized; kTimeout, kDevice: said.
    [[nodiscard]] virtual Status read(uint64_t first_sector, std::span<uint8_t> bytes) = 0;

  protected:
    ~BlockDevice() = default;

  private:
    friend class StateDisk;
    // Like read(); on the disk, not in its cache, when it returns.
    [[nodiscard]] virtual Status write(uint64_t first_sector, std::span<const uint8_t> bytes) = 0;
    // The same without waiting: begins; `bytes` stay as they are until poll_write() gives true or
    // an error. Meanwhile everything else is refused (kExhausted). A driver that can't do all of it
    // while we look away does it at once.
    [[nodiscard]] virtual Status begin_write(uint64_t first_sector,
                                             std::span<const uint8_t> bytes) {
        return write(first_sector, bytes);
    }
    // Looks once; true when it is over, and when nothing was begun. Has the driver's deadlines.
    [[nodiscard]] virtual Result<bool> poll_write() { return true; }
};

}  // namespace bareflow
