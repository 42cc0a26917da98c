// platform.h as an ordinary Linux process.
#include <execinfo.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>
#include <x86intrin.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <ctime>

#include "kernel_lib/platform/hosted/hosted.h"
#include "kernel_lib/platform/platform.h"
#include "kernel_lib/platform/ticks.h"

namespace bareflow {

void result_misused(std::string_view what) {
    platform::panic(what);
}

namespace platform {

namespace {

constexpr uint64_t kNanosPerSecond = 1'000'000'000;
constexpr uint64_t kNanosPerMs = 1'000'000;
constexpr uint64_t kCalibrationNs = 10 * kNanosPerMs;
constexpr size_t kMaxIdleFds = 256;
constexpr int kOverflowWaitMs = 10;
constexpr uint64_t kMaxWaitMs = 60'000;

constinit std::array<pollfd, kMaxIdleFds> idle_fds{};
constinit size_t idle_fd_count = 0;
constinit size_t idle_fds_refused = 0;
constinit thread_local uint32_t own_index = 0;

uint64_t monotonic_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * kNanosPerSecond + static_cast<uint64_t>(now.tv_nsec);
}

// Ticks between two readings of the clock. Of a few tries it takes the one whose readings were the
// shortest, because the process may be interrupted within a reading.
uint64_t calibrate() {
    struct Reading {
        uint64_t ticks = 0;
        uint64_t ns = 0;
    };
    const auto read = [] {
        Reading best;
        uint64_t best_width = ~uint64_t{0};
        for (int i = 0; i < 8; ++i) {
            const uint64_t before = __rdtsc();
            const uint64_t ns = monotonic_ns();
            const uint64_t width = __rdtsc() - before;
            if (width < best_width) {
                best_width = width;
                best = {before + width / 2, ns};
            }
        }
        return best;
    };
    const Reading begin = read();
    timespec pause{0, static_cast<long>(kCalibrationNs)};
    nanosleep(&pause, nullptr);
    const Reading end = read();
    const double ticks = static_cast<double>(end.ticks - begin.ticks);
    return static_cast<uint64_t>(ticks * static_cast<double>(kNanosPerSecond) /
                                 static_cast<double>(end.ns - begin.ns));
}

void write_all(std::string_view text) {
    while (!text.empty()) {
        const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
        if (written <= 0) {
            return;
        }
        text.remove_prefix(static_cast<size_t>(written));
    }
}

constinit std::atomic<uint32_t> published = 0;
constinit thread_local uint32_t published_seen = 0;

void serialise() {
    uint32_t leaf = 0;
    asm volatile("cpuid" : "+a"(leaf) : : "rbx", "rcx", "rdx", "memory");
}

}  // namespace

void console_write(std::string_view text) {
    write_all(text);
}

void panic(std::string_view message) {
    write_all("PANIC: ");
    write_all(message);
    write_all("\n");
    std::array<void *, 32> calls{};
    const int count = ::backtrace(calls.data(), static_cast<int>(calls.size()));
    ::backtrace_symbols_fd(calls.data(), count, STDERR_FILENO);
    std::abort();
}

void shutdown(int exit_code) {
    std::exit(exit_code);
}
void reboot() {
    std::exit(0);
}

uint64_t ticks() {
    return __rdtsc();
}
uint64_t ticks_per_second() {
    // Workers ask as well; two that measure at once do no harm.
    static constinit std::atomic<uint64_t> rate = 0;
    uint64_t value = rate.load(std::memory_order_relaxed);
    if (value == 0) {
        value = calibrate();
        rate.store(value, std::memory_order_relaxed);
    }
    return value;
}
uint64_t unix_time_s() {
    return static_cast<uint64_t>(std::time(nullptr));
}

void *allocate_pages(size_t count) {
    if (count == 0 || count > SIZE_MAX / kPageBytes) {
        return nullptr;
    }
    void *pages = ::mmap(nullptr, count * kPageBytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return pages == MAP_FAILED ? nullptr : pages;
}
// The kernel zeroes them anyway. Whole huge pages are aligned as such.
void *allocate_pages_unzeroed(size_t count) {
    constexpr size_t kHugePage = size_t{2} << 20;
    constexpr size_t kPages = kHugePage / kPageBytes;
    if (count == 0 || count % kPages != 0 || count > SIZE_MAX / kPageBytes - kPages) {
        return allocate_pages(count);
    }
    auto *const run = static_cast<uint8_t *>(allocate_pages(count + kPages));
    if (run == nullptr) {
        return nullptr;
    }
    const size_t before = (kHugePage - reinterpret_cast<uintptr_t>(run) % kHugePage) % kHugePage;
    const size_t bytes = count * kPageBytes;
    if (before != 0) {
        free_pages(run, before / kPageBytes);
    }
    free_pages(run + before + bytes, (kHugePage - before) / kPageBytes);
    (void)::madvise(run + before, bytes, MADV_HUGEPAGE);
    return run + before;
}
void free_pages(void *pages, size_t count) {
    if (pages != nullptr && ::munmap(pages, count * kPageBytes) != 0) {
        panic("free_pages: not a run of pages that was handed out");
    }
}
void *allocate_guarded_pages(size_t count) {
    constexpr size_t kHoles = 2;
    if (count == 0 || count > SIZE_MAX / kPageBytes - kHoles) {
        return nullptr;
    }
    void *const run = ::mmap(nullptr, (count + kHoles) * kPageBytes, PROT_NONE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (run == MAP_FAILED) {
        return nullptr;
    }
    uint8_t *const pages = static_cast<uint8_t *>(run) + kPageBytes;
    if (::mprotect(pages, count * kPageBytes, PROT_READ | PROT_WRITE) != 0) {
        ::munmap(run, (count + kHoles) * kPageBytes);
        return nullptr;
    }
    return pages;
}
void free_guarded_pages(void *pages, size_t count) {
    if (pages != nullptr) {
        free_pages(static_cast<uint8_t *>(pages) - kPageBytes, count + 2);
    }
}
uint64_t free_memory_bytes() {
    return total_memory_bytes() / 2;
}
uint64_t total_memory_bytes() {
    return static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) * kPageBytes;
}
// One file in memory, mapped twice.
Status allocate_code_pages(size_t constant_pages, size_t code_pages, CodePages &out) {
    const Error none{ErrorCode::kTooLarge, "no memory for generated code"};
    const size_t most = SIZE_MAX / kPageBytes / 2;
    if (code_pages == 0 || code_pages > most || constant_pages > most) {
        return none;
    }
    const size_t bytes = (constant_pages + code_pages) * kPageBytes;
    const int file = ::memfd_create("bareflow-code", MFD_CLOEXEC);
    if (file < 0) {
        return none;
    }
    void *writable = MAP_FAILED;
    void *runnable = MAP_FAILED;
    if (::ftruncate(file, static_cast<off_t>(bytes)) == 0) {
        writable = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        runnable = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file, 0);
    }
    ::close(file);
    const size_t constant_bytes = constant_pages * kPageBytes;
    if (writable == MAP_FAILED || runnable == MAP_FAILED ||
        ::mprotect(static_cast<uint8_t *>(runnable) + constant_bytes, bytes - constant_bytes,
                   PROT_READ | PROT_EXEC) != 0) {
        for (void *const mapping : {writable, runnable}) {
            if (mapping != MAP_FAILED) {
                ::munmap(mapping, bytes);
            }
        }
        return none;
    }
    out = {static_cast<uint8_t *>(writable), static_cast<const uint8_t *>(runnable)};
    return {};
}
void free_code_pages(const CodePages &pages, size_t count) {
    free_pages(pages.writable, count);
    free_pages(const_cast<uint8_t *>(pages.runnable), count);
}
void publish_code() {
    published.fetch_add(1, std::memory_order_release);
    serialise();
}
void hosted_synchronize_code() {
    const uint32_t now = published.load(std::memory_order_acquire);
    if (now != published_seen) {
        published_seen = now;
        serialise();
    }
}
uint64_t physical_address(const void *address) {
    return reinterpret_cast<uint64_t>(address);
}

void fill_entropy(std::span<uint8_t> out) {
    while (!out.empty()) {
        const ssize_t count = ::getrandom(out.data(), out.size(), 0);
        if (count <= 0) {
            panic("getrandom failed");
        }
        out = out.subspan(static_cast<size_t>(count));
    }
}
std::string_view entropy_source() {
    return "getrandom";
}

void hosted_idle_fd(int fd, bool writable) {
    const auto events = static_cast<short>(writable ? POLLIN | POLLOUT : POLLIN);
    for (pollfd &known : std::span(idle_fds).first(idle_fd_count)) {
        if (known.fd == fd) {
            known.events = events;
            return;
        }
    }
    if (idle_fd_count == kMaxIdleFds) {
        ++idle_fds_refused;
        return;
    }
    idle_fds[idle_fd_count++] = {fd, events, 0};
}
void hosted_idle_forget(int fd) {
    for (size_t i = 0; i < idle_fd_count; ++i) {
        if (idle_fds[i].fd == fd) {
            idle_fds[i] = idle_fds[--idle_fd_count];
            return;
        }
    }
    idle_fds_refused -= idle_fds_refused != 0 ? 1 : 0;
}

void idle(uint64_t deadline_ticks) {
    const uint64_t now = ticks();
    if (now >= deadline_ticks) {
        return;
    }
    const uint64_t wait_ticks = deadline_ticks - now;
    // Rounded up: to wake before the deadline would mean to come straight back.
    uint64_t wait_ms = std::min(ticks_to_us(wait_ticks) / 1000 + 1, kMaxWaitMs);
    if (idle_fds_refused != 0) {
        wait_ms = std::min<uint64_t>(wait_ms, kOverflowWaitMs);
    }
    (void)::poll(idle_fds.data(), idle_fd_count, static_cast<int>(wait_ms));
}

// The processors that this process may use.
uint32_t processor_count() {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    const int count =
        ::sched_getaffinity(0, sizeof(allowed), &allowed) == 0 ? CPU_COUNT(&allowed) : 1;
    return static_cast<uint32_t>(std::max(count, 1));
}
uint32_t processor_index() {
    return own_index;
}
void hosted_set_processor_index(uint32_t index) {
    own_index = index;
}

}  // namespace platform

}  // namespace bareflow
