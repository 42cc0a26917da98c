// Driver for ATA disks on a PCI IDE controller: bus-master DMA, or the processor's own input and
// output where the controller has no DMA. Completion is polled with the disk's interrupt off, so
// the interrupt lines of the controller stay quiet.
//
// AtaChannel is a cable with up to two drives; AtaDisk is one of them as a BlockDevice. Templates
// over the ports (in8 in16 out8 out16 out32), so that a fake drive can check every access.
#pragma once

#include <algorithm>
#include <cstring>

#include "drivers/block/ata_identify.h"
#include "drivers/block/block_checks.h"
#include "drivers/block/block_device.h"
#include "drivers/deadline.h"
#include "drivers/dma.h"
#include "kernel_lib/platform/ticks.h"

namespace bareflow {

struct AtaTimeouts {
    uint32_t ready_ms = 2000;     // a drive that is there answers
    uint32_t command_ms = 10000;  // one command, an idle disk's spin-up included
};

// What identify() says about a CD-ROM. Not reported to the user: a CD-ROM is no fault.
inline constexpr std::string_view kPacketDevice = "packet device (CD-ROM)";

// Where a channel is, and the memory its bus master uses.
struct AtaChannelSetup {
    // One entry for each 64 KiB, and one more if the transfer starts between two multiples of 64
    // KiB.
    static constexpr size_t kPrdBytes = 4096;
    static_assert(kPrdBytes / sizeof(ata::PrdEntry) >
                  kMaxTransferSectors * kSectorBytes / ata::kPrdMaxBytes);
    static constexpr size_t kBounceBytes = 65536;

    uint16_t command = 0;     // port of the command block
    uint16_t control = 0;     // port of device control / alternate status
    uint16_t bus_master = 0;  // port of this channel's bus master registers; 0: none
    // Page-aligned, below 4 GiB; unused without a bus master.
    DmaRegion prd;
    DmaRegion bounce;  // for buffers above 4 GiB
    AtaTimeouts timeouts;
};

template <typename Ports>
class AtaChannel {
  public:
    constexpr AtaChannel(Ports ports, const AtaChannelSetup &setup)
        : ports_(ports), setup_(setup) {}

    // Asks drive 0 or 1 what it is. kNotFound: there is no drive. kUnsupported: a packet device
    // (CD-ROM), or a disk that the driver cannot address.
    [[nodiscard]] Result<AtaIdentity> identify(unsigned drive) {
        if (alternate_status() == ata::kFloatingBus) {
            return Error{ErrorCode::kNotFound, "no drive on this channel"};
        }
        ports_.out8(setup_.control, ata::kControlNoInterrupt);
        BF_TRY(select(drive, 0));
        if (const uint8_t status = alternate_status(); status == 0 || status == ata::kFloatingBus) {
            return Error{ErrorCode::kNotFound, "no such drive"};
        }
        write_address28(0, 0);
        command(ata::kIdentifyDevice);
        const bool answered =
            wait(setup_.timeouts.ready_ms, [](uint8_t s) { return (s & ata::kStatusBusy) == 0; });
        const uint8_t status = alternate_status();
        if (!answered || status == 0) {
            return Error{ErrorCode::kNotFound, "drive does not answer"};
        }
        if ((status & (ata::kStatusError | ata::kStatusDeviceFault)) != 0) {
            acknowledge();
            const bool packet = in8(ata::kLbaMid) == ata::kPacketSignatureMid &&
                                in8(ata::kLbaHigh) == ata::kPacketSignatureHigh;
            return packet ? Error{ErrorCode::kUnsupported, kPacketDevice}
                          : Error{ErrorCode::kNotFound, "drive does not identify itself"};
        }
        BF_TRY(wait_for_data());
        std::array<uint16_t, kIdentifyWords> words;
        for (uint16_t &word : words) {
            word = ports_.in16(port(ata::kData));
        }
        BF_TRY(wait_for_end());
        return parse_identify(words);
    }

    [[nodiscard]] bool has_bus_master() const { return setup_.bus_master != 0; }

    // The most sectors that one command moves for this disk.
    [[nodiscard]] uint32_t max_sectors(const AtaIdentity &disk) const {
        if (!disk.lba48) {
            return ata::kMaxSectorsLba28;
        }
        static_assert(kMaxTransferSectors <= ata::kMaxSectorsLba48);
        return kMaxTransferSectors;
    }

