#include "appliance/model_memory_hosted.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace bareflow {
namespace {

class TemporaryFile {
  public:
    explicit TemporaryFile(const std::vector<uint8_t> &bytes) {
        const int fd = mkstemp(path_.data());
        EXPECT_GE(fd, 0);
        FILE *const file = fdopen(fd, "wb");
        EXPECT_EQ(fwrite(bytes.data(), 1, bytes.size(), file), bytes.size());
        fclose(file);
    }
    ~TemporaryFile() { unlink(path_.c_str()); }
    TemporaryFile(const TemporaryFile &) = delete;
    TemporaryFile &operator=(const TemporaryFile &) = delete;
    [[nodiscard]] const char *path() const { return path_.c_str(); }

  private:
    std::string path_ = ::testing::TempDir() + "bareflow-model-XXXXXX";
};

TEST(ModelMemoryTest, SmallAndLargeFilesAreThereToTheLastByte) {
    for (const size_t len : {size_t{1}, size_t{5000}, (size_t{16} << 20) + 4097}) {
        std::vector<uint8_t> bytes(len);
        for (size_t i = 0; i < len; ++i) {
            bytes[i] = static_cast<uint8_t>(i * 2654435761u >> 13);
        }
        const TemporaryFile file(bytes);
        const std::span<const uint8_t> read = model_file_bytes(file.path());
        ASSERT_EQ(read.size(), len);
        EXPECT_TRUE(std::equal(read.begin(), read.end(), bytes.begin()));
    }
}

TEST(ModelMemoryTest, WhatIsNoFileHasNoBytes) {
    EXPECT_TRUE(model_file_bytes("/nowhere/at/all").empty());
    EXPECT_TRUE(model_file_bytes(::testing::TempDir().c_str()).empty());
    EXPECT_TRUE(model_file_bytes("/dev/null").empty());
    EXPECT_TRUE(model_file_bytes(TemporaryFile({}).path()).empty());
}

}  // namespace
}  // namespace bareflow
