// The state disk: a small disk of our own that keeps one record (the tuned profile) across reboots.
// It is recognised by its magic, which tools/run.py writes when it makes the disk and which this
// program never writes. Saves go alternately to two copies, each with a sequence number and a
// checksum. So a save that is cut off at any point leaves the copy before it.
// docs/decisions/0003-state-disk.md has the format.
//
// StateDisk is the only writer of disks in the program: BlockDevice::write() is private and this
// class its friend. It writes only to a disk whose magic it has read, and only to its two copies.
//
// Boot processor only.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "drivers/block/block_device.h"
#include "kernel_lib/base/result.h"

namespace bareflow {

namespace state_format {
inline constexpr std::array<uint8_t, 16> kDiskMagic{'B', 'A', 'R', 'E', 'F', 'L', 'O', 'W',
                                                    '-', 'S', 'T', 'A', 'T', 'E', '-', '1'};
inline constexpr uint32_t kCopies = 2;
inline constexpr uint32_t kFirstCopySector = 8;
inline constexpr uint32_t kCopySectors = 32;
inline constexpr uint32_t kCopyBytes = kCopySectors * kSectorBytes;
inline constexpr uint32_t kDiskSectors = kFirstCopySector + kCopies * kCopySectors;
// Little endian, at the beginning of a copy; the record follows.
struct CopyHeader {
    uint64_t magic;
    uint64_t sequence;
    uint32_t record_bytes;
    uint32_t crc;  // CRC-32C of this header with 0 in this field, and of the record
    uint64_t reserved;
};
static_assert(sizeof(CopyHeader) == 32);
inline constexpr uint64_t kCopyMagic = 0x59504F'4354'534642;  // "BFSTCOPY"
inline constexpr uint32_t kMaxRecordBytes = kCopyBytes - sizeof(CopyHeader);
}  // namespace state_format

class StateDisk {
  public:
    // Holds one copy on its way to or from the disk. Must be 16-byte aligned and DMA-reachable.
    using Buffer = std::array<uint8_t, state_format::kCopyBytes>;

    // `disk` and `buffer` must stay for ever. kNotFound: not a state disk. Other errors are those
    // of BlockDevice::read().
    [[nodiscard]] static Result<StateDisk> open(BlockDevice &disk, Buffer &buffer);

    [[nodiscard]] std::string_view name() const { return disk_->name(); }
    // The record of the newest undamaged copy, in the buffer: valid until the next save. kNotFound:
    // nothing was ever saved. kInvalid: there are copies, and all are damaged.
    [[nodiscard]] Result<std::span<const uint8_t>> load();
    // Writes the record over the older copy and flushes the disk. At most kMaxRecordBytes. kInvalid
    // if no load() has read both copies: it is not known then which is the older one.
    [[nodiscard]] Status save(std::span<const uint8_t> record);
    // Starts a save without waiting for the disk; the record is copied. poll_save() returns true
    // once it is safe on the disk. Until then neither another save nor a load() is possible.
    [[nodiscard]] Status begin_save(std::span<const uint8_t> record);
    [[nodiscard]] Result<bool> poll_save();
    // Sequence number of the newest copy; 0: none.
    [[nodiscard]] uint64_t sequence() const { return sequence_; }

    // The header of a copy as it lies on the disk; nothing if the copy is damaged. Touches no disk:
    // tests and fuzzers call it, too.
    [[nodiscard]] static std::optional<state_format::CopyHeader> check_copy(
        std::span<const uint8_t> copy);

  private:
    StateDisk(BlockDevice &disk, Buffer &buffer) : disk_(&disk), buffer_(&buffer) {}
    [[nodiscard]] Status read_copy(uint32_t copy);
    // The next copy: where it goes on the disk, and its bytes in the buffer.
    struct Prepared {
        uint64_t sector;
        std::span<const uint8_t> bytes;
    };
    [[nodiscard]] Result<Prepared> prepare(std::span<const uint8_t> record);
    void saved();

    BlockDevice *disk_;
    Buffer *buffer_;
    uint32_t newest_ = state_format::kCopies - 1;  // the next save goes to the other
    uint64_t sequence_ = 0;
    bool loaded_ = false;
    bool saving_ = false;
};

}  // namespace bareflow
