#include "appliance/hosted/model_memory.h"

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
        for (const bool map : {false, true}) {
            const ModelMemory read = model_file_bytes(file.path(), map);
            ASSERT_EQ(read.bytes.size(), len);
            EXPECT_TRUE(std::equal(read.bytes.begin(), read.bytes.end(), bytes.begin()));
            EXPECT_FALSE(map && read.writable);
        }
    }
}

TEST(ModelMemoryTest, WhatIsNoFileHasNoBytes) {
    EXPECT_TRUE(model_file_bytes("/nowhere/at/all").bytes.empty());
    EXPECT_TRUE(model_file_bytes(::testing::TempDir().c_str()).bytes.empty());
    EXPECT_TRUE(model_file_bytes("/dev/null").bytes.empty());
    EXPECT_TRUE(model_file_bytes(TemporaryFile({}).path()).bytes.empty());
}

}  // namespace
}  // namespace bareflow
