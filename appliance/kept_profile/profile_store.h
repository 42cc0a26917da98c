// Where the tuned profile is kept across reboots. DiskProfileStore keeps it on a disk, tests keep
// it in memory. A record is a few KiB. Boot processor only.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "kernel_lib/base/result.h"

namespace bareflow {

class ProfileStore {
  public:
    // The name for the log: "ata1".
    [[nodiscard]] virtual std::string_view place() const = 0;
    // The last record that was saved completely; valid until the next save. kNotFound: nothing was
    // saved yet; kInvalid: all records are damaged; kDevice, kTimeout: the disk failed.
    [[nodiscard]] virtual Result<std::span<const uint8_t>> load() = 0;
    // Starts to save a copy of the record. One save at a time. If the machine stops at any point of
    // it, the record before stays.
    [[nodiscard]] virtual Status begin_save(std::span<const uint8_t> record) = 0;
    // Returns without waiting. True: the record is safe on its medium.
    [[nodiscard]] virtual Result<bool> poll_save() = 0;

  protected:
    ~ProfileStore() = default;
};

}  // namespace bareflow
