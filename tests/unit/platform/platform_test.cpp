// The contract of platform.h, as the hosted half keeps it. What the metal half does is shown by
// tests/qemu/test_boot.py.
#include "kernel_lib/platform/platform.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <ctime>
#include <thread>

#include "kernel_lib/platform/hosted/hosted.h"

namespace bareflow {
namespace {

double seconds_of(uint64_t ticks) {
    return static_cast<double>(ticks) / static_cast<double>(platform::ticks_per_second());
}
uint64_t ticks_of(double seconds) {
    return static_cast<uint64_t>(seconds * static_cast<double>(platform::ticks_per_second()));
}

// Bytes of ours have no type that the sanitizer could look up before them.
[[clang::no_sanitize("function")]] int call(void *code) {
    return reinterpret_cast<int (*)()>(code)();
}

TEST(Platform, TicksKeepTimeWithTheHost) {
    EXPECT_GT(platform::ticks_per_second(), 0U);  // measured by the first call
    const auto host = std::chrono::steady_clock::now();
    const uint64_t begin = platform::ticks();
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    const double ours = seconds_of(platform::ticks() - begin);
    const double theirs =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - host).count();
    EXPECT_NEAR(ours, theirs, 0.02 * theirs + 0.005);
    EXPECT_EQ(platform::ticks_per_second(), platform::ticks_per_second());
}

TEST(Platform, TheDateIsTheHosts) {
    const auto now = static_cast<uint64_t>(std::time(nullptr));
    EXPECT_LE(platform::unix_time_s() - now, 2U);
}

TEST(Platform, PagesAreZeroedAlignedAndWritable) {
    constexpr size_t kCount = 3;
    auto *pages = static_cast<uint8_t *>(platform::allocate_pages(kCount));
    ASSERT_NE(pages, nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(pages) % platform::kPageBytes, 0U);
    for (size_t i = 0; i < kCount * platform::kPageBytes; ++i) {
        ASSERT_EQ(pages[i], 0);
        pages[i] = 0xA5;
    }
    platform::free_pages(pages, kCount);
    platform::free_pages(nullptr, 1);
}

TEST(Platform, UnzeroedPagesArePagesToo) {
    auto *pages = static_cast<uint8_t *>(platform::allocate_pages_unzeroed(2));
    ASSERT_NE(pages, nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(pages) % platform::kPageBytes, 0U);
    std::memset(pages, 0x5A, 2 * platform::kPageBytes);
    platform::free_pages(pages, 2);
    EXPECT_EQ(platform::allocate_pages_unzeroed(0), nullptr);
}

TEST(Platform, AbsurdPageCountsAreRefused) {
    EXPECT_EQ(platform::allocate_pages(0), nullptr);
    EXPECT_EQ(platform::allocate_pages(~size_t{0}), nullptr);
    EXPECT_EQ(platform::allocate_pages(~size_t{0} / platform::kPageBytes), nullptr);
    EXPECT_GT(platform::free_memory_bytes(), platform::kPageBytes);
    EXPECT_GT(platform::total_memory_bytes(), platform::kPageBytes);
}

TEST(Platform, CodeIsWrittenAtOneAddressAndRunsAtAnother) {
    // mov eax, 42; ret
    constexpr std::array<uint8_t, 6> kCode = {0xB8, 42, 0, 0, 0, 0xC3};
    platform::CodePages pages;
    ASSERT_TRUE(platform::allocate_code_pages(1, 1, pages).ok());
    constexpr size_t kCodeAt = platform::kPageBytes;
    std::memcpy(pages.writable, kCode.data(), kCode.size());
    std::memcpy(pages.writable + kCodeAt, kCode.data(), kCode.size());
    platform::publish_code();
    EXPECT_EQ(call(const_cast<uint8_t *>(pages.runnable) + kCodeAt), 42);
    EXPECT_EQ(pages.runnable[1], 42);  // a constant
    EXPECT_DEATH(call(const_cast<uint8_t *>(pages.runnable)), "") << "constants are not code";
    EXPECT_DEATH(call(pages.writable + kCodeAt), "") << "ran where it is written";
    EXPECT_DEATH(*const_cast<volatile uint8_t *>(pages.runnable + kCodeAt) = 0, "") << "written";
    pages.writable[kCodeAt + 1] = 43;
    platform::publish_code();
    EXPECT_EQ(call(const_cast<uint8_t *>(pages.runnable) + kCodeAt), 43);
    platform::free_code_pages(pages, 2);
}

TEST(Platform, CodePagesOfNoSizeAreRefused) {
    platform::CodePages pages;
    EXPECT_FALSE(platform::allocate_code_pages(0, 0, pages).ok());
    EXPECT_FALSE(platform::allocate_code_pages(1, SIZE_MAX, pages).ok());
    EXPECT_FALSE(platform::allocate_code_pages(SIZE_MAX, 1, pages).ok());
}

TEST(Platform, EntropyFillsEveryByte) {
    std::array<uint8_t, 64> a{};
    std::array<bool, 64> changed{};
    for (int round = 0; round < 16; ++round) {
        a.fill(0);
        platform::fill_entropy(a);
        for (size_t i = 0; i < a.size(); ++i) {
            changed[i] = changed[i] || a[i] != 0;
        }
    }
    for (const bool c : changed) {
        EXPECT_TRUE(c);
    }
    platform::fill_entropy({});
    EXPECT_EQ(platform::entropy_source(), "getrandom");
}

TEST(PlatformIdle, ReturnsAtTheDeadlineNotBefore) {
    const uint64_t begin = platform::ticks();
    platform::idle(begin + ticks_of(0.05));
    const double waited = seconds_of(platform::ticks() - begin);
    EXPECT_GE(waited, 0.045);
    EXPECT_LT(waited, 1.0);
}

TEST(PlatformIdle, PastDeadlinesDoNotWait) {
    const uint64_t begin = platform::ticks();
    for (int i = 0; i < 1000; ++i) {
        platform::idle(begin);
        platform::idle(0);
    }
    EXPECT_LT(seconds_of(platform::ticks() - begin), 0.5);
}

TEST(PlatformIdle, ReadableDescriptorsEndIt) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()), 0);
    platform::hosted_idle_fd(ends[0]);

    // Already there before the call: not lost.
    ASSERT_EQ(::write(ends[1], "x", 1), 1);
    uint64_t begin = platform::ticks();
    platform::idle(begin + ticks_of(5));
    EXPECT_LT(seconds_of(platform::ticks() - begin), 2.0);
    char byte = 0;
    ASSERT_EQ(::read(ends[0], &byte, 1), 1);

    // During the call.
    std::thread sender([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(30));
        (void)!::write(ends[1], "y", 1);
    });
    begin = platform::ticks();
    platform::idle(begin + ticks_of(5));
    EXPECT_LT(seconds_of(platform::ticks() - begin), 2.0);
    sender.join();

    // Forgotten: it no longer matters that it is readable.
    platform::hosted_idle_forget(ends[0]);
    begin = platform::ticks();
    platform::idle(begin + ticks_of(0.05));
    EXPECT_GE(seconds_of(platform::ticks() - begin), 0.045);
    ::close(ends[0]);
    ::close(ends[1]);
}

TEST(PlatformIdle, WritableDescriptorsEndItOnlyWhenAskedFor) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()), 0);
    platform::hosted_idle_fd(ends[0]);
    uint64_t begin = platform::ticks();
    platform::idle(begin + ticks_of(0.05));
    EXPECT_GE(seconds_of(platform::ticks() - begin), 0.045);
    platform::hosted_idle_fd(ends[0], true);
    begin = platform::ticks();
    platform::idle(begin + ticks_of(5));
    EXPECT_LT(seconds_of(platform::ticks() - begin), 2.0);
    platform::hosted_idle_forget(ends[0]);
    ::close(ends[0]);
    ::close(ends[1]);
}

TEST(PlatformDeathTest, PanicSaysWhy) {
    EXPECT_DEATH(platform::panic("the reason"), "PANIC: the reason");
}

}  // namespace
}  // namespace bareflow
