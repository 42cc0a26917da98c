// The state disk: a small disk of our own that keeps one record (the tuned profile) across reboots.
// It is known by its magic, which tools/run.py writes when it makes the disk, and which we never
// write. Two copies take turns, each with a sequence number and a checksum, so that a save that is
// cut off at any point leaves the copy before it. docs/decisions/0003-state-disk.md has the format.
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
    uint32_t crc;  // CRC-32C of this header with 0 here, and of the record
    uint64_t reserved;
};
static_assert(sizeof(CopyHeader) == 32);
inline constexpr uint64_t kCopyMagic = 0x59504F'4354'534642;  // "BFSTCOPY"
inline constexpr uint32_t kMaxRecordBytes = kCopyBytes - sizeof(CopyHeader);
}  // namespace state_format

class StateDisk {
  public:
    // Reads and writes go through it; 16-byte aligned and DMA-reachable.
    using Buffer = std::array<uint8_t, state_format::kCopyBytes>;

    // `disk` and `buffer` stay for ever. kNotFound: not a state disk; what else reading may give.
    [[nodiscard]] static Result<StateDisk> open(BlockDevice &disk, Buffer &buffer);

    [[nodiscard]] std::string_view name() const { return disk_->name(); }
    // The newest whole copy's record, in the buffer: valid until the next save. kNotFound: nothing
    // was ever saved; kInvalid: copies are there, none of them whole.
    [[nodiscard]] Result<std::span<const uint8_t>> load();
    // Writes the record over the older copy and flushes the disk. At most kMaxRecordBytes. kInvalid
    // before a load() that could read both copies: nobody knows then which is the older one.
    [[nodiscard]] Status save(std::span<const uint8_t> record);
    // The same without waiting for the disk: begins, having copied the record; poll_save() looks,
    // and gives true when it is safe on the disk. One at a time, and no load() meanwhile.
    [[nodiscard]] Status begin_save(std::span<const uint8_t> record);
    [[nodiscard]] Result<bool> poll_save();
    // Of the newest copy; 0: none.
    [[nodiscard]] uint64_t sequence() const { return sequence_; }

    // Of one copy as it is on the disk: its header when it is whole. Pure, for tests and fuzzing.
    [[nodiscard]] static std::optional<state_format::CopyHeader> check_copy(
        std::span<const uint8_t> copy);

  private:
    StateDisk(BlockDevice &disk, Buffer &buffer) : disk_(&disk), buffer_(&buffer) {}
    [[nodiscard]] Status read_copy(uint32_t copy);
    // Makes the next copy in the buffer: its place and length.
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
