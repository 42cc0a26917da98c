// The date, from the battery-backed clock (bare metal reads it; the conversion is pure).
#pragma once

#include <cstdint>
#include <optional>

namespace bareflow {

// Registers 00h-09h, 0Bh, 32h of the MC146818 as read.
struct RtcRegisters {
    uint8_t second;
    uint8_t minute;
    uint8_t hour;
    uint8_t day;
    uint8_t month;
    uint8_t year;
    uint8_t century;  // 0: not there
    uint8_t status_b;
    bool operator==(const RtcRegisters &) const = default;
};

// Seconds since 1970-01-01 UTC, taking the clock for UTC. nullopt: no date (a field out of range).
[[nodiscard]] std::optional<uint64_t> unix_time_of(const RtcRegisters &registers);

// Bare metal only. Reads the clock once. A clock that changes during every read counts as none.
void rtc_init();
// That date plus the ticks since; without a clock, seconds since start.
[[nodiscard]] uint64_t rtc_unix_time_s();

}  // namespace bareflow