    // One command; 1 <= bytes / 512 <= max_sectors(disk), inside the disk.
    [[nodiscard]] Status read(unsigned drive, const AtaIdentity &disk, uint64_t sector,
                              std::span<uint8_t> bytes) {
        BF_TRY(not_writing());
        if (!has_bus_master() || !disk.dma) {
            return pio_read(drive, disk, sector, bytes);
        }
        const uint64_t physical = platform::physical_address(bytes.data());
        if (fill_table(physical, bytes.size())) {
            return dma(drive, disk, sector, bytes.size(), true);
        }
        return each_bounce(sector, bytes, [&](uint64_t at, std::span<uint8_t> piece) -> Status {
            BF_TRY(bounce(drive, disk, at, piece.size(), true));
            std::memcpy(piece.data(), setup_.bounce.data(), piece.size());
            return {};
        });
    }
    // Writes as read() reads, then flushes the disk's cache.
    [[nodiscard]] Status write(unsigned drive, const AtaIdentity &disk, uint64_t sector,
                               std::span<const uint8_t> bytes) {
        BF_TRY(not_writing());
        BF_TRY(write_data(drive, disk, sector, bytes));
        if (!disk.flush && !disk.flush_ext) {
            return {};
        }
        BF_TRY(start_flush(drive, disk));
        return wait_for_end();
    }
    // Starts a write without waiting, see BlockDevice. If the disk has no DMA, or the bus master
    // does not reach the memory, the whole write is done here.
    [[nodiscard]] Status begin_write(unsigned drive, const AtaIdentity &disk, uint64_t sector,
                                     std::span<const uint8_t> bytes) {
        BF_TRY(not_writing());
        if (!has_bus_master() || !disk.dma ||
            !fill_table(platform::physical_address(bytes.data()), bytes.size())) {
            return write(drive, disk, sector, bytes);
        }
        BF_TRY(start_dma(drive, disk, sector, bytes.size(), false));
        pending_ = Pending::kData;
        pending_ticks_ = platform::ticks();
        return {};
    }
    [[nodiscard]] Result<bool> poll_write(unsigned drive, const AtaIdentity &disk) {
        if (pending_ == Pending::kNone) {
            return true;
        }
        // Read before the status: the status is looked at once more after the deadline, since the
        // host may have stopped us meanwhile.
        const bool late =
            platform::ticks() - pending_ticks_ > ms_to_ticks(setup_.timeouts.command_ms);
        const uint8_t status = alternate_status();
        const bool over = pending_ == Pending::kData ? dma_over(status) : command_over(status);
        if (!over && !late) {
            return false;
        }
        const bool data = pending_ == Pending::kData;
        pending_ = Pending::kNone;
        if (!data) {
            BF_TRY(over ? end_of_command() : hung());
            return true;
        }
        BF_TRY(finish_dma(over, false));
        if (!disk.flush && !disk.flush_ext) {
            return true;
        }
        BF_TRY(start_flush(drive, disk));
        pending_ = Pending::kFlush;
        pending_ticks_ = platform::ticks();
        return false;
    }

  private:
    [[nodiscard]] uint16_t port(uint16_t reg) const {
        return static_cast<uint16_t>(setup_.command + reg);
    }
    [[nodiscard]] uint16_t bm_port(uint16_t reg) const {
        return static_cast<uint16_t>(setup_.bus_master + reg);
    }
    [[nodiscard]] uint8_t in8(uint16_t reg) { return ports_.in8(port(reg)); }
    void out8(uint16_t reg, uint8_t value) { ports_.out8(port(reg), value); }
    // Does not acknowledge an interrupt, unlike the status register.
    [[nodiscard]] uint8_t alternate_status() { return ports_.in8(setup_.control); }
    void acknowledge() { (void)in8(ata::kStatus); }
    // ATA7 section 5.12: the status is valid 400 ns after a selection or a command. Four reads of a
    // port take longer on a real bus, and settle_us() makes sure elsewhere.
    void status_delay() {
        for (int i = 0; i < 4; ++i) {
            (void)alternate_status();
        }
        settle_us(1);
    }
    void command(uint8_t code) {
        out8(ata::kCommand, code);
        status_delay();
    }

    // Waits for a status. The interval between two reads grows up to kMaxPollUs: each read of an
    // emulated disk's port takes time from the emulator, which does the disk's work.
    template <typename Done>
    [[nodiscard]] bool wait(uint32_t timeout_ms, Done done) {
        constexpr uint32_t kMaxPollUs = 64;
        uint32_t pause_us = 1;
        return wait_until(timeout_ms, [&] {
            if (done(alternate_status())) {
                return true;
            }
            settle_us(pause_us);
            pause_us = std::min(2 * pause_us, kMaxPollUs);
            return false;
        });
    }

