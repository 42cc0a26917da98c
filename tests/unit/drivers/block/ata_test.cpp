// The ATA driver on a fake channel: every kind of command, every fault, and that a hung drive is
// reset.
#include "drivers/block/ata.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <utility>

#include "tests/fakes/fake_ata.h"

namespace bareflow {
namespace {

using fakes::DmaMemory;
using fakes::FakeAtaChannel;
using fakes::FakeAtaPorts;
using Channel = AtaChannel<FakeAtaPorts>;
using Disk = AtaDisk<FakeAtaPorts>;
using Fault = FakeAtaChannel::Fault;

class AtaTest : public testing::Test {
  protected:
    AtaTest() {
        fake_.dma.allow(prd_.span());
        fake_.dma.allow(bounce_.span());
        fake_.dma.allow(memory_.span());
    }

    Channel &channel(bool bus_master = true) {
        AtaChannelSetup setup;
        setup.command = FakeAtaChannel::kCommandPort;
        setup.control = FakeAtaChannel::kControlPort;
        setup.bus_master = bus_master ? FakeAtaChannel::kBusMasterPort : 0;
        fake_.has_bus_master = bus_master;
        setup.prd = prd_.span();
        setup.bounce = bounce_.span();
        setup.timeouts = {.ready_ms = 20, .command_ms = 20};
        channel_ = std::make_unique<Channel>(FakeAtaPorts{&fake_}, setup);
        return *channel_;
    }
    Disk disk(unsigned drive = 0, bool bus_master = true) {
        Channel &cable = channel(bus_master);
        Result<AtaIdentity> identity = cable.identify(drive);
        EXPECT_TRUE(identity.ok()) << identity.error().message;
        return Disk(cable, drive, identity ? *identity : AtaIdentity{}, "ata0");
    }
    void expect_same(uint64_t sector, std::span<const uint8_t> bytes, unsigned drive = 0) {
        const auto &image = fake_.drive(drive).bytes;
        ASSERT_TRUE(std::equal(bytes.begin(), bytes.end(), image.begin() + sector * 512));
    }

