// A drive is a small state machine: a command makes it busy for some reads of the status, then
// progress() does the next part. What a real drive leaves undefined is a violation here.
#include "tests/fakes/fake_ata.h"

#include <algorithm>
#include <cstring>

namespace bareflow::fakes {
namespace {

constexpr size_t kSector = 512;
constexpr unsigned kSettleLooks = 4;

uint8_t pattern(uint64_t sector, size_t at) {
    return static_cast<uint8_t>(sector * 13 + at * 7 + (sector >> 8));
}

// The IDENTIFY answer.
void describe(FakeAtaChannel::Drive &disk, uint64_t sectors) {
    auto &words = disk.identify;
    words[0] = 0x0040;
    const std::string model = "FAKE DISK                               ";
    for (size_t i = 0; i < 20; ++i) {
        words[27 + i] = static_cast<uint16_t>(model[2 * i] << 8 | model[2 * i + 1]);
    }
    words[49] = static_cast<uint16_t>(1u << 9 | (disk.dma ? 1u << 8 : 0));
    words[60] = static_cast<uint16_t>(sectors);
    words[61] = static_cast<uint16_t>(sectors >> 16);
    words[83] = static_cast<uint16_t>(1u << 14 | 1u << 12 | (disk.lba48 ? 1u << 13 | 1u << 10 : 0));
    if (disk.lba48) {
        for (unsigned i = 0; i < 4; ++i) {
            words[100 + i] = static_cast<uint16_t>(sectors >> 16 * i);
        }
    }
}

}  // namespace

FakeAtaChannel::Drive &FakeAtaChannel::add_disk(unsigned which, uint64_t sectors, bool lba48,
                                                bool dma_capable) {
    Drive &disk = drives_[which];
    disk.present = true;
    disk.lba48 = lba48;
    disk.dma = dma_capable;
    disk.bytes.resize(sectors * kSector);
    for (uint64_t sector = 0; sector < sectors; ++sector) {
        for (size_t i = 0; i < kSector; ++i) {
            disk.bytes[sector * kSector + i] = pattern(sector, i);
        }
    }
    describe(disk, sectors);
    return disk;
}

void FakeAtaChannel::move_to_end_of(unsigned which, uint64_t sectors) {
    Drive &disk = drives_[which];
    disk.first_sector = sectors - disk.bytes.size() / kSector;
    describe(disk, sectors);
}

FakeAtaChannel::Drive &FakeAtaChannel::add_cdrom(unsigned which) {
    drives_[which].present = true;
    drives_[which].packet = true;
    return drives_[which];
}

// One read of the status. A busy device goes on working meanwhile.
uint8_t FakeAtaChannel::look() {
    if (floating) {
        return 0xFF;
    }
    if (looks_since_select_ < kSettleLooks) {
        ++looks_since_select_;
    }
    if (!selected().present) {
        return 0;
    }
    if (busy_left_ > 0) {
        if (busy_left_ != UINT32_MAX && --busy_left_ == 0) {
            progress();
        }
        return ata::kStatusBusy;
    }
    return status_;
}

uint8_t FakeAtaChannel::in8(uint16_t port) {
    if (port >= kBusMasterPort && port < kBusMasterPort + 8) {
        violations.require(has_bus_master, "bus master that is not there");
        return port == kBusMasterPort + ata::kBmStatus ? bus_master_.status : bus_master_.command;
    }
    if (port == kControlPort) {
        return look();
    }
    const unsigned reg = port - kCommandPort;
    if (reg > 7 || reg == ata::kData) {
        violations.add("8-bit read of a port that has none");
        return 0xFF;
    }
    if (floating) {
        return 0xFF;
    }
    if (reg == ata::kStatus) {
        return look();
    }
    violations.require(busy_left_ == 0, "task file read while busy");
    if (!selected().present) {
        return 0;
    }
    switch (reg) {
        case ata::kError:
            return error_;
        case ata::kDevice:
            return device_;
        default:
            return file_[reg][0];
    }
}

uint16_t FakeAtaChannel::in16(uint16_t port) {
    if (port != kCommandPort || pending_.phase != Phase::kDataIn || busy_left_ != 0 ||
        buffer_at_ >= buffer_.size()) {
        violations.add("data read that the drive did not ask for");
        return 0xDEAD;
    }
    const uint16_t word = buffer_[buffer_at_++];
    if (buffer_at_ == buffer_.size()) {
        ++pending_.done;
        if (pending_.done == pending_.sectors) {
            end(0);
        } else {
            status_ = ata::kStatusReady;
            busy_left_ = std::max(1u, selected().busy_polls);
        }
    }
    return word;
}

void FakeAtaChannel::out16(uint16_t port, uint16_t value) {
    if (port != kCommandPort || pending_.phase != Phase::kDataOut || busy_left_ != 0 ||
        (status_ & ata::kStatusDataRequest) == 0) {
        violations.add("data written that the drive did not ask for");
        return;
    }
    buffer_.push_back(value);
    if (buffer_.size() == kSector / 2) {
        store_sector();
        status_ = ata::kStatusReady;
        busy_left_ = std::max(1u, selected().busy_polls);
    }
}

void FakeAtaChannel::out32(uint16_t port, uint32_t value) {
    if (!has_bus_master || port != kBusMasterPort + ata::kBmTable) {
        violations.add("32-bit write to a port that has none");
        return;
    }
    violations.require((bus_master_.command & ata::kBmCommandStart) == 0,
                       "table moved while running");
    violations.require(value % 4 == 0, "table is misaligned");
    bus_master_.table = value;
    bus_master_.armed = true;
}

void FakeAtaChannel::out8(uint16_t port, uint8_t value) {
    if (port >= kBusMasterPort && port < kBusMasterPort + 8) {
        bus_master_write(static_cast<uint16_t>(port - kBusMasterPort), value);
        return;
    }
    if (port == kControlPort) {
        violations.require((value & ~(ata::kControlReset | ata::kControlNoInterrupt)) == 0,
                           "device control: reserved bits set");
        if ((control_ & ata::kControlReset) != 0 && (value & ata::kControlReset) == 0) {
            ++resets;
            const bool stuck = selected().fault == Fault::kHangsForReset;
            for (Drive &disk : drives_) {
                disk.fault = stuck ? disk.fault : Fault::kNone;
            }
            device_ = 0;
            pending_ = {};
            status_ = ata::kStatusReady;
            error_ = 1;  // diagnostics passed
            busy_left_ = stuck ? UINT32_MAX : 2;
        }
        control_ = value;
        return;
    }
    const unsigned reg = port - kCommandPort;
    if (reg == 0 || reg > 7) {
        violations.add("8-bit write to a port that has none");
        return;
    }
    if (reg == ata::kCommand) {
        command(value);
    } else {
        task_file(reg, value);
    }
}

void FakeAtaChannel::task_file(unsigned reg, uint8_t value) {
    violations.require(busy_left_ == 0, "task file written while busy");
    violations.require(!selected().present || (status_ & ata::kStatusDataRequest) == 0,
                       "task file written while data is asked for");
    if (reg == ata::kDevice) {
        violations.require((value & ata::kDeviceObsolete) == ata::kDeviceObsolete,
                           "device register without its fixed bits");
        if (((value ^ device_) & ata::kDeviceSecond) != 0) {
            looks_since_select_ = 0;
        }
        device_ = value;
        return;
    }
    file_[reg][1] = file_[reg][0];
    file_[reg][0] = value;
}

void FakeAtaChannel::command(uint8_t code) {
    Drive &disk = selected();
    violations.require((control_ & ata::kControlNoInterrupt) != 0,
                       "command with the drive's interrupt on");
    violations.require(busy_left_ == 0, "command while busy");
    violations.require(looks_since_select_ >= kSettleLooks, "command too soon after a selection");
    if (!disk.present || busy_left_ != 0) {
        return;
    }
    violations.require((status_ & ata::kStatusDataRequest) == 0, "command while data is asked for");
    commands.push_back(code);
    status_ = ata::kStatusReady;
    error_ = 0;
    if (disk.packet) {
        file_[ata::kLbaMid][0] = ata::kPacketSignatureMid;
        file_[ata::kLbaHigh][0] = ata::kPacketSignatureHigh;
        pending_ = {code, Phase::kNoData, 0, 0, 0};
        disk.fault = Fault::kError;
        disk.error = ata::kErrorAbort;
        busy_left_ = std::max(1u, disk.busy_polls);
        return;
    }
    switch (code) {
        case ata::kIdentifyDevice:
            pending_ = {code, Phase::kDataIn, 0, 1, 0};
            busy_left_ = std::max(1u, disk.busy_polls);
            break;
        case ata::kReadSectors:
            return begin(code, Phase::kDataIn, false);
        case ata::kReadSectorsExt:
            return begin(code, Phase::kDataIn, true);
        case ata::kWriteSectors:
            return begin(code, Phase::kDataOut, false);
        case ata::kWriteSectorsExt:
            return begin(code, Phase::kDataOut, true);
        case ata::kReadDma:
        case ata::kWriteDma:
            return begin(code, Phase::kDma, false);
        case ata::kReadDmaExt:
        case ata::kWriteDmaExt:
            return begin(code, Phase::kDma, true);
        case ata::kFlushCache:
        case ata::kFlushCacheExt:
            violations.require(code == ata::kFlushCache || disk.lba48, "FLUSH EXT unsupported");
            ++disk.flushes;
            disk.dirty = false;
            pending_ = {code, Phase::kNoData, 0, 0, 0};
            busy_left_ = std::max(1u, disk.busy_polls);
            break;
        default:
            violations.add("command this driver has no business with");
    }
}

void FakeAtaChannel::begin(uint8_t code, Phase phase, bool ext) {
    Drive &disk = selected();
    violations.require((device_ & ata::kDeviceLba) != 0, "transfer without the LBA bit");
    violations.require(!ext || disk.lba48, "48-bit command to a 28-bit disk");
    violations.require(phase != Phase::kDma || (disk.dma && has_bus_master),
                       "DMA command to a disk without it");
    const auto byte = [this](unsigned reg, unsigned age) -> uint64_t { return file_[reg][age]; };
    uint64_t lba =
        byte(ata::kLbaLow, 0) | byte(ata::kLbaMid, 0) << 8 | byte(ata::kLbaHigh, 0) << 16;
    uint64_t count = byte(ata::kCount, 0);
    if (ext) {
        lba |= byte(ata::kLbaLow, 1) << 24 | byte(ata::kLbaMid, 1) << 32 |
               byte(ata::kLbaHigh, 1) << 40;
        count |= byte(ata::kCount, 1) << 8;
        count = count == 0 ? ata::kMaxSectorsLba48 : count;
        violations.require((device_ & 0x0F) == 0, "48-bit command with address bits in device");
    } else {
        lba |= uint64_t{device_ & 0x0Fu} << 24;
        count = count == 0 ? ata::kMaxSectorsLba28 : count;
    }
    const uint64_t held = disk.bytes.size() / kSector;
    if (lba < disk.first_sector || lba - disk.first_sector + count > held) {
        violations.add("transfer outside the disk");
        lba = disk.first_sector;
        count = 0;
    }
    pending_ = {code, phase, lba - disk.first_sector, static_cast<uint32_t>(count), 0};
    buffer_.clear();
    // A DMA command waits for the bus master; the other commands keep the drive busy for a while.
    busy_left_ = phase == Phase::kDma ? UINT32_MAX : std::max(1u, disk.busy_polls);
    if (phase == Phase::kDma) {
        status_ = ata::kStatusReady | ata::kStatusDataRequest;
        busy_left_ = 0;
    }
}

// The drive's busy time is over.
void FakeAtaChannel::progress() {
    Drive &disk = selected();
    switch (disk.fault) {
        case Fault::kHang:
        case Fault::kHangsForReset:
            busy_left_ = UINT32_MAX;
            return;
        case Fault::kError:
        case Fault::kDeviceFault:
            end(disk.error);
            return;
        case Fault::kEndsEarly:
            if (pending_.done + 1 == pending_.sectors) {
                end(0);
                return;
            }
            break;
        default:
            break;
    }
    switch (pending_.phase) {
        case Phase::kDataIn:
            load_sector();
            status_ = ata::kStatusReady | ata::kStatusDataRequest;
            break;
        case Phase::kDataOut:
            if (pending_.done == pending_.sectors) {
                end(0);
            } else {
                status_ = ata::kStatusReady | ata::kStatusDataRequest;
            }
            break;
        case Phase::kDma:
            run_dma();
            break;
        case Phase::kNoData:
            end(0);
            break;
        case Phase::kIdle:
            break;
    }
}

void FakeAtaChannel::load_sector() {
    const Drive &disk = selected();
    if (pending_.code == ata::kIdentifyDevice) {
        buffer_.assign(disk.identify.begin(), disk.identify.end());
    } else {
        buffer_.resize(kSector / 2);
        const uint8_t *from = disk.bytes.data() + (pending_.lba + pending_.done) * kSector;
        for (size_t i = 0; i < buffer_.size(); ++i) {
            buffer_[i] = static_cast<uint16_t>(from[2 * i] | from[2 * i + 1] << 8);
        }
    }
    buffer_at_ = 0;
}

void FakeAtaChannel::store_sector() {
    Drive &disk = selected();
    uint8_t *to = disk.bytes.data() + (pending_.lba + pending_.done) * kSector;
    for (size_t i = 0; i < buffer_.size(); ++i) {
        to[2 * i] = static_cast<uint8_t>(buffer_[i]);
        to[2 * i + 1] = static_cast<uint8_t>(buffer_[i] >> 8);
    }
    buffer_.clear();
    ++pending_.done;
    disk.dirty = true;
}

void FakeAtaChannel::bus_master_write(uint16_t reg, uint8_t value) {
    if (!has_bus_master) {
        violations.add("bus master that is not there");
        return;
    }
    if (reg == ata::kBmStatus) {
        violations.require((value & 0x18) == 0, "bus master status: reserved bits set");
        violations.require((value & ata::kBmStatusDriveCapable) ==
                               (bus_master_.status & ata::kBmStatusDriveCapable),
                           "bus master status: capability bits changed");
        bus_master_.status &=
            static_cast<uint8_t>(~(value & (ata::kBmStatusError | ata::kBmStatusInterrupt)));
        return;
    }
    if (reg != ata::kBmCommand) {
        violations.add("8-bit write into the bus master's table register");
        return;
    }
    violations.require((value & ~(ata::kBmCommandStart | ata::kBmCommandToMemory)) == 0,
                       "bus master command: reserved bits set");
    const bool starts =
        (value & ata::kBmCommandStart) != 0 && (bus_master_.command & ata::kBmCommandStart) == 0;
    const bool stops =
        (value & ata::kBmCommandStart) == 0 && (bus_master_.command & ata::kBmCommandStart) != 0;
    violations.require(!starts || ((value ^ bus_master_.command) & ata::kBmCommandToMemory) == 0,
                       "direction changed together with the start");
    bus_master_.command = value;
    if (stops) {
        bus_master_.status &= static_cast<uint8_t>(~ata::kBmStatusActive);
    }
    if (!starts) {
        return;
    }
    violations.require(bus_master_.armed, "bus master started without a new table");
    violations.require((bus_master_.status & (ata::kBmStatusError | ata::kBmStatusInterrupt)) == 0,
                       "bus master started with old status bits");
    bus_master_.armed = false;
    if (pending_.phase != Phase::kDma) {
        violations.add("bus master started before the drive had its command");
        return;
    }
    bus_master_.status |= ata::kBmStatusActive;
    busy_left_ = std::max(1u, selected().busy_polls);
}

void FakeAtaChannel::run_dma() {
    Drive &disk = selected();
    if (disk.fault == Fault::kBusMaster) {
        disk.fault = Fault::kNone;
        bus_master_.status = static_cast<uint8_t>((bus_master_.status & ~ata::kBmStatusActive) |
                                                  ata::kBmStatusError);
        status_ = ata::kStatusReady;
        pending_ = {};
        return;
    }
    const bool to_memory = pending_.code == ata::kReadDma || pending_.code == ata::kReadDmaExt;
    violations.require(to_memory == ((bus_master_.command & ata::kBmCommandToMemory) != 0),
                       "bus master runs the other way than the command");
    uint8_t *image = disk.bytes.data() + pending_.lba * kSector;
    uint64_t left = uint64_t{pending_.sectors} * kSector;
    for (uint32_t i = 0;; ++i) {
        const uint8_t *raw = dma.at(bus_master_.table + 8ull * i, 8, violations, "table");
        if (raw == nullptr) {
            break;
        }
        violations.require(bus_master_.table / 0x10000 == (bus_master_.table + 8 * i + 7) / 0x10000,
                           "table crosses 64 KiB");
        ata::PrdEntry entry;
        std::memcpy(&entry, raw, sizeof entry);
        const uint64_t len = entry.len_bytes == 0 ? ata::kPrdMaxBytes : entry.len_bytes;
        violations.require(((entry.address | len) & 1) == 0, "table entry is odd");
        violations.require((entry.flags & ~ata::kPrdEnd) == 0, "table entry: reserved bits set");
        violations.require(entry.address / 0x10000 == (entry.address + len - 1) / 0x10000,
                           "table entry crosses 64 KiB");
        if (len > left) {
            violations.add("table longer than the transfer");
            break;
        }
        uint8_t *memory = dma.at(entry.address, len, violations, "transfer");
        if (memory == nullptr) {
            break;
        }
        std::memcpy(to_memory ? memory : image, to_memory ? image : memory, len);
        image += len;
        left -= len;
        if ((entry.flags & ata::kPrdEnd) != 0) {
            violations.require(left == 0, "table shorter than the transfer");
            break;
        }
    }
    disk.dirty = disk.dirty || !to_memory;
    bus_master_.status &= static_cast<uint8_t>(~ata::kBmStatusActive);
    end(0);
}

void FakeAtaChannel::end(uint8_t error) {
    Drive &disk = selected();
    status_ = ata::kStatusReady;
    if (disk.fault == Fault::kError) {
        status_ |= ata::kStatusError;
        error_ = error;
    } else if (disk.fault == Fault::kDeviceFault) {
        status_ |= ata::kStatusDeviceFault;
    }
    if (pending_.phase == Phase::kDma) {
        bus_master_.status &= static_cast<uint8_t>(~ata::kBmStatusActive);
    }
    disk.fault = Fault::kNone;
    pending_ = {};
}

}  // namespace bareflow::fakes
