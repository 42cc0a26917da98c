#include "kernel_lib/platform/ticks.h"

#include <gtest/gtest.h>

namespace bareflow {
namespace {

constexpr uint64_t kHour = 3600;
constexpr uint64_t kYear = 365 * 24 * kHour;
constexpr uint64_t kMicrosPerSecond = 1'000'000;

// As exact as 128 bits, whatever the rate.
TEST(TicksTest, ScalesWithoutOverflow) {
    for (const uint64_t rate :
         {1ull, 999'999ull, 1'193'182ull, 2'399'999'987ull, 6'000'000'000ull}) {
        for (const uint64_t value : {uint64_t{0}, uint64_t{1}, rate - 1, rate, rate + 1, kYear,
                                     kYear * rate + 12'345, uint64_t{1} << 63}) {
            const auto exact = [&](uint64_t numerator, uint64_t denominator) {
                return static_cast<unsigned __int128>(value) * numerator / denominator;
            };
            if (const auto us = exact(kMicrosPerSecond, rate); us >> 64 == 0) {
                EXPECT_EQ(scale(value, kMicrosPerSecond, rate), us) << value << " at " << rate;
            }
            if (const auto ticks = exact(rate, kMicrosPerSecond); ticks >> 64 == 0) {
                EXPECT_EQ(scale(value, rate, kMicrosPerSecond), ticks) << value << " at " << rate;
            }
        }
    }
}

TEST(TicksTest, ASecondIsASecond) {
    const uint64_t rate = platform::ticks_per_second();
    EXPECT_EQ(ticks_to_us(rate), kMicrosPerSecond);
    EXPECT_EQ(us_to_ticks(kMicrosPerSecond), rate);
    EXPECT_EQ(ms_to_ticks(1000), rate);
    EXPECT_DOUBLE_EQ(ticks_to_ms(rate), 1000.0);
    EXPECT_EQ(ticks_to_us(kYear * rate), kYear * kMicrosPerSecond);
    EXPECT_EQ(us_to_ticks(kYear * kMicrosPerSecond), kYear * rate);
}

TEST(TicksTest, RoundsDown) {
    const uint64_t rate = platform::ticks_per_second();
    EXPECT_EQ(ticks_to_us(0), 0u);
    EXPECT_EQ(ticks_to_us(rate - 1), kMicrosPerSecond - 1);
    EXPECT_EQ(us_to_ticks(0), 0u);
    EXPECT_EQ(us_to_ticks(1), rate / kMicrosPerSecond);
    EXPECT_EQ(ms_to_ticks(1), rate / 1000);
    EXPECT_GT(ticks_to_ms(1), 0.0);
    for (const uint64_t us : {1ull, 7ull, 999ull, 123'456'789ull}) {
        EXPECT_LE(ticks_to_us(us_to_ticks(us)), us);
        EXPECT_GE(ticks_to_us(us_to_ticks(us) + 1), us);
    }
}

}  // namespace
}  // namespace bareflow