    static constexpr size_t kMemoryBytes = size_t{kMaxTransferSectors} * 512 + 4096;
    DmaMemory prd_{AtaChannelSetup::kPrdBytes, true};
    DmaMemory bounce_{AtaChannelSetup::kBounceBytes, true};
    DmaMemory memory_{kMemoryBytes, true};
    FakeAtaChannel fake_;
    std::unique_ptr<Channel> channel_;
};

TEST_F(AtaTest, FindsBothDrives) {
    fake_.add_disk(0, 1000);
    fake_.add_disk(1, 77, false, false);
    Channel &cable = channel();
    const Result<AtaIdentity> first = cable.identify(0);
    ASSERT_TRUE(first.ok());
    EXPECT_EQ(first->sector_count, 1000u);
    EXPECT_EQ(first->model(), "FAKE DISK");
    EXPECT_TRUE(first->lba48 && first->dma && first->flush_ext);
    const Result<AtaIdentity> second = cable.identify(1);
    ASSERT_TRUE(second.ok());
    EXPECT_EQ(second->sector_count, 77u);
    EXPECT_FALSE(second->lba48 || second->dma || second->flush_ext);
}

TEST_F(AtaTest, EmptyChannels) {
    Channel &cable = channel();
    EXPECT_EQ(cable.identify(0).error().code, ErrorCode::kNotFound);
    EXPECT_EQ(cable.identify(1).error().code, ErrorCode::kNotFound);
    fake_.floating = true;
    EXPECT_EQ(cable.identify(0).error().code, ErrorCode::kNotFound);
    EXPECT_TRUE(fake_.commands.empty());
}

TEST_F(AtaTest, CdromsAreSkippedAndTheNeighbourWorks) {
    fake_.add_cdrom(0);
    fake_.add_disk(1, 10);
    Channel &cable = channel();
    EXPECT_EQ(cable.identify(0).error().code, ErrorCode::kUnsupported);
    EXPECT_TRUE(cable.identify(1).ok());
    EXPECT_EQ(cable.identify(0).error().code, ErrorCode::kUnsupported);
}

TEST_F(AtaTest, DriveThatNeverAnswers) {
    fake_.add_disk(0, 10).fault = Fault::kHang;
    EXPECT_EQ(channel().identify(0).error().code, ErrorCode::kNotFound);
}

struct Shape {
    const char *name;
    bool lba48, dma, bus_master;
    uint8_t read, write, flush;
};
class AtaShapes : public AtaTest, public testing::WithParamInterface<Shape> {};

// The same reads and writes by every kind of command.
TEST_P(AtaShapes, ReadsAndWrites) {
    const Shape &shape = GetParam();
    constexpr uint32_t kSectors = 10000;
    fake_.add_disk(0, kSectors, shape.lba48, shape.dma);
    Disk disk_under_test = disk(0, shape.bus_master);
    std::mt19937 random(7);
    const uint32_t most = disk_under_test.max_sectors();
    for (const uint32_t count : {1u, 2u, 127u, 128u, 129u, 255u, 256u, most}) {
        if (count > most) {
            continue;
        }
        const uint64_t sector = random() % (kSectors - count + 1);
        const std::span bytes = memory_.span().first(count * 512);
        std::fill(bytes.begin(), bytes.end(), uint8_t{0xEE});
        fake_.commands.clear();
        ASSERT_TRUE(disk_under_test.read(sector, bytes).ok());
        EXPECT_EQ(fake_.commands, (std::vector<uint8_t>{shape.read}));
        expect_same(sector, bytes);
        for (uint8_t &byte : bytes) {
            byte = static_cast<uint8_t>(random());
        }
        fake_.commands.clear();
        ASSERT_TRUE(disk_under_test.write(sector, bytes).ok());
        EXPECT_EQ(fake_.commands, (std::vector<uint8_t>{shape.write, shape.flush}));
        expect_same(sector, bytes);
        EXPECT_FALSE(fake_.drive(0).dirty);
    }
}

INSTANTIATE_TEST_SUITE_P(Ata, AtaShapes,
                         testing::Values(Shape{"dma48", true, true, true, 0x25, 0x35, 0xEA},
                                         Shape{"dma28", false, true, true, 0xC8, 0xCA, 0xE7},
                                         Shape{"pio48", true, false, true, 0x24, 0x34, 0xEA},
                                         Shape{"pio28", false, false, true, 0x20, 0x30, 0xE7},
                                         Shape{"no_bus_master", true, true, false, 0x24, 0x34,
                                               0xEA}),
                         [](const auto &which) { return which.param.name; });

TEST_F(AtaTest, BothDrivesInTurn) {
    fake_.add_disk(0, 100);
    fake_.add_disk(1, 200);
    fake_.drive(1).bytes[0] ^= 0xFF;
    Channel &cable = channel();
    Disk first(cable, 0, *cable.identify(0), "ata0");
    Disk second(cable, 1, *cable.identify(1), "ata1");
    const std::span a = memory_.span().first(512);
    const std::span b = memory_.span().subspan(512, 512);
    for (int i = 0; i < 3; ++i) {
        ASSERT_TRUE(first.read(0, a).ok());
        ASSERT_TRUE(second.read(0, b).ok());
        expect_same(0, a, 0);
        expect_same(0, b, 1);
        EXPECT_NE(a[0], b[0]);
    }
}

TEST_F(AtaTest, MemoryAboveFourGigabytesGoesByTheBounceBuffer) {
    fake_.add_disk(0, 1000);
    Disk disk_under_test = disk();
    DmaMemory high(300 * 512);
    ASSERT_GE(reinterpret_cast<uint64_t>(high.data()), 1ull << 32);
    ASSERT_TRUE(disk_under_test.read(500, high.span()).ok());
    expect_same(500, high.span());
    std::fill(high.span().begin(), high.span().end(), uint8_t{0x3C});
    ASSERT_TRUE(disk_under_test.write(17, high.span()).ok());
    expect_same(17, high.span());
}

TEST_F(AtaTest, TransfersAreCheckedBeforeTheDiskSeesThem) {
    fake_.add_disk(0, 100);
    Disk disk_under_test = disk();
    fake_.commands.clear();
    const std::span all = memory_.span();
    EXPECT_EQ(disk_under_test.read(0, {}).code(), ErrorCode::kInvalid);
    EXPECT_EQ(disk_under_test.read(0, all.first(511)).code(), ErrorCode::kInvalid);
    EXPECT_EQ(disk_under_test.read(0, all.subspan(8, 512)).code(), ErrorCode::kInvalid);
    EXPECT_EQ(disk_under_test.read(100, all.first(512)).code(), ErrorCode::kInvalid);
    EXPECT_EQ(disk_under_test.read(99, all.first(1024)).code(), ErrorCode::kInvalid);
    EXPECT_EQ(disk_under_test.read(~0ull, all.first(1024)).code(), ErrorCode::kInvalid);
    EXPECT_EQ(disk_under_test.write(100, all.first(512)).code(), ErrorCode::kInvalid);
    EXPECT_TRUE(fake_.commands.empty());
    EXPECT_TRUE(disk_under_test.read(99, all.first(512)).ok());
}

TEST_F(AtaTest, MoreThanOneCommandTakesIsRefused) {
    fake_.add_disk(0, 1000, false);
    Disk disk_under_test = disk();
    EXPECT_EQ(disk_under_test.max_sectors(), 256u);
    EXPECT_EQ(disk_under_test.read(0, memory_.span().first(257 * 512)).code(), ErrorCode::kInvalid);
}

TEST_F(AtaTest, LongestTransferFromTheWorstAddress) {
    fake_.add_disk(0, kMaxTransferSectors);
    Disk disk_under_test = disk();
    const std::span bytes = memory_.span().subspan(16, size_t{kMaxTransferSectors} * 512);
    fake_.commands.clear();
    ASSERT_TRUE(disk_under_test.read(0, bytes).ok());
    EXPECT_EQ(fake_.commands.size(), 1u);
    expect_same(0, bytes);
}

// Every bit of an address counts.
TEST_F(AtaTest, SectorsAtTheEndOfTheLargestDisks) {
    for (const bool lba48 : {false, true}) {
        for (const bool dma : {false, true}) {
            const uint64_t sectors = lba48 ? 0xFEDCBA987654 : 0xFEDCBA9;
            fake_.add_disk(0, 300, lba48, dma);
            fake_.move_to_end_of(0, sectors);
            Disk disk_under_test = disk();
            ASSERT_EQ(disk_under_test.sector_count(), sectors);
            const std::span bytes = memory_.span().first(200 * 512);
            ASSERT_TRUE(disk_under_test.read(sectors - 250, bytes).ok());
            expect_same(50, bytes);
            ASSERT_TRUE(disk_under_test.write(sectors - 200, bytes).ok());
            expect_same(100, bytes);
        }
    }
}

struct FaultCase {
    const char *name;
    Fault fault;
    uint8_t error;
    ErrorCode code;
    const char *text;
    bool dma;
};
class AtaFaults : public AtaTest, public testing::WithParamInterface<FaultCase> {};

TEST_P(AtaFaults, AreReportedAndTheNextCommandWorks) {
    const FaultCase &want = GetParam();
    FakeAtaChannel::Drive &drive = fake_.add_disk(0, 100, true, want.dma);
    Disk disk_under_test = disk();
    const std::span bytes = memory_.span().first(4 * 512);
    for (int i = 0; i < 2; ++i) {
        drive.fault = want.fault;
        drive.error = want.error;
        const Status status =
            i == 0 ? disk_under_test.read(0, bytes) : disk_under_test.write(0, bytes);
        EXPECT_EQ(status.code(), want.code);
        EXPECT_EQ(status.message(), want.text);
        drive.fault = Fault::kNone;
        ASSERT_TRUE(disk_under_test.read(3, bytes).ok());
        expect_same(3, bytes);
    }
    EXPECT_EQ(fake_.resets, want.code == ErrorCode::kTimeout ? 2u : 0u);
}

INSTANTIATE_TEST_SUITE_P(
    Ata, AtaFaults,
    testing::Values(FaultCase{"dma_unreadable", Fault::kError, 0x40, ErrorCode::kDevice,
                              "disk cannot read the sector", true},
                    FaultCase{"dma_aborted", Fault::kError, 0x04, ErrorCode::kDevice,
                              "disk refused the command", true},
                    FaultCase{"dma_crc", Fault::kError, 0x84, ErrorCode::kDevice,
                              "data was damaged on the way to or from the disk", true},
                    FaultCase{"dma_no_sector", Fault::kError, 0x10, ErrorCode::kDevice,
                              "disk has no such sector", true},
                    FaultCase{"dma_fault", Fault::kDeviceFault, 0, ErrorCode::kDevice,
                              "disk reports a fault", true},
                    FaultCase{"dma_controller", Fault::kBusMaster, 0, ErrorCode::kDevice,
                              "disk controller could not reach memory", true},
                    FaultCase{"dma_hang", Fault::kHang, 0, ErrorCode::kTimeout,
                              "disk did not finish in time", true},
                    FaultCase{"pio_unreadable", Fault::kError, 0x40, ErrorCode::kDevice,
                              "disk cannot read the sector", false},
                    FaultCase{"pio_short", Fault::kEndsEarly, 0, ErrorCode::kDevice,
                              "disk ended the transfer early", false},
                    FaultCase{"pio_hang", Fault::kHang, 0, ErrorCode::kTimeout,
                              "disk did not finish in time", false}),
    [](const auto &which) { return which.param.name; });

// Polls a started write until it is over. Returns the number of polls; 0: it failed.
template <typename AnyDisk>
std::pair<Status, int> write_in_pieces(AnyDisk &disk, uint64_t sector,
                                       std::span<const uint8_t> bytes) {
    Status status = disk.begin_write(sector, bytes);
    for (int looks = 1; status && looks < 1'000'000; ++looks) {
        const Result<bool> over = disk.poll_write();
        status = over.status();
        if (over && *over) {
            return {status, looks};
        }
    }
    return {status, 0};
}

TEST_P(AtaShapes, WritesWithoutWaiting) {
    const Shape &shape = GetParam();
    FakeAtaChannel::Drive &drive = fake_.add_disk(0, 1000, shape.lba48, shape.dma);
    drive.busy_polls = 8;
    Disk disk_under_test = disk(0, shape.bus_master);
    EXPECT_TRUE(*disk_under_test.poll_write());  // no write was started
    std::mt19937 random(9);
    for (const uint32_t count : {1u, 7u, 32u}) {
        const std::span bytes = memory_.span().first(count * 512);
        for (uint8_t &byte : bytes) {
            byte = static_cast<uint8_t>(random());
        }
        fake_.commands.clear();
        const auto [status, looks] = write_in_pieces(disk_under_test, 11, bytes);
        ASSERT_TRUE(status.ok()) << status.message();
        EXPECT_EQ(looks > 2, shape.dma && shape.bus_master) << looks;
        EXPECT_EQ(fake_.commands, (std::vector<uint8_t>{shape.write, shape.flush}));
        expect_same(11, bytes);
        EXPECT_FALSE(drive.dirty);
        ASSERT_TRUE(disk_under_test.read(11, bytes).ok());
    }
}

TEST_F(AtaTest, NothingElseWhileAWriteIsGoingOn) {
    fake_.add_disk(0, 100).busy_polls = 20;
    Disk disk_under_test = disk();
    const std::span bytes = memory_.span().first(512);
    const std::span other = memory_.span().subspan(4096, 512);
    ASSERT_TRUE(disk_under_test.begin_write(5, bytes).ok());
    EXPECT_EQ(disk_under_test.read(0, other).code(), ErrorCode::kExhausted);
    EXPECT_EQ(disk_under_test.write(0, other).code(), ErrorCode::kExhausted);
    EXPECT_EQ(disk_under_test.begin_write(0, other).code(), ErrorCode::kExhausted);
    for (bool over = false; !over;) {
        const Result<bool> looked = disk_under_test.poll_write();
        ASSERT_TRUE(looked.ok());
        over = *looked;
    }
    EXPECT_TRUE(disk_under_test.read(0, other).ok());
}

TEST_F(AtaTest, AWriteThatFailsWhileNobodyWaits) {
    FakeAtaChannel::Drive &drive = fake_.add_disk(0, 100);
    Disk disk_under_test = disk();
    const std::span bytes = memory_.span().first(1024);
    EXPECT_EQ(disk_under_test.begin_write(99, bytes).code(), ErrorCode::kInvalid);
    for (const Fault fault :
         {Fault::kError, Fault::kDeviceFault, Fault::kBusMaster, Fault::kHang}) {
        drive.fault = fault;
        drive.error = 0x04;
        const auto [status, looks] = write_in_pieces(disk_under_test, 5, bytes);
        EXPECT_EQ(status.code(), fault == Fault::kHang ? ErrorCode::kTimeout : ErrorCode::kDevice);
        EXPECT_EQ(looks, 0);
        drive.fault = Fault::kNone;
        ASSERT_TRUE(write_in_pieces(disk_under_test, 5, bytes).first.ok());
        expect_same(5, bytes);
    }
    EXPECT_EQ(fake_.resets, 1u);
}

TEST_F(AtaTest, DriveThatStaysDeadAfterAReset) {
    FakeAtaChannel::Drive &drive = fake_.add_disk(0, 100);
    Disk disk_under_test = disk();
    drive.fault = Fault::kHangsForReset;
    const std::span bytes = memory_.span().first(512);
    EXPECT_EQ(disk_under_test.read(0, bytes).message(), "disk hangs and does not reset");
    EXPECT_EQ(disk_under_test.read(0, bytes).code(), ErrorCode::kTimeout);
}

TEST(FakeAtaItself, Bites) {
    FakeAtaChannel fake;
    fake.add_disk(0, 10);
    fake.out8(FakeAtaChannel::kCommandPort + ata::kCommand, ata::kIdentifyDevice);
    EXPECT_EQ(fake.violations.take(),
              (std::vector<std::string>{"command with the drive's interrupt on"}));
    (void)fake.in16(FakeAtaChannel::kCommandPort);
    fake.out8(FakeAtaChannel::kCommandPort + ata::kCount, 1);
    EXPECT_EQ(fake.violations.take(),
              (std::vector<std::string>{"data read that the drive did not ask for",
                                        "task file written while busy"}));
    fake.out8(FakeAtaChannel::kBusMasterPort, ata::kBmCommandStart);
    EXPECT_EQ(fake.violations.take().back(), "bus master started before the drive had its command");
    fake.out8(FakeAtaChannel::kBusMasterPort, 0);
}

}  // namespace
}  // namespace bareflow
