#include "appliance/hosted/file_disk.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "drivers/block/state_disk.h"

namespace bareflow {
namespace {

class FileDiskTest : public ::testing::Test {
  protected:
    void SetUp() override {
        char name[] = "/tmp/file_disk_test.XXXXXX";
        ASSERT_NE(mkdtemp(name), nullptr);
        folder_ = name;
        path_ = folder_ + "/state";
    }
    void TearDown() override { std::filesystem::remove_all(folder_); }
    // Disks live as long as the program.
    FileDisk &open() {
        auto disk = FileDisk::open(path_);
        EXPECT_TRUE(disk.ok()) << disk.error().message;
        static auto &kept = *new std::vector<FileDisk *>;
        kept.push_back(*disk);
        return **disk;
    }
    std::string refused(const std::string &path) {
        auto disk = FileDisk::open(path);
        return disk ? "opened" : std::string(disk.error().message);
    }

    std::string folder_;
    std::string path_;
};

TEST_F(FileDiskTest, ANewFileIsAStateDisk) {
    FileDisk &disk = open();
    EXPECT_EQ(disk.name(), path_);
    EXPECT_EQ(disk.sector_count(), 128u);
    alignas(16) static StateDisk::Buffer buffer;
    EXPECT_TRUE(StateDisk::open(disk, buffer).ok());
}

TEST_F(FileDiskTest, WhatIsWrittenIsReadBack) {
    FileDisk &disk = open();
    std::vector<uint8_t> sector(kSectorBytes, 7);
    ASSERT_TRUE(disk.write(5, sector).ok());
    std::vector<uint8_t> read(2 * kSectorBytes, 1);
    ASSERT_TRUE(disk.read(5, read).ok());
    EXPECT_EQ(std::vector<uint8_t>(read.begin(), read.begin() + kSectorBytes), sector);
    EXPECT_EQ(read[kSectorBytes], 0);
    EXPECT_EQ(std::filesystem::file_size(path_), 64u * 1024);
}

TEST_F(FileDiskTest, TransfersBeyondItsEndAreRefused) {
    FileDisk &disk = open();
    std::vector<uint8_t> bytes(2 * kSectorBytes);
    EXPECT_EQ(disk.read(127, bytes).code(), ErrorCode::kInvalid);
    EXPECT_EQ(disk.write(128, bytes).code(), ErrorCode::kInvalid);
    EXPECT_EQ(disk.read(0, std::span(bytes).first(100)).code(), ErrorCode::kInvalid);
}

TEST_F(FileDiskTest, AFileOfOthersIsLeftAsItIs) {
    std::ofstream(path_) << std::string(1024, 'x');
    EXPECT_EQ(open().sector_count(), 2u);
    std::ifstream file(path_);
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), std::string(1024, 'x'));
}

TEST_F(FileDiskTest, ASecondProgramIsRefused) {
    (void)open();
    EXPECT_EQ(refused(path_), "another process keeps its profile there");
}

TEST_F(FileDiskTest, WhatIsNoFileIsRefused) {
    EXPECT_EQ(refused(folder_), "the file cannot be opened for writing");
    EXPECT_EQ(refused(folder_ + "/no/state"), "the file cannot be opened for writing");
    EXPECT_EQ(refused("/dev/null"), "not a plain file");
}

}  // namespace
}  // namespace bareflow
