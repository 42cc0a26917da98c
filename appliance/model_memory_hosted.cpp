#include "appliance/model_memory_hosted.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>

namespace bareflow {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kWorthwhile = size_t{16} << 20;
// Beside the copy, for everything else that runs.
constexpr uint64_t kSpareBytes = uint64_t{1} << 30;
constexpr size_t kReadBytes = size_t{64} << 20;

bool memory_to_spare(size_t len) {
    const long pages = sysconf(_SC_AVPHYS_PAGES);
    const long page_bytes = sysconf(_SC_PAGESIZE);
    return pages > 0 && page_bytes > 0 &&
           static_cast<uint64_t>(pages) * static_cast<uint64_t>(page_bytes) > len + kSpareBytes;
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
            return false;  // shorter than it was, or unreadable
        }
        done += static_cast<size_t>(got);
    }
    return true;
}

// nullptr: to be mapped instead.
void *read_into_huge_pages(int fd, size_t len) {
    if (len < kWorthwhile || !memory_to_spare(len)) {
        return nullptr;
    }
    const size_t room = (len + kHugePage - 1) / kHugePage * kHugePage;
    void *const at = mmap(nullptr, room + kHugePage, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) {
        return nullptr;
    }
    // What is not aligned stays untouched, so it costs no memory.
    auto *const start = static_cast<uint8_t *>(at);
    uint8_t *const aligned =
        start + (kHugePage - reinterpret_cast<uintptr_t>(at) % kHugePage) % kHugePage;
    if (madvise(aligned, room, MADV_HUGEPAGE) != 0 || !read_all(fd, aligned, len) ||
        mprotect(aligned, room, PROT_READ) != 0) {
        munmap(at, room + kHugePage);
        return nullptr;
    }
    return aligned;
}

}  // namespace

std::span<const uint8_t> model_file_bytes(const char *path) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return {};
    }
    std::span<const uint8_t> bytes;
    struct stat info{};
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0) {
        const auto len = static_cast<size_t>(info.st_size);
        void *at = read_into_huge_pages(fd, len);
        if (at == nullptr) {
            at = mmap(nullptr, len, PROT_READ, MAP_PRIVATE, fd, 0);
        }
        if (at != MAP_FAILED) {
            bytes = {static_cast<const uint8_t *>(at), len};
        }
    }
    close(fd);
    return bytes;
}

}  // namespace bareflow
