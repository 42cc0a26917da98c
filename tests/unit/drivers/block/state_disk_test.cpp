// The state disk on a fake disk that can stop in the middle of a write. A record must survive it.
#include "drivers/block/state_disk.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "tests/fakes/fake_disk.h"

namespace bareflow {
namespace {

using fakes::FakeDisk;
using state_format::kCopyBytes;
using state_format::kCopySectors;
using state_format::kDiskMagic;
using state_format::kDiskSectors;
using state_format::kFirstCopySector;
using state_format::kMaxRecordBytes;
using Record = std::vector<uint8_t>;

// Only StateDisk can write through the interface.
template <typename Disk>
concept AnybodyWrites =
    requires(Disk &disk, std::span<const uint8_t> bytes) { disk.write(0, bytes); };
static_assert(!AnybodyWrites<BlockDevice>);

class StateDiskTest : public ::testing::Test {
  protected:
    StateDiskTest() {
        std::ranges::copy(kDiskMagic, disk_.bytes.begin());
        disk_.first_writable = kFirstCopySector;
        disk_.end_writable = kDiskSectors;
    }
    // As after a reboot.
    StateDisk open() {
        auto opened = StateDisk::open(disk_, buffer_);
        EXPECT_TRUE(opened.ok()) << opened.error().message;
        return *opened;
    }
    Record loaded() {
        StateDisk state = open();
        const auto record = state.load();
        return record ? Record(record->begin(), record->end()) : Record();
    }
    Record random_record(size_t len) {
        Record record(len);
        for (uint8_t &byte : record) {
            byte = static_cast<uint8_t>(random_());
        }
        return record;
    }
    std::span<uint8_t> copy(uint32_t index) {
        return std::span(disk_.bytes)
            .subspan((kFirstCopySector + index * kCopySectors) * kSectorBytes, kCopyBytes);
    }

