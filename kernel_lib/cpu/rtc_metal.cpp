#include "kernel_lib/cpu/privileged.h"
#include "kernel_lib/cpu/rtc.h"
#include "kernel_lib/io/port.h"
#include "kernel_lib/platform/ticks.h"

namespace bareflow {

namespace {

// MC146818A data sheet; the century at 32h is a PC habit (ACPI FADT "CENTURY").
constexpr uint16_t kIndexPort = 0x70;
constexpr uint16_t kDataPort = 0x71;
constexpr uint8_t kStatusA = 0x0A;
constexpr uint8_t kUpdating = 0x80;
constexpr uint8_t kStatusB = 0x0B;
constexpr uint8_t kCentury = 0x32;
constexpr uint8_t kNmiOff = 0x80;
// An update takes at most 2 ms; a pair of port accesses at least 0.2 us.
constexpr int kUpdatePolls = 20'000;
constexpr int kReadTries = 4;

constinit uint64_t start_time_s = 0;
constinit uint64_t start_ticks = 0;

uint8_t read_register(uint8_t index) {
    PortIo::out8(kIndexPort, index | kNmiOff);
    return PortIo::in8(kDataPort);
}

RtcRegisters read_all() {
    return {read_register(0x00),     read_register(0x02),    read_register(0x04),
            read_register(0x07),     read_register(0x08),    read_register(0x09),
            read_register(kCentury), read_register(kStatusB)};
}

}  // namespace

void rtc_init() {
    // Twice the same, or a carry ran through in between.
    for (int i = 0; i < kReadTries; ++i) {
        int polls = kUpdatePolls;
        while ((read_register(kStatusA) & kUpdating) != 0 && --polls > 0) {
        }
        const RtcRegisters first = read_all();
        if (polls > 0 && first == read_all()) {
            start_time_s = unix_time_of(first).value_or(0);
            break;
        }
    }
    PortIo::out8(kIndexPort, 0);  // NMI on again
    start_ticks = read_tsc();
}

uint64_t rtc_unix_time_s() {
    constexpr uint64_t kMicrosPerSecond = 1'000'000;
    return start_time_s + ticks_to_us(read_tsc() - start_ticks) / kMicrosPerSecond;
}

}  // namespace bareflow
