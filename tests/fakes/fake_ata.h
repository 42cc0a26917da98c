// One channel of a PCI IDE controller with up to two drives on it, as the ATA and bus master
// manuals describe them, behind its ports. Everything that a driver must not do is a violation.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <vector>

#include "drivers/block/ata_identify.h"
#include "drivers/block/ata_regs.h"
#include "tests/fakes/dma_space.h"
#include "tests/fakes/violations.h"

namespace bareflow::fakes {

class FakeAtaChannel {
  public:
    static constexpr uint16_t kCommandPort = 0x1F0;
    static constexpr uint16_t kControlPort = 0x3F6;
    static constexpr uint16_t kBusMasterPort = 0xC000;

    enum class Fault : uint8_t {
        kNone,
        kHang,           // busy until a reset
        kError,          // ends with `error` in the error register
        kDeviceFault,    // ends with the fault bit
        kBusMaster,      // the controller cannot reach memory
        kEndsEarly,      // one sector short, by the processor's input and output
        kHangsForReset,  // busy, and stays so after a reset
    };
    struct Drive {
        bool present = false;
        bool packet = false;  // a CD-ROM
        bool lba48 = true;
        bool dma = true;
        std::vector<uint8_t> bytes;
        uint64_t first_sector = 0;  // of `bytes`; the disk's other sectors have no content
        std::array<uint16_t, kIdentifyWords> identify{};
        // The next command's fault, and the error register after it.
        Fault fault = Fault::kNone;
        uint8_t error = 0;
        uint32_t busy_polls = 3;  // reads of the status that find it busy
        uint32_t flushes = 0;
        bool dirty = false;  // written and not flushed
    };

    // A disk of `sectors` filled with a pattern, with an IDENTIFY answer to match.
    Drive &add_disk(unsigned drive, uint64_t sectors, bool lba48 = true, bool dma = true);
    // Moves the disk's bytes to the very end of a disk of `sectors`.
    void move_to_end_of(unsigned drive, uint64_t sectors);
    Drive &add_cdrom(unsigned drive);
    [[nodiscard]] Drive &drive(unsigned which) { return drives_[which]; }

    uint8_t in8(uint16_t port);
    uint16_t in16(uint16_t port);
    void out8(uint16_t port, uint8_t value);
    void out16(uint16_t port, uint16_t value);
    void out32(uint16_t port, uint32_t value);

    ~FakeAtaChannel() {
        violations.require((bus_master_.command & ata::kBmCommandStart) == 0,
                           "bus master left running");
    }

    bool floating = false;  // nothing is on the cable: every read gives all ones
    bool has_bus_master = true;
    DmaSpace dma;
    std::vector<uint8_t> commands;
    uint32_t resets = 0;
    Violations violations{"fake ATA channel"};

  private:
    enum class Phase : uint8_t { kIdle, kDataIn, kDataOut, kDma, kNoData };
    struct Pending {
        uint8_t code = 0;
        Phase phase = Phase::kIdle;
        uint64_t lba = 0;
        uint32_t sectors = 0;
        uint32_t done = 0;  // sectors moved
    };
    struct BusMaster {
        uint8_t command = 0;
        // As firmware leaves it: an old interrupt, an old error.
        uint8_t status = ata::kBmStatusDriveCapable | ata::kBmStatusInterrupt | ata::kBmStatusError;
        uint32_t table = 0;
        bool armed = false;  // table and direction were set after the last transfer
    };

    [[nodiscard]] Drive &selected() { return drives_[(device_ & ata::kDeviceSecond) != 0]; }
    [[nodiscard]] uint8_t look();
    void task_file(unsigned reg, uint8_t value);
    void command(uint8_t code);
    void begin(uint8_t code, Phase phase, bool ext);
    void run_dma();
    void end(uint8_t error);
    void load_sector();
    void store_sector();
    void bus_master_write(uint16_t reg, uint8_t value);
    void progress();

    std::array<Drive, 2> drives_;
    std::array<std::array<uint8_t, 2>, 7> file_{};  // [register][0 latest, 1 the one before]
    uint8_t device_ = 0;
    uint8_t control_ = 0;
    uint8_t status_ = ata::kStatusReady;
    uint8_t error_ = 0;
    uint32_t busy_left_ = 0;
    uint32_t looks_since_select_ = 100;
    Pending pending_;
    std::vector<uint16_t> buffer_;  // the words of the sector that is being moved
    size_t buffer_at_ = 0;
    BusMaster bus_master_;
};

struct FakeAtaPorts {
    FakeAtaChannel *channel;
    uint8_t in8(uint16_t port) { return channel->in8(port); }
    uint16_t in16(uint16_t port) { return channel->in16(port); }
    void out8(uint16_t port, uint8_t value) { channel->out8(port, value); }
    void out16(uint16_t port, uint16_t value) { channel->out16(port, value); }
    void out32(uint16_t port, uint32_t value) { channel->out32(port, value); }
};

}  // namespace bareflow::fakes
