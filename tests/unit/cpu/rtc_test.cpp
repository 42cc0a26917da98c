#include "kernel_lib/cpu/rtc.h"

#include <gtest/gtest.h>

#include <ctime>

namespace bareflow {
namespace {

constexpr uint8_t kBinary = 0x04;
constexpr uint8_t k24Hours = 0x02;

uint8_t bcd(int value) {
    return static_cast<uint8_t>(value / 10 << 4 | value % 10);
}

TEST(Rtc, AgreesWithTheCLibraryInBothNumberFormats) {
    // Every 11 days and some from 2000 to 2099.
    for (time_t at = 946'684'800; at < 4'102'444'800; at += 987'654) {
        tm date{};
        gmtime_r(&at, &date);
        const int year = date.tm_year + 1900;
        const RtcRegisters binary{
            static_cast<uint8_t>(date.tm_sec),     static_cast<uint8_t>(date.tm_min),
            static_cast<uint8_t>(date.tm_hour),    static_cast<uint8_t>(date.tm_mday),
            static_cast<uint8_t>(date.tm_mon + 1), static_cast<uint8_t>(year % 100),
            static_cast<uint8_t>(year / 100),      kBinary | k24Hours};
        const RtcRegisters coded{
            bcd(date.tm_sec),     bcd(date.tm_min), bcd(date.tm_hour), bcd(date.tm_mday),
            bcd(date.tm_mon + 1), bcd(year % 100),  bcd(year / 100),   k24Hours};
        EXPECT_EQ(unix_time_of(binary), static_cast<uint64_t>(at));
        EXPECT_EQ(unix_time_of(coded), static_cast<uint64_t>(at));
    }
}

TEST(Rtc, TwelveHourClocks) {
    // 2026-11-22 00:00:00 UTC is 1795305600.
    RtcRegisters registers{0, 0, 0x12, 0x22, 0x11, 0x26, 0x20, 0};
    EXPECT_EQ(unix_time_of(registers), 1'795'305'600U);
    registers.hour = 0x12 | 0x80;
    EXPECT_EQ(unix_time_of(registers), 1'795'305'600U + 12 * 3600);
    registers.hour = 0x11 | 0x80;
    EXPECT_EQ(unix_time_of(registers), 1'795'305'600U + 23 * 3600);
    registers.hour = 0;
    EXPECT_EQ(unix_time_of(registers), std::nullopt);
    registers.hour = 0x13;
    EXPECT_EQ(unix_time_of(registers), std::nullopt);
}

TEST(Rtc, WithoutACenturyItIsThisOne) {
    EXPECT_EQ(unix_time_of({0, 0, 0, 0x22, 0x11, 0x26, 0, k24Hours}), 1'795'305'600U);
    // Where other clocks keep something else in that register.
    EXPECT_EQ(unix_time_of({0, 0, 0, 0x22, 0x11, 0x26, 0xFF, k24Hours}), 1'795'305'600U);
    EXPECT_EQ(unix_time_of({0, 0, 0, 0x22, 0x11, 0x26, 0x77, k24Hours}), 1'795'305'600U);
}

TEST(Rtc, ImpossibleDatesAreNoDates) {
    const RtcRegisters good{0x59, 0x59, 0x23, 0x29, 0x02, 0x24, 0x20, k24Hours};
    ASSERT_TRUE(unix_time_of(good));
    const auto with = [&](uint8_t RtcRegisters::*field, uint8_t value) {
        RtcRegisters bad = good;
        bad.*field = value;
        return unix_time_of(bad);
    };
    EXPECT_FALSE(with(&RtcRegisters::second, 0x60));
    EXPECT_FALSE(with(&RtcRegisters::second, 0x5A)) << "no BCD digit";
    EXPECT_FALSE(with(&RtcRegisters::minute, 0xFF));
    EXPECT_FALSE(with(&RtcRegisters::hour, 0x24));
    EXPECT_FALSE(with(&RtcRegisters::day, 0));
    EXPECT_FALSE(with(&RtcRegisters::day, 0x30)) << "30 February";
    EXPECT_FALSE(with(&RtcRegisters::month, 0));
    EXPECT_FALSE(with(&RtcRegisters::month, 0x13));
    EXPECT_FALSE(with(&RtcRegisters::year, 0x23)) << "29 February 2023";
}

}  // namespace
}  // namespace bareflow