    // Selects `drive`. `extra`: the low bits of the device register.
    [[nodiscard]] Status select(unsigned drive, uint8_t extra) {
        const auto idle = [](uint8_t s) {
            return (s & (ata::kStatusBusy | ata::kStatusDataRequest)) == 0;
        };
        if (!wait(setup_.timeouts.ready_ms, idle)) {
            BF_TRY(reset());
        }
        const auto device = static_cast<uint8_t>(ata::kDeviceObsolete |
                                                 (drive != 0 ? ata::kDeviceSecond : 0) | extra);
        out8(ata::kDevice, device);
        if (drive != selected_) {
            status_delay();
            selected_ = drive;
            if (!wait(setup_.timeouts.ready_ms, idle)) {
                return Error{ErrorCode::kTimeout, "disk stays busy"};
            }
        }
        return {};
    }

    // Brings both drives of the channel back to a known state (ATA7 section 11.2). Called after a
    // drive has hung, so that it cannot write into memory later.
    [[nodiscard]] Status reset() {
        if (has_bus_master()) {
            ports_.out8(bm_port(ata::kBmCommand), 0);
        }
        ports_.out8(setup_.control, ata::kControlNoInterrupt | ata::kControlReset);
        settle_us(5);
        ports_.out8(setup_.control, ata::kControlNoInterrupt);
        settle_us(2000);
        selected_ = kNone;
        if (!wait(setup_.timeouts.ready_ms,
                  [](uint8_t s) { return (s & ata::kStatusBusy) == 0; })) {
            return Error{ErrorCode::kTimeout, "disk does not come out of reset"};
        }
        return {};
    }

    [[nodiscard]] Status failure(uint8_t status) {
        const uint8_t error = in8(ata::kError);
        acknowledge();
        if ((status & ata::kStatusDeviceFault) != 0) {
            return Error{ErrorCode::kDevice, "disk reports a fault"};
        }
        return Error{ErrorCode::kDevice, ata_error_text(error)};
    }
    [[nodiscard]] Status hung() {
        const Status reset_done = reset();
        return Error{ErrorCode::kTimeout,
                     reset_done ? "disk did not finish in time" : "disk hangs and does not reset"};
    }

    // Waits until one sector of data can be moved.
    [[nodiscard]] Status wait_for_data() {
        if (!wait(setup_.timeouts.command_ms,
                  [](uint8_t s) { return (s & ata::kStatusBusy) == 0; })) {
            return hung();
        }
        const uint8_t status = alternate_status();
        if ((status & (ata::kStatusError | ata::kStatusDeviceFault)) != 0) {
            return failure(status);
        }
        if ((status & ata::kStatusDataRequest) == 0) {
            return Error{ErrorCode::kDevice, "disk ended the transfer early"};
        }
        return {};
    }
    // Waits until the command is over.
    [[nodiscard]] Status wait_for_end() {
        const bool done = wait(setup_.timeouts.command_ms, command_over);
        return done ? end_of_command() : hung();
    }
    [[nodiscard]] static bool command_over(uint8_t status) {
        return (status & (ata::kStatusBusy | ata::kStatusDataRequest)) == 0;
    }
    [[nodiscard]] Status end_of_command() {
        const uint8_t status = in8(ata::kStatus);
        if ((status & (ata::kStatusError | ata::kStatusDeviceFault)) != 0) {
            return failure(status);
        }
        return {};
    }

    [[nodiscard]] Status start_flush(unsigned drive, const AtaIdentity &disk) {
        BF_TRY(select(drive, 0));
        command(disk.flush_ext ? ata::kFlushCacheExt : ata::kFlushCache);
        return {};
    }
    [[nodiscard]] Status not_writing() const {
        return pending_ == Pending::kNone
                   ? Status()
                   : Status(ErrorCode::kExhausted, "disk is busy with a write");
    }

    void write_address28(uint64_t sector, uint32_t count) {
        out8(ata::kFeatures, 0);
        out8(ata::kCount, static_cast<uint8_t>(count));  // 256 is written as 0
        out8(ata::kLbaLow, static_cast<uint8_t>(sector));
        out8(ata::kLbaMid, static_cast<uint8_t>(sector >> 8));
        out8(ata::kLbaHigh, static_cast<uint8_t>(sector >> 16));
    }
    // Each register remembers two bytes: the earlier one is the higher (ATA8 section 7.25).
    void write_address48(uint64_t sector, uint32_t count) {
        out8(ata::kFeatures, 0);
        out8(ata::kCount, static_cast<uint8_t>(count >> 8));  // 65536 is written as 0
        out8(ata::kLbaLow, static_cast<uint8_t>(sector >> 24));
        out8(ata::kLbaMid, static_cast<uint8_t>(sector >> 32));
        out8(ata::kLbaHigh, static_cast<uint8_t>(sector >> 40));
        write_address28(sector, count);
    }
    [[nodiscard]] Status address(unsigned drive, const AtaIdentity &disk, uint64_t sector,
                                 size_t len_bytes) {
        const auto count = static_cast<uint32_t>(len_bytes / kSectorBytes);
        const auto top = static_cast<uint8_t>(disk.lba48 ? 0 : sector >> 24 & 0x0F);
        BF_TRY(select(drive, ata::kDeviceLba | top));
        if (disk.lba48) {
            write_address48(sector, count);
        } else {
            write_address28(sector, count);
        }
        return {};
    }

