// THE SEAM. Everything the rest of the program needs from the machine it runs on, implemented
// twice: platform/metal (no operating system) and platform/hosted (an ordinary Linux process). A
// build links one folder or the other; there is no conditional compilation.
//
// Called from the boot processor outside interrupt handlers unless a line says otherwise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernel_lib/base/result.h"

namespace bareflow::platform {

inline constexpr size_t kPageBytes = 4096;

// Raw text to the consoles (metal: serial and VGA; hosted: standard error). Never blocks for long,
// never allocates; may be called from a fault handler.
void console_write(std::string_view text);

// Our own mistake: one line, a backtrace where there is one, and the end of the program
// (metal: isa-debug-exit code, then halt; hosted: abort). Any context.
[[noreturn]] void panic(std::string_view message);

// Ends the program in an orderly way. exit_code 0 is success. Metal: isa-debug-exit, ACPI-less
// halt.
[[noreturn]] void shutdown(int exit_code);
// Restarts the machine (hosted: ends the process with code 0).
[[noreturn]] void reboot();

// The time-stamp counter, and how fast it runs (calibrated once at start; hosted: from the clock).
// Any context, any processor.
[[nodiscard]] uint64_t ticks();
[[nodiscard]] uint64_t ticks_per_second();
// Seconds since 1970-01-01 UTC, from the RTC at start plus ticks.
[[nodiscard]] uint64_t unix_time_s();

// Zeroed, page-aligned, readable and writable, not executable. nullptr when there is no such run
// of pages: the caller says so in a sentence of its own. Physically contiguous on metal.
[[nodiscard]] void *allocate_pages(size_t count);
// The same, but with arbitrary contents: for what is overwritten before it is read (a model that a
// disk delivers). The first touch of a page is what costs time in a virtual machine.
[[nodiscard]] void *allocate_pages_unzeroed(size_t count);
void free_pages(void *pages, size_t count);
// Like allocate_pages, with a page on either side that is not mapped. nullptr: no memory.
[[nodiscard]] void *allocate_guarded_pages(size_t count);
void free_guarded_pages(void *pages, size_t count);
// Bytes that allocate_pages could still hand out in total (hosted: half of the machine's).
[[nodiscard]] uint64_t free_memory_bytes();
[[nodiscard]] uint64_t total_memory_bytes();

// Memory for code made at run time, seen at two addresses and never writable and executable at one:
// where it is written, and where it runs. `constant_pages` of data come first, which at the second
// address can only be read; then `code_pages`, which there can be read and executed. All zero.
struct CodePages {
    uint8_t *writable = nullptr;
    const uint8_t *runnable = nullptr;
};
// kTooLarge: no memory, or none that may be executed.
[[nodiscard]] Status allocate_code_pages(size_t constant_pages, size_t code_pages, CodePages &out);
void free_code_pages(const CodePages &pages, size_t count);
// Code was written and is about to run for the first time. The calling processor executes a
// serialising instruction now (SDM 3, 8.1.3). Each of the others executes one before it next takes
// part in a job of the worker pool (worker_synchronize).
void publish_code();

// What a device must be told to reach `address` by DMA (metal: identity; hosted fakes: themselves).
[[nodiscard]] uint64_t physical_address(const void *address);

// Unpredictable bytes, mixed from the best source found. `entropy_source()` names it for the log:
// "rdrand", "virtio-rng", "timing jitter", "getrandom".
void fill_entropy(std::span<uint8_t> out);
[[nodiscard]] std::string_view entropy_source();

// Waits until an interrupt, or until `deadline_ticks`, whichever is first; returns at once when an
// interrupt has arrived since the previous idle() returned (no lost wake-up).
void idle(uint64_t deadline_ticks);

[[nodiscard]] uint32_t processor_count();
[[nodiscard]] uint32_t processor_index();  // 0 is the boot processor; any context

}  // namespace bareflow::platform
