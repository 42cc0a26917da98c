// Where the tuned profile is kept across reboots. DiskProfileStore joins it to a disk; tests to
// memory. A record is a few KiB. Boot processor only.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "kernel_lib/base/result.h"

namespace bareflow {

class ProfileStore {
  public:
    // "ata1", for the log.
    [[nodiscard]] virtual std::string_view place() const = 0;
    // What was saved last and is whole; valid until the next save. kNotFound: nothing yet;
    // kInvalid: only damaged records; kDevice, kTimeout: said.
    [[nodiscard]] virtual Result<std::span<const uint8_t>> load() = 0;
    // Begins to save a copy of the record; one at a time. Cut off at any point, the record before
    // it stays.
    [[nodiscard]] virtual Status begin_save(std::span<const uint8_t> record) = 0;
    // Looks, without waiting: true when it is safe where it is kept.
    [[nodiscard]] virtual Result<bool> poll_save() = 0;

  protected:
    ~ProfileStore() = default;
};

}  // namespace bareflow
