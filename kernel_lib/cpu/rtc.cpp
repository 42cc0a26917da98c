#include "kernel_lib/cpu/rtc.h"

namespace bareflow {

namespace {

// MC146818A data sheet, register B.
constexpr uint8_t kStatusBinary = 0x04;
constexpr uint8_t kStatus24Hours = 0x02;
constexpr uint8_t kAfternoon = 0x80;

std::optional<unsigned> number(uint8_t value, bool binary) {
    if (binary) {
        return value;
    }
    if ((value & 0x0F) > 9 || value >> 4 > 9) {
        return std::nullopt;
    }
    return (value >> 4) * 10U + (value & 0x0FU);
}

constexpr bool is_leap(uint64_t year) {
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

constexpr unsigned days_of_month(uint64_t year, unsigned month) {
    constexpr uint8_t kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return month == 2 && is_leap(year) ? 29 : kDays[month - 1];
}

}  // namespace

std::optional<uint64_t> unix_time_of(const RtcRegisters &registers) {
    const bool binary = (registers.status_b & kStatusBinary) != 0;
    const bool hours24 = (registers.status_b & kStatus24Hours) != 0;
    const auto second = number(registers.second, binary);
    const auto minute = number(registers.minute, binary);
    auto hour = number(hours24 ? registers.hour : registers.hour & ~kAfternoon, binary);
    const auto day = number(registers.day, binary);
    const auto month = number(registers.month, binary);
    const auto year = number(registers.year, binary);
    const auto century = number(registers.century, binary);
    if (!second || !minute || !hour || !day || !month || !year) {
        return std::nullopt;
    }
    if (!hours24) {
        if (*hour < 1 || *hour > 12) {
            return std::nullopt;
        }
        *hour = *hour % 12 + ((registers.hour & kAfternoon) != 0 ? 12 : 0);
    }
    // Few clocks tell the century; this program is younger than 2000.
    const uint64_t full_year =
        (century && *century >= 19 && *century <= 22 ? *century : 20) * 100U + *year;
    if (*second > 59 || *minute > 59 || *hour > 23 || *month < 1 || *month > 12 || *year > 99 ||
        full_year < 1970 || *day < 1 || *day > days_of_month(full_year, *month)) {
        return std::nullopt;
    }
    uint64_t days = 0;
    for (uint64_t y = 1970; y < full_year; ++y) {
        days += is_leap(y) ? 366 : 365;
    }
    for (unsigned m = 1; m < *month; ++m) {
        days += days_of_month(full_year, m);
    }
    days += *day - 1;
    return ((days * 24 + *hour) * 60 + *minute) * 60 + *second;
}

}  // namespace bareflow
