// What must hold: at every moment at least one copy on the disk is undamaged, unless nothing was
// ever saved. This includes a machine that stops in the middle of a write. So a save overwrites
// only the older copy, and load() must have read both before the first save.
#include "drivers/block/state_disk.h"

#include <algorithm>
#include <cstring>

#include "kernel_lib/base/crc32c.h"

namespace bareflow {

using state_format::CopyHeader;
using state_format::kCopies;
using state_format::kCopyMagic;
using state_format::kCopySectors;
using state_format::kDiskMagic;
using state_format::kDiskSectors;
using state_format::kFirstCopySector;
using state_format::kMaxRecordBytes;

namespace {

// No machine has saved this often: a greater number is damage that the checksum missed.
constexpr uint64_t kMaxSequence = uint64_t{1} << 62;

uint32_t checksum(CopyHeader header, std::span<const uint8_t> record) {
    header.crc = 0;
    const std::span bytes(reinterpret_cast<const uint8_t *>(&header), sizeof header);
    return crc32c(record, crc32c(bytes));
}

uint64_t copy_sector(uint32_t copy) {
    return kFirstCopySector + uint64_t{copy} * kCopySectors;
}

}  // namespace

Result<StateDisk> StateDisk::open(BlockDevice &disk, Buffer &buffer) {
    if (disk.sector_count() < kDiskSectors || disk.max_sectors() < kCopySectors) {
        return Error{ErrorCode::kNotFound, "too small for a state disk"};
    }
    const std::span head = std::span(buffer).first<kSectorBytes>();
    BF_TRY(disk.read(0, head));
    // The rest of the sector must be zero, so that a boot sector, a partition table or a model is
    // never taken for a state disk.
    const auto rest = head.subspan(kDiskMagic.size());
    if (!std::ranges::equal(head.first(kDiskMagic.size()), kDiskMagic) ||
        !std::ranges::all_of(rest, [](uint8_t byte) { return byte == 0; })) {
        return Error{ErrorCode::kNotFound, "not a state disk"};
    }
    return StateDisk(disk, buffer);
}

std::optional<CopyHeader> StateDisk::check_copy(std::span<const uint8_t> copy) {
    CopyHeader header;
    if (copy.size() < sizeof header) {
        return {};
    }
    std::memcpy(&header, copy.data(), sizeof header);
    if (header.magic != kCopyMagic || header.sequence == 0 || header.sequence > kMaxSequence ||
        header.reserved != 0 || header.record_bytes > copy.size() - sizeof header ||
        header.crc != checksum(header, copy.subspan(sizeof header, header.record_bytes))) {
        return {};
    }
    return header;
}

Status StateDisk::read_copy(uint32_t copy) {
    return disk_->read(copy_sector(copy), *buffer_);
}

Result<std::span<const uint8_t>> StateDisk::load() {
    if (saving_) {
        return Error{ErrorCode::kExhausted, "the state disk is being written to"};
    }
    sequence_ = 0;
    newest_ = kCopies - 1;
    loaded_ = false;
    bool any = false;
    uint32_t in_buffer = kCopies;
    for (uint32_t copy = 0; copy < kCopies; ++copy) {
        BF_TRY(read_copy(copy));
        const auto header = check_copy(*buffer_);
        any = any || std::ranges::any_of(*buffer_, [](uint8_t byte) { return byte != 0; });
        if (header && header->sequence > sequence_) {
            sequence_ = header->sequence;
            newest_ = copy;
            in_buffer = copy;
        } else {
            in_buffer = kCopies;
        }
    }
    loaded_ = true;
    if (sequence_ == 0) {
        return any ? Error{ErrorCode::kInvalid, "both copies are damaged"}
                   : Error{ErrorCode::kNotFound, "nothing is saved yet"};
    }
    if (in_buffer != newest_) {
        BF_TRY(read_copy(newest_));
    }
    // The second read is checked, too: a broken disk may give other bytes.
    const auto header = check_copy(*buffer_);
    if (!header || header->sequence != sequence_) {
        return Error{ErrorCode::kDevice, "the state disk changes what it says"};
    }
    return std::span<const uint8_t>(*buffer_).subspan(sizeof(CopyHeader), header->record_bytes);
}

Result<StateDisk::Prepared> StateDisk::prepare(std::span<const uint8_t> record) {
    if (saving_) {
        return {ErrorCode::kExhausted, "the state disk is being written to"};
    }
    if (!loaded_) {
        return {ErrorCode::kInvalid, "the state disk was not read"};
    }
    if (record.size() > kMaxRecordBytes) {
        return {ErrorCode::kTooLarge, "the record is too long for the state disk"};
    }
    CopyHeader header{.magic = kCopyMagic,
                      .sequence = sequence_ + 1,
                      .record_bytes = static_cast<uint32_t>(record.size()),
                      .crc = 0,
                      .reserved = 0};
    header.crc = checksum(header, record);
    const size_t used = sizeof header + record.size();
    const size_t padded = (used + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
    if (!record.empty()) {
        std::memmove(buffer_->data() + sizeof header, record.data(), record.size());
    }
    std::memcpy(buffer_->data(), &header, sizeof header);
    std::memset(buffer_->data() + used, 0, padded - used);
    return Prepared{copy_sector((newest_ + 1) % kCopies), std::span(*buffer_).first(padded)};
}

void StateDisk::saved() {
    newest_ = (newest_ + 1) % kCopies;
    ++sequence_;
}

Status StateDisk::save(std::span<const uint8_t> record) {
    BF_ASSIGN(const Prepared copy, prepare(record));
    BF_TRY(disk_->write(copy.sector, copy.bytes));
    saved();
    return {};
}

Status StateDisk::begin_save(std::span<const uint8_t> record) {
    BF_ASSIGN(const Prepared copy, prepare(record));
    BF_TRY(disk_->begin_write(copy.sector, copy.bytes));
    saving_ = true;
    return {};
}

Result<bool> StateDisk::poll_save() {
    if (!saving_) {
        return true;
    }
    const Result<bool> over = disk_->poll_write();
    if (over && !*over) {
        return false;
    }
    saving_ = false;
    BF_TRY(over.status());
    saved();
    return true;
}

}  // namespace bareflow
