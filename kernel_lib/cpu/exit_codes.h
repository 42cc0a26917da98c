// What the machine says last: values written to QEMU's isa-debug-exit device, with which QEMU ends
// as status `value * 2 + 1`. Run with `-device isa-debug-exit,iobase=0xf4,iosize=0x04`; without
// the device the write goes nowhere and the machine halts. Values are chosen so that no status is
// 0 or 1, which QEMU uses itself. boot/boot_info.inc repeats the boot errors (tests/unit/boot).
#pragma once

#include <cstdint>

namespace bareflow {

inline constexpr uint16_t kDebugExitPort = 0xF4;

enum class ExitCode : uint8_t {
    kSuccess = 0x10,        // shutdown(0): status 33
    kFailure = 0x11,        // shutdown(anything else): 35
    kPanic = 0x20,          // 65
    kExceptionBase = 0x40,  // + vector 0-31: 129-191; a page fault (14) is 157

    // Boot errors: 195-211.
    kDiskRead = 0x61,
    kDiskTooShort = 0x62,
    kNoLongMode = 0x63,
    kTooLittleMemory = 0x64,
    kNoEdd = 0x65,
    kNoA20 = 0x66,
    kBadImage = 0x67,
    kNoMemoryMap = 0x68,
};

[[nodiscard]] constexpr uint8_t exit_code_of_exception(uint64_t vector) {
    return static_cast<uint8_t>(static_cast<uint8_t>(ExitCode::kExceptionBase) + (vector & 31));
}

}  // namespace bareflow
