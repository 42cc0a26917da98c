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
// No driver takes more than this in one call (4 MiB). Larger commands are no faster, and between
// two calls the caller can show its progress.
inline constexpr uint32_t kMaxTransferSectors = 8192;

class BlockDevice {
  public:
    [[nodiscard]] virtual std::string_view name() const = 0;  // "ata0", "virtio-blk1"
    [[nodiscard]] virtual uint64_t sector_count() const = 0;
    // The largest transfer one call takes, in sectors; callers cut longer ones.
    [[nodiscard]] virtual uint32_t max_sectors() const = 0;

    // Blocking, with the driver's own deadline. `bytes` is a multiple of kSectorBytes long, 16-byte
    // aligned, DMA-reachable. kInvalid: outside the disk, or of a wrong length. kTimeout, kDevice:
    // the disk failed.
    [[nodiscard]] virtual Status read(uint64_t first_sector, std::span<uint8_t> bytes) = 0;

  protected:
    ~BlockDevice() = default;

  private:
    friend class StateDisk;
    // Like read(). When it returns, the data is on the disk, not in its cache.
    [[nodiscard]] virtual Status write(uint64_t first_sector, std::span<const uint8_t> bytes) = 0;
    // Starts a write without waiting. `bytes` must not change until poll_write() returns true or an
    // error; until then every other request is refused (kExhausted). A driver that cannot write in
    // the background does the whole write here.
    [[nodiscard]] virtual Status begin_write(uint64_t first_sector,
                                             std::span<const uint8_t> bytes) {
        return write(first_sector, bytes);
    }
    // Whether the started write is over; true also if none was started. Does not wait. The driver's
    // deadlines apply.
    [[nodiscard]] virtual Result<bool> poll_write() { return true; }
};

}  // namespace bareflow
