// A file that serves as a disk, so that the hosted program keeps its profile in the format of the
// state disk.
#pragma once

#include <string>

#include "drivers/block/block_device.h"
#include "kernel_lib/base/result.h"

namespace bareflow {

class FileDisk final : public BlockDevice {
  public:
    // Opens the file and locks it against other processes. A file that is not there, or empty,
    // becomes a new state disk. The messages of errors are static.
    [[nodiscard]] static Result<FileDisk *> open(const std::string &path);

    [[nodiscard]] std::string_view name() const override { return path_; }
    [[nodiscard]] uint64_t sector_count() const override { return sectors_; }
    [[nodiscard]] uint32_t max_sectors() const override { return kMaxTransferSectors; }
    [[nodiscard]] Status read(uint64_t first_sector, std::span<uint8_t> bytes) override;
    [[nodiscard]] Status write(uint64_t first_sector, std::span<const uint8_t> bytes) override;

  private:
    FileDisk(std::string path, int fd, uint64_t sectors)
        : path_(std::move(path)), fd_(fd), sectors_(sectors) {}
    std::string path_;
    int fd_;
    uint64_t sectors_;
};

}  // namespace bareflow
