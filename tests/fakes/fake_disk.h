// A disk in memory that can be cut off in the middle of a write, and that counts what it is asked
// to do.
#pragma once

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "drivers/block/block_checks.h"
#include "drivers/block/block_device.h"
#include "tests/fakes/violations.h"

namespace bareflow::fakes {

class FakeDisk final : public BlockDevice {
  public:
    explicit FakeDisk(uint64_t sectors) : bytes(sectors * kSectorBytes) {}

    [[nodiscard]] std::string_view name() const override { return "fake0"; }
    [[nodiscard]] uint64_t sector_count() const override { return bytes.size() / kSectorBytes; }
    [[nodiscard]] uint32_t max_sectors() const override { return most_sectors; }

    [[nodiscard]] Status read(uint64_t first_sector, std::span<uint8_t> to) override {
        ++reads;
        violations.require(check_transfer(*this, first_sector, to).ok(), "impossible read");
        if (read_error) {
            return *read_error;
        }
        std::copy_n(bytes.begin() + static_cast<ptrdiff_t>(first_sector * kSectorBytes), to.size(),
                    to.begin());
        return {};
    }
    [[nodiscard]] Status write(uint64_t first_sector, std::span<const uint8_t> from) override {
        ++writes;
        violations.require(check_transfer(*this, first_sector, from).ok(), "impossible write");
        violations.require(first_sector >= first_writable &&
                               first_sector + from.size() / kSectorBytes <= end_writable,
                           "write outside what may be written");
        // The machine stops after this many bytes of the write have reached the disk.
        const size_t len = std::min(from.size(), cut_bytes);
        std::copy_n(from.begin(), len,
                    bytes.begin() + static_cast<ptrdiff_t>(first_sector * kSectorBytes));
        if (len < from.size()) {
            return {ErrorCode::kTimeout, "the machine died"};
        }
        return write_error ? Status(*write_error) : Status();
    }

    // The write takes effect at the last poll.
    [[nodiscard]] Status begin_write(uint64_t first_sector,
                                     std::span<const uint8_t> from) override {
        violations.require(!pending_, "a second write");
        if (looks == 0) {
            return write(first_sector, from);
        }
        pending_ = {first_sector, from, looks};
        return {};
    }
    [[nodiscard]] Result<bool> poll_write() override {
        if (!pending_ || --pending_->looks > 0) {
            return !pending_;
        }
        const Pending now = *pending_;
        pending_.reset();
        BF_TRY(write(now.sector, now.from));
        return true;
    }

    std::vector<uint8_t> bytes;
    uint32_t looks = 0;  // polls until a started write is over
    uint32_t most_sectors = kMaxTransferSectors;
    uint64_t first_writable = 0;
    uint64_t end_writable = ~uint64_t{0};
    size_t cut_bytes = ~size_t{0};
    std::optional<Error> read_error;
    std::optional<Error> write_error;
    uint32_t reads = 0;
    uint32_t writes = 0;
    Violations violations{"fake disk"};

  private:
    struct Pending {
        uint64_t sector;
        std::span<const uint8_t> from;
        uint32_t looks;
    };
    std::optional<Pending> pending_;
};

}  // namespace bareflow::fakes