    [[nodiscard]] bool fill_table(uint64_t physical, size_t len_bytes) {
        const std::span table(reinterpret_cast<ata::PrdEntry *>(setup_.prd.data()),
                              setup_.prd.size() / sizeof(ata::PrdEntry));
        return fill_prd_table(table, physical, len_bytes) != 0;
    }

    // Does the transfer that the table describes (BMIDE section 3.1).
    [[nodiscard]] Status dma(unsigned drive, const AtaIdentity &disk, uint64_t sector,
                             size_t len_bytes, bool to_memory) {
        BF_TRY(start_dma(drive, disk, sector, len_bytes, to_memory));
        return finish_dma(wait(setup_.timeouts.command_ms, [&](uint8_t s) { return dma_over(s); }),
                          to_memory);
    }
    [[nodiscard]] Status start_dma(unsigned drive, const AtaIdentity &disk, uint64_t sector,
                                   size_t len_bytes, bool to_memory) {
        const uint8_t direction = to_memory ? ata::kBmCommandToMemory : 0;
        BF_TRY(address(drive, disk, sector, len_bytes));
        dma_write_barrier();
        ports_.out32(bm_port(ata::kBmTable),
                     static_cast<uint32_t>(platform::physical_address(setup_.prd.data())));
        ports_.out8(bm_port(ata::kBmCommand), direction);
        clear_bm_status();
        if (to_memory) {
            command(disk.lba48 ? ata::kReadDmaExt : ata::kReadDma);
        } else {
            command(disk.lba48 ? ata::kWriteDmaExt : ata::kWriteDma);
        }
        ports_.out8(bm_port(ata::kBmCommand), direction | ata::kBmCommandStart);
        return {};
    }
    // Whether the transfer is over, by the disk's status and the controller's.
    [[nodiscard]] bool dma_over(uint8_t status) {
        bm_status_ = ports_.in8(bm_port(ata::kBmStatus));
        const bool failed = (status & (ata::kStatusError | ata::kStatusDeviceFault)) != 0 ||
                            (bm_status_ & ata::kBmStatusError) != 0;
        return command_over(status) && (failed || (bm_status_ & ata::kBmStatusActive) == 0);
    }
    [[nodiscard]] Status finish_dma(bool done, bool to_memory) {
        ports_.out8(bm_port(ata::kBmCommand), to_memory ? ata::kBmCommandToMemory : 0);  // stop
        if (!done) {
            return hung();
        }
        dma_read_barrier();
        clear_bm_status();
        const uint8_t status = in8(ata::kStatus);
        if ((status & (ata::kStatusError | ata::kStatusDeviceFault)) != 0) {
            return failure(status);
        }
        if ((bm_status_ & ata::kBmStatusError) != 0) {
            return Error{ErrorCode::kDevice, "disk controller could not reach memory"};
        }
        return {};
    }
    void clear_bm_status() {
        const uint8_t keep = ports_.in8(bm_port(ata::kBmStatus)) & ata::kBmStatusDriveCapable;
        ports_.out8(bm_port(ata::kBmStatus), keep | ata::kBmStatusError | ata::kBmStatusInterrupt);
    }

    [[nodiscard]] Status bounce(unsigned drive, const AtaIdentity &disk, uint64_t sector,
                                size_t len_bytes, bool to_memory) {
        if (!fill_table(platform::physical_address(setup_.bounce.data()), len_bytes)) {
            return Error{ErrorCode::kInvalid, "memory that the disk controller cannot reach"};
        }
        return dma(drive, disk, sector, len_bytes, to_memory);
    }
    template <typename Byte, typename Move>
    [[nodiscard]] Status each_bounce(uint64_t sector, std::span<Byte> bytes, Move move) {
        if (setup_.bounce.size() < kSectorBytes) {
            return Error{ErrorCode::kInvalid, "memory that the disk controller cannot reach"};
        }
        const size_t most = setup_.bounce.size() / kSectorBytes * kSectorBytes;
        while (!bytes.empty()) {
            const size_t len = std::min(bytes.size(), most);
            BF_TRY(move(sector, bytes.first(len)));
            bytes = bytes.subspan(len);
            sector += len / kSectorBytes;
        }
        return {};
    }

