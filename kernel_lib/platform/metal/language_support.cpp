// What the compiler and the standard library's templates call when there is no C++ runtime. All of
// it is about mistakes of ours, so all of it ends in panic.
#include <cstddef>
#include <cstdint>
#include <new>
#include <string_view>

#include "kernel_lib/base/result.h"
#include "kernel_lib/base/text_writer.h"
#include "kernel_lib/platform/platform.h"

extern "C" {

// Set by boot/pvh/pvh.asm before the first C++ instruction, and again once there is better entropy.
extern uint64_t __stack_chk_guard;
constinit uint64_t __stack_chk_guard = 0;

[[noreturn]] void __stack_chk_fail() {
    bareflow::platform::panic("stack smashed: a canary was overwritten");
}
[[noreturn]] void __cxa_pure_virtual() {
    bareflow::platform::panic("pure virtual function called");
}
// Third-party code calls it where it cannot go on.
[[noreturn]] void abort() noexcept {
    bareflow::platform::panic("abort() called");
}

// 128-bit shifts: in code that is compiled for size, the compiler calls these.
unsigned __int128 __ashlti3(unsigned __int128 value, int count) {
    const auto low = static_cast<uint64_t>(value);
    const auto high = static_cast<uint64_t>(value >> 64);
    if (count == 0) {
        return value;
    }
    const uint64_t out_high =
        count >= 64 ? low << (count - 64) : high << count | low >> (64 - count);
    const uint64_t out_low = count >= 64 ? 0 : low << count;
    return static_cast<unsigned __int128>(out_high) << 64 | out_low;
}
unsigned __int128 __lshrti3(unsigned __int128 value, int count) {
    const auto low = static_cast<uint64_t>(value);
    const auto high = static_cast<uint64_t>(value >> 64);
    if (count == 0) {
        return value;
    }
    const uint64_t out_low =
        count >= 64 ? high >> (count - 64) : low >> count | high << (64 - count);
    const uint64_t out_high = count >= 64 ? 0 : high >> count;
    return static_cast<unsigned __int128>(out_high) << 64 | out_low;
}
}

namespace bareflow {

void result_misused(std::string_view what) {
    platform::panic(what);
}

}  // namespace bareflow

// The bounds checks of span, array, string_view, optional.
void bareflow_library_check_failed() noexcept {
    bareflow::platform::panic(
        "library check failed: an index or an empty value (see the backtrace)");
}

namespace std {

// string_view::substr with a position past the end.
void __throw_out_of_range_fmt(const char *format, ...) {
    bareflow::platform::panic(format);
}

}  // namespace std

// The compiler refers to these from deleting destructors, which nothing calls: objects live in
// static storage or Buffer.
void operator delete(void * /*memory*/) noexcept {
    bareflow::platform::panic("operator delete called");
}
void operator delete(void * /*memory*/, size_t /*bytes*/) noexcept {
    bareflow::platform::panic("operator delete called");
}
void operator delete(void * /*memory*/, size_t /*bytes*/, std::align_val_t /*align*/) noexcept {
    bareflow::platform::panic("operator delete called");
}