    FakeDisk disk_{128};
    alignas(16) StateDisk::Buffer buffer_{};
    std::mt19937 random_{7};
};

TEST_F(StateDiskTest, OnlyADiskWithTheMagicIsOne) {
    EXPECT_TRUE(StateDisk::open(disk_, buffer_).ok());
    disk_.bytes[510] = 0x55;  // the end of a boot sector
    EXPECT_EQ(StateDisk::open(disk_, buffer_).error().code, ErrorCode::kNotFound);
    disk_.bytes[510] = 0;
    for (size_t i = 0; i < kDiskMagic.size(); ++i) {
        disk_.bytes[i] ^= 1;
        EXPECT_EQ(StateDisk::open(disk_, buffer_).error().code, ErrorCode::kNotFound);
        disk_.bytes[i] ^= 1;
    }
    FakeDisk small(kDiskSectors - 1);
    std::ranges::copy(kDiskMagic, small.bytes.begin());
    EXPECT_EQ(StateDisk::open(small, buffer_).error().code, ErrorCode::kNotFound);
    EXPECT_EQ(small.reads, 0u);
    disk_.read_error = Error{ErrorCode::kTimeout, "late"};
    EXPECT_EQ(StateDisk::open(disk_, buffer_).error().code, ErrorCode::kTimeout);
    EXPECT_EQ(disk_.writes, 0u);
}

TEST_F(StateDiskTest, ANewDiskHoldsNothing) {
    StateDisk state = open();
    EXPECT_EQ(state.load().error().code, ErrorCode::kNotFound);
    EXPECT_EQ(state.sequence(), 0u);
}

TEST_F(StateDiskTest, KeepsWhatWasSavedLast) {
    for (const size_t len : {0, 1, 479, 480, 481, 5000, 3, static_cast<int>(kMaxRecordBytes), 17}) {
        const Record record = random_record(len);
        StateDisk state = open();
        (void)state.load();
        ASSERT_TRUE(state.save(record).ok());
        EXPECT_EQ(loaded(), record);
    }
    EXPECT_EQ(
        [&] {
            StateDisk state = open();
            (void)state.load();
            return state.sequence();
        }(),
        9u);
}

TEST_F(StateDiskTest, CopiesTakeTurns) {
    StateDisk state = open();
    (void)state.load();
    ASSERT_TRUE(state.save(random_record(100)).ok());
    const Record first(copy(0).begin(), copy(0).end());
    ASSERT_TRUE(state.save(random_record(100)).ok());
    EXPECT_TRUE(std::ranges::equal(copy(0), first));
    ASSERT_TRUE(state.save(random_record(100)).ok());
    EXPECT_FALSE(std::ranges::equal(copy(0), first));
}

TEST_F(StateDiskTest, WhatCannotBeSaved) {
    StateDisk state = open();
    EXPECT_EQ(state.save({}).code(), ErrorCode::kInvalid);  // not read yet
    (void)state.load();
    EXPECT_EQ(state.save(Record(kMaxRecordBytes + 1)).code(), ErrorCode::kTooLarge);
    EXPECT_EQ(disk_.writes, 0u);
    disk_.write_error = Error{ErrorCode::kDevice, "worn out"};
    EXPECT_EQ(state.save(random_record(10)).code(), ErrorCode::kDevice);
    EXPECT_EQ(state.sequence(), 0u);
}

TEST_F(StateDiskTest, ADiskThatCannotBeReadIsNotWritten) {
    StateDisk state = open();
    disk_.read_error = Error{ErrorCode::kDevice, "unreadable"};
    EXPECT_EQ(state.load().error().code, ErrorCode::kDevice);
    EXPECT_EQ(state.save({}).code(), ErrorCode::kInvalid);
    EXPECT_EQ(disk_.writes, 0u);
}

// The machine stops after every possible number of bytes of a save. The disk then holds the old
// record or the new one, undamaged, and can still be used.
TEST_F(StateDiskTest, ASaveCutOffAnywhereLosesNothing) {
    const Record older = random_record(700);
    const Record newer = random_record(900);
    {
        StateDisk state = open();
        (void)state.load();
        ASSERT_TRUE(state.save(random_record(1500)).ok());
        ASSERT_TRUE(state.save(older).ok());
    }
    const std::vector<uint8_t> before = disk_.bytes;
    size_t kept_newer = 0;
    for (size_t cut = 0; cut <= 1024; ++cut) {
        disk_.bytes = before;
        disk_.cut_bytes = cut;
        StateDisk state = open();
        (void)state.load();
        ASSERT_EQ(state.save(newer).ok(), cut == 1024);
        disk_.cut_bytes = ~size_t{0};
        const Record found = loaded();
        ASSERT_TRUE(found == older || found == newer) << cut;
        kept_newer += found == newer;
        StateDisk again = open();
        (void)again.load();
        ASSERT_TRUE(again.save(newer).ok());
        ASSERT_EQ(loaded(), newer);
    }
    EXPECT_GE(kept_newer, 1024 - (32 + 900) + 1u);
}

// The same without a reboot: the failed save is repeated over the same copy.
TEST_F(StateDiskTest, AFailedSaveDoesNotTouchTheGoodCopy) {
    const Record good = random_record(600);
    StateDisk state = open();
    (void)state.load();
    ASSERT_TRUE(state.save(good).ok());
    disk_.cut_bytes = 300;
    for (int i = 0; i < 5; ++i) {
        EXPECT_FALSE(state.save(random_record(600)).ok());
        EXPECT_EQ(loaded(), good);
    }
}

TEST_F(StateDiskTest, SavesWithoutWaiting) {
    const Record older = random_record(700);
    const Record newer = random_record(900);
    StateDisk state = open();
    (void)state.load();
    ASSERT_TRUE(state.save(older).ok());
    disk_.looks = 5;
    for (int i = 0; i < 3; ++i) {
        const uint64_t before = state.sequence();
        Record record = newer;
        ASSERT_TRUE(state.begin_save(record).ok());
        std::ranges::fill(record, uint8_t{0});  // it was copied
        EXPECT_EQ(state.begin_save(older).code(), ErrorCode::kExhausted);
        EXPECT_EQ(state.save(older).code(), ErrorCode::kExhausted);
        EXPECT_EQ(state.load().error().code, ErrorCode::kExhausted);
        for (int look = 1; look < 5; ++look) {
            EXPECT_FALSE(*state.poll_save());
            EXPECT_EQ(state.sequence(), before);
        }
        EXPECT_TRUE(*state.poll_save());
        EXPECT_EQ(state.sequence(), before + 1);
        EXPECT_TRUE(*state.poll_save());  // no save was started
    }
    // A save that fails leaves the newest copy, and the next save overwrites the other one again.
    disk_.cut_bytes = 100;
    for (int i = 0; i < 3; ++i) {
        ASSERT_TRUE(state.begin_save(older).ok());
        Status status;
        while (status) {
            const Result<bool> over = state.poll_save();
            ASSERT_FALSE(over && *over);
            status = over.status();
        }
    }
    disk_.cut_bytes = ~size_t{0};
    ASSERT_EQ(state.sequence(), 4u);
    ASSERT_TRUE(state.save(older).ok());
    EXPECT_EQ(loaded(), older);
    copy(0)[40] ^= 1;
    EXPECT_EQ(loaded(), newer);
}

TEST_F(StateDiskTest, EveryDamagedByteIsSeen) {
    const Record older = random_record(200);
    const Record newer = random_record(300);
    StateDisk state = open();
    (void)state.load();
    ASSERT_TRUE(state.save(older).ok());
    ASSERT_TRUE(state.save(newer).ok());
    for (size_t at = 0; at < 32 + newer.size(); ++at) {
        for (const uint8_t damage : {0x01, 0x80, 0xFF}) {
            copy(1)[at] ^= damage;
            ASSERT_EQ(loaded(), older) << at;
            copy(1)[at] ^= damage;
        }
    }
    ASSERT_EQ(loaded(), newer);
    copy(0)[40] ^= 1;
    ASSERT_EQ(loaded(), newer);
    copy(1)[40] ^= 1;
    StateDisk both = open();
    EXPECT_EQ(both.load().error().code, ErrorCode::kInvalid);
    // The disk can still be used after damage: the next save starts anew.
    ASSERT_TRUE(both.save(older).ok());
    EXPECT_EQ(loaded(), older);
}

TEST_F(StateDiskTest, RandomCopiesAreRefused) {
    for (int i = 0; i < 2000; ++i) {
        Record bytes = random_record(random_() % 200);
        if (bytes.size() >= 8 && i % 2 == 0) {
            std::memcpy(bytes.data(), &state_format::kCopyMagic, 8);
        }
        ASSERT_FALSE(StateDisk::check_copy(bytes));
    }
}

}  // namespace
}  // namespace bareflow