    [[nodiscard]] Status write_data(unsigned drive, const AtaIdentity &disk, uint64_t sector,
                                    std::span<const uint8_t> bytes) {
        if (!has_bus_master() || !disk.dma) {
            return pio_write(drive, disk, sector, bytes);
        }
        if (fill_table(platform::physical_address(bytes.data()), bytes.size())) {
            return dma(drive, disk, sector, bytes.size(), false);
        }
        return each_bounce(sector, bytes,
                           [&](uint64_t at, std::span<const uint8_t> piece) -> Status {
                               std::memcpy(setup_.bounce.data(), piece.data(), piece.size());
                               return bounce(drive, disk, at, piece.size(), false);
                           });
    }

    [[nodiscard]] Status pio_read(unsigned drive, const AtaIdentity &disk, uint64_t sector,
                                  std::span<uint8_t> bytes) {
        BF_TRY(address(drive, disk, sector, bytes.size()));
        command(disk.lba48 ? ata::kReadSectorsExt : ata::kReadSectors);
        for (size_t at = 0; at < bytes.size(); at += kSectorBytes) {
            BF_TRY(wait_for_data());
            for (size_t i = at; i < at + kSectorBytes; i += 2) {
                const uint16_t word = ports_.in16(port(ata::kData));
                bytes[i] = static_cast<uint8_t>(word);
                bytes[i + 1] = static_cast<uint8_t>(word >> 8);
            }
            status_delay();
        }
        return wait_for_end();
    }
    [[nodiscard]] Status pio_write(unsigned drive, const AtaIdentity &disk, uint64_t sector,
                                   std::span<const uint8_t> bytes) {
        BF_TRY(address(drive, disk, sector, bytes.size()));
        command(disk.lba48 ? ata::kWriteSectorsExt : ata::kWriteSectors);
        for (size_t at = 0; at < bytes.size(); at += kSectorBytes) {
            BF_TRY(wait_for_data());
            for (size_t i = at; i < at + kSectorBytes; i += 2) {
                ports_.out16(port(ata::kData),
                             static_cast<uint16_t>(bytes[i] | uint16_t{bytes[i + 1]} << 8));
            }
            status_delay();
        }
        return wait_for_end();
    }

    static constexpr unsigned kNone = 2;

    Ports ports_;
    AtaChannelSetup setup_;
    unsigned selected_ = kNone;
    uint8_t bm_status_ = 0;  // the bus master's, as dma_over() last read it
    // The part of a started write that the disk is doing now.
    enum class Pending : uint8_t { kNone, kData, kFlush } pending_ = Pending::kNone;
    uint64_t pending_ticks_ = 0;  // when that part started
};

// One disk. The channel outlives it, and is used by this disk and its neighbour only.
template <typename Ports>
class AtaDisk final : public BlockDevice {
  public:
    constexpr AtaDisk(AtaChannel<Ports> &channel, unsigned drive, const AtaIdentity &identity,
                      std::string_view name)
        : channel_(&channel), drive_(drive), identity_(identity), name_(name) {}

    [[nodiscard]] std::string_view name() const override { return name_; }
    [[nodiscard]] std::string_view model() const { return identity_.model(); }
    [[nodiscard]] uint64_t sector_count() const override { return identity_.sector_count; }
    [[nodiscard]] uint32_t max_sectors() const override { return channel_->max_sectors(identity_); }

    [[nodiscard]] Status read(uint64_t first_sector, std::span<uint8_t> bytes) override {
        BF_TRY(check_transfer(*this, first_sector, bytes));
        return channel_->read(drive_, identity_, first_sector, bytes);
    }
    [[nodiscard]] Status write(uint64_t first_sector, std::span<const uint8_t> bytes) override {
        BF_TRY(check_transfer(*this, first_sector, bytes));
        return channel_->write(drive_, identity_, first_sector, bytes);
    }
    [[nodiscard]] Status begin_write(uint64_t first_sector,
                                     std::span<const uint8_t> bytes) override {
        BF_TRY(check_transfer(*this, first_sector, bytes));
        return channel_->begin_write(drive_, identity_, first_sector, bytes);
    }
    [[nodiscard]] Result<bool> poll_write() override {
        return channel_->poll_write(drive_, identity_);
    }

  private:
    AtaChannel<Ports> *channel_;
    unsigned drive_;
    AtaIdentity identity_;
    std::string_view name_;
};

}  // namespace bareflow
