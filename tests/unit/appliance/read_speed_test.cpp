#include "appliance/read_speed.h"

#include <gtest/gtest.h>

#include <vector>

#include "kernel_lib/platform/platform.h"

namespace bareflow {
namespace {

TEST(ReadSpeedTest, MeasuresOnceInPieces) {
    for (const size_t bytes : {size_t{64} * 1024, size_t{100} * 1000, size_t{3} << 20}) {
        const std::vector<uint8_t> memory(bytes, 1);
        ReadSpeed speed;
        EXPECT_FALSE(speed.has_work());
        EXPECT_EQ(speed.bytes_per_second(), 0u);
        speed.start(memory);
        uint32_t pieces = 0;
        while (speed.has_work()) {
            EXPECT_EQ(speed.bytes_per_second(), 0u);  // not measured yet
            speed.work(0);
            ASSERT_LE(++pieces, ReadSpeed::kPieces);
        }
        EXPECT_EQ(pieces, ReadSpeed::kPieces);
        // Even sanitized code on a busy machine reads tens of MB per second.
        EXPECT_GT(speed.bytes_per_second(), 1'000'000u);
        EXPECT_LT(speed.bytes_per_second(), 10'000'000'000'000u);
    }
}

TEST(ReadSpeedTest, AFewBytesSayNothing) {
    const std::vector<uint8_t> memory(1000);
    ReadSpeed speed;
    speed.start(memory);
    EXPECT_FALSE(speed.has_work());
    EXPECT_EQ(speed.bytes_per_second(), 0u);
}

}  // namespace
}  // namespace bareflow
