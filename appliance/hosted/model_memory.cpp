// Reads or maps a model file. Reading is tried first, because packing weights needs memory that can
// be written; every failure on that way ends in mapping.
#include "appliance/hosted/model_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <string_view>

namespace bareflow {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
// MADV_COLLAPSE, since Linux 6.1 (uapi/asm-generic/mman-common.h); Debian 12's C library lacks it.
constexpr int kCollapse = 25;
constexpr size_t kWorthwhile = size_t{16} << 20;
// Memory that must stay free beside the copy, for everything else that runs.
constexpr uint64_t kSpareBytes = uint64_t{1} << 30;
constexpr size_t kReadBytes = size_t{64} << 20;

// The memory that is free or that file caches would give back; 0: not known.
uint64_t available_bytes() {
    const int fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    char text[4096];
    const ssize_t len = read(fd, text, sizeof(text));
    close(fd);
    constexpr std::string_view kField = "MemAvailable:";
    std::string_view left(text, len > 0 ? static_cast<size_t>(len) : 0);
    const size_t found = left.find(kField);
    if (found == std::string_view::npos) {
        return 0;
    }
    left.remove_prefix(found + kField.size());
    left.remove_prefix(std::min(left.find_first_not_of(' '), left.size()));
    uint64_t kib = 0;
    std::from_chars(left.data(), left.data() + left.size(), kib);
    return kib << 10;
}

bool memory_to_spare(size_t len) {
    return available_bytes() > len + kSpareBytes;
}

bool read_all(int fd, uint8_t *to, size_t len) {
    size_t done = 0;
    while (done < len) {
        const ssize_t got =
            pread(fd, to + done, std::min(len - done, kReadBytes), static_cast<off_t>(done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return false;  // the file became shorter, or it cannot be read
        }
        done += static_cast<size_t>(got);
    }
    return true;
}

// nullptr: no memory to spare, or an error; the caller maps the file instead.
void *read_into_pages(int fd, size_t len) {
    if (!memory_to_spare(len)) {
        return nullptr;
    }
    const size_t room = (len + kHugePage - 1) / kHugePage * kHugePage;
    void *const at = mmap(nullptr, room + kHugePage, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) {
        return nullptr;
    }
    // The parts outside the aligned range are never touched, so they cost no memory.
    auto *const start = static_cast<uint8_t *>(at);
    uint8_t *const aligned =
        start + (kHugePage - reinterpret_cast<uintptr_t>(at) % kHugePage) % kHugePage;
    if ((len >= kWorthwhile && madvise(aligned, room, MADV_HUGEPAGE) != 0) ||
        !read_all(fd, aligned, len)) {
        munmap(at, room + kHugePage);
        return nullptr;
    }
    // If free memory was fragmented, some pages are small ones: ask Linux to join them. An older
    // Linux refuses, and they stay small.
    (void)madvise(aligned, room, kCollapse);
    return aligned;
}

}  // namespace

ModelMemory model_file_bytes(const char *path, bool map) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return {};
    }
    ModelMemory memory;
    struct stat info{};
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0) {
        const auto len = static_cast<size_t>(info.st_size);
        void *at = map ? nullptr : read_into_pages(fd, len);
        memory.writable = at != nullptr;
        if (at == nullptr) {
            at = mmap(nullptr, len, PROT_READ, MAP_PRIVATE, fd, 0);
        }
        if (at != MAP_FAILED) {
            memory.bytes = {static_cast<const uint8_t *>(at), len};
        }
    }
    close(fd);
    return memory;
}

}  // namespace bareflow
