// The virtio disk driver on a fake device: transfers, faults, and writes that nobody waits for.
#include "drivers/block/virtio_blk.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/fakes/fake_virtio.h"

namespace bareflow {
namespace {

using fakes::DmaMemory;
using fakes::FakeVirtioBlk;
using fakes::FakeVirtioRegs;
using Driver = VirtioBlk<FakeVirtioRegs>;
using Fault = FakeVirtioBlk::Fault;

class VirtioBlkTest : public testing::Test {
  protected:
    static constexpr uint64_t kSectors = 3000;
    VirtioBlkTest() {
        fake_.dma.allow(memory_.span());
        fake_.dma.allow(data_.span());
    }
    Result<Driver> start() {
        std::fill(memory_.span().begin(), memory_.span().end(), uint8_t{0});
        return Driver::create(FakeVirtioRegs(fake_), memory_.span(), "virtio-blk0", 20);
    }
    void expect_same(uint64_t sector, std::span<const uint8_t> bytes) {
        ASSERT_TRUE(std::equal(bytes.begin(), bytes.end(), fake_.bytes.begin() + sector * 512));
    }
    DmaMemory memory_{VirtioBlkLayout::kDmaBytes};
    DmaMemory data_{1 << 20};
    FakeVirtioBlk fake_{kSectors};
};

TEST_F(VirtioBlkTest, BringsTheDiskUp) {
    const auto disk = start();
    ASSERT_TRUE(disk.ok()) << disk.error().message;
    EXPECT_EQ(disk->sector_count(), kSectors);
    EXPECT_EQ(disk->max_sectors(), kMaxTransferSectors);
    EXPECT_EQ(disk->name(), "virtio-blk0");
    EXPECT_EQ(fake_.accepted(), virtio::kFeatureVersion1 | virtio::kBlkFeatureFlush);
}

TEST_F(VirtioBlkTest, ReadsAndWrites) {
    auto disk = start();
    ASSERT_TRUE(disk.ok());
    std::mt19937 random(5);
    for (const uint32_t count : {1u, 2u, 7u, 128u, 2048u}) {
        const uint64_t sector = random() % (kSectors - count + 1);
        const std::span bytes = data_.span().first(count * 512);
        ASSERT_TRUE(disk->read(sector, bytes).ok());
        expect_same(sector, bytes);
        for (uint8_t &byte : bytes) {
            byte = static_cast<uint8_t>(random());
        }
        ASSERT_TRUE(disk->write(sector, bytes).ok());
        expect_same(sector, bytes);
        EXPECT_FALSE(fake_.dirty) << "flushed";
    }
    EXPECT_FALSE(fake_.interrupt_asserted());
}

TEST_F(VirtioBlkTest, WithoutACacheNothingIsFlushed) {
    fake_.offered &= ~virtio::kBlkFeatureFlush;
    auto disk = start();
    ASSERT_TRUE(disk.ok());
    ASSERT_TRUE(disk->write(0, data_.span().first(512)).ok());
    EXPECT_EQ(fake_.requests, 1u);
}

TEST_F(VirtioBlkTest, ReadOnlyDisks) {
    fake_.offered |= virtio::kBlkFeatureReadOnly;
    auto disk = start();
    ASSERT_TRUE(disk.ok());
    EXPECT_EQ(disk->write(0, data_.span().first(512)).code(), ErrorCode::kUnsupported);
    EXPECT_TRUE(disk->read(0, data_.span().first(512)).ok());
    EXPECT_EQ(fake_.requests, 1u);
}

TEST_F(VirtioBlkTest, SegmentsNoLongerThanTheDeviceTakes) {
    fake_.set_size_max(5 * 512 + 100);
    auto disk = start();
    ASSERT_TRUE(disk.ok());
    EXPECT_EQ(disk->max_sectors(), 5u);
    EXPECT_TRUE(disk->read(0, data_.span().first(5 * 512)).ok());
    EXPECT_EQ(disk->read(0, data_.span().first(6 * 512)).code(), ErrorCode::kInvalid);
    fake_.set_size_max(511);
    EXPECT_EQ(start().error().code, ErrorCode::kDevice);
}

TEST_F(VirtioBlkTest, EmptyDisksAndShortConfigurations) {
    std::fill_n(fake_.config.begin(), 8, uint8_t{0});
    EXPECT_EQ(start().error().code, ErrorCode::kDevice);
    fake_.config.resize(7);
    EXPECT_EQ(start().error().code, ErrorCode::kDevice);
}

TEST_F(VirtioBlkTest, QueueThatCannotHoldARequest) {
    fake_.queue_max = 2;
    EXPECT_EQ(start().error().code, ErrorCode::kDevice);
}

TEST_F(VirtioBlkTest, TransfersAreCheckedBeforeTheDiskSeesThem) {
    auto disk = start();
    ASSERT_TRUE(disk.ok());
    EXPECT_EQ(disk->read(0, {}).code(), ErrorCode::kInvalid);
    EXPECT_EQ(disk->read(0, data_.span().first(100)).code(), ErrorCode::kInvalid);
    EXPECT_EQ(disk->read(0, data_.span().subspan(4, 512)).code(), ErrorCode::kInvalid);
    EXPECT_EQ(disk->read(kSectors, data_.span().first(512)).code(), ErrorCode::kInvalid);
    EXPECT_EQ(disk->read(~0ull, data_.span().first(1024)).code(), ErrorCode::kInvalid);
    EXPECT_EQ(disk->write(kSectors - 1, data_.span().first(1024)).code(), ErrorCode::kInvalid);
    EXPECT_EQ(fake_.requests, 0u);
}

TEST_F(VirtioBlkTest, ErrorsThatTheDiskReports) {
    auto disk = start();
    ASSERT_TRUE(disk.ok());
    const std::span bytes = data_.span().first(1024);
    for (const auto &[fault, code] : {std::pair{Fault::kIoError, ErrorCode::kDevice},
                                      {Fault::kUnsupported, ErrorCode::kUnsupported},
                                      {Fault::kNoStatus, ErrorCode::kDevice},
                                      {Fault::kShort, ErrorCode::kDevice}}) {
        fake_.fault = fault;
        EXPECT_EQ(disk->read(0, bytes).code(), code);
        fake_.fault = Fault::kNone;
        EXPECT_TRUE(disk->read(0, bytes).ok()) << "the next request works";
    }
}

TEST_F(VirtioBlkTest, WritesWithoutWaiting) {
    auto disk = start();
    ASSERT_TRUE(disk.ok());
    EXPECT_TRUE(*disk->poll_write());  // no write was started
    const std::span bytes = data_.span().first(2048);
    for (uint64_t round = 0; round < 3; ++round) {
        std::fill(bytes.begin(), bytes.end(), static_cast<uint8_t>(0x51 + round));
        ASSERT_TRUE(disk->begin_write(round, bytes).ok());
        EXPECT_EQ(disk->read(0, data_.span().last(512)).code(), ErrorCode::kExhausted);
        EXPECT_EQ(disk->write(0, data_.span().last(512)).code(), ErrorCode::kExhausted);
        EXPECT_FALSE(*disk->poll_write());  // the data was written, the flush is still to come
        EXPECT_TRUE(*disk->poll_write());
        EXPECT_FALSE(fake_.dirty);
        expect_same(round, bytes);
    }
    fake_.offered &= ~virtio::kBlkFeatureFlush;
    auto plain = start();
    ASSERT_TRUE(plain->begin_write(7, bytes).ok());
    EXPECT_TRUE(*plain->poll_write());
    expect_same(7, bytes);
    EXPECT_EQ(plain->begin_write(kSectors, bytes).code(), ErrorCode::kInvalid);
}

TEST_F(VirtioBlkTest, AWriteThatFailsWhileNobodyWaits) {
    auto disk = start();
    ASSERT_TRUE(disk.ok());
    const std::span bytes = data_.span().first(1024);
    fake_.fault = Fault::kIoError;
    ASSERT_TRUE(disk->begin_write(0, bytes).ok());
    EXPECT_EQ(disk->poll_write().error().code, ErrorCode::kDevice);
    EXPECT_TRUE(*disk->poll_write());
    fake_.fault = Fault::kHang;
    ASSERT_TRUE(disk->begin_write(0, bytes).ok());
    Status status;
    while (status) {
        const Result<bool> over = disk->poll_write();
        ASSERT_FALSE(over && *over);
        status = over.status();
    }
    EXPECT_EQ(status.code(), ErrorCode::kTimeout);
    EXPECT_FALSE(fake_.running());
    EXPECT_EQ(disk->begin_write(0, bytes).code(), ErrorCode::kDevice);
}

TEST_F(VirtioBlkTest, DiskThatHangsOrLiesIsResetAndGivenUp) {
    for (const auto &[fault, code] :
         {std::pair{Fault::kHang, ErrorCode::kTimeout}, {Fault::kWrongId, ErrorCode::kDevice}}) {
        auto disk = start();
        ASSERT_TRUE(disk.ok());
        fake_.fault = fault;
        EXPECT_EQ(disk->read(0, data_.span().first(512)).code(), code);
        EXPECT_FALSE(fake_.running());
        fake_.fault = Fault::kNone;
        EXPECT_EQ(disk->read(0, data_.span().first(512)).code(), ErrorCode::kDevice);
    }
}

}  // namespace
}  // namespace bareflow
