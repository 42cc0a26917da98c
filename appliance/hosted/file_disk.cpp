#include "appliance/hosted/file_disk.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "drivers/block/block_checks.h"
#include "drivers/block/state_disk.h"

namespace bareflow {

namespace {

constexpr size_t kNewFileBytes = 64 * 1024;
static_assert(kNewFileBytes >= state_format::kDiskSectors * kSectorBytes);

bool write_new(int fd) {
    std::vector<uint8_t> bytes(kNewFileBytes);
    std::ranges::copy(state_format::kDiskMagic, bytes.begin());
    return ::pwrite(fd, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()) &&
           ::fsync(fd) == 0;
}

}  // namespace

Result<FileDisk *> FileDisk::open(const std::string &path) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) {
        return Error{ErrorCode::kNotFound, "the file cannot be opened for writing"};
    }
    struct stat info{};
    Error why{ErrorCode::kUnsupported, "not a plain file"};
    if (::fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) {
        if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
            why = {ErrorCode::kExhausted, "another process keeps its profile there"};
        } else if (info.st_size == 0 && !write_new(fd)) {
            why = {ErrorCode::kDevice, "the file cannot be written"};
        } else if (::fstat(fd, &info) == 0) {
            return new FileDisk(path, fd, static_cast<uint64_t>(info.st_size) / kSectorBytes);
        }
    }
    ::close(fd);
    return why;
}

Status FileDisk::read(uint64_t first_sector, std::span<uint8_t> bytes) {
    BF_TRY(check_transfer(*this, first_sector, bytes));
    const auto at = static_cast<off_t>(first_sector * kSectorBytes);
    if (::pread(fd_, bytes.data(), bytes.size(), at) != static_cast<ssize_t>(bytes.size())) {
        return {ErrorCode::kDevice, "the file cannot be read"};
    }
    return {};
}

Status FileDisk::write(uint64_t first_sector, std::span<const uint8_t> bytes) {
    BF_TRY(check_transfer(*this, first_sector, bytes));
    const auto at = static_cast<off_t>(first_sector * kSectorBytes);
    if (::pwrite(fd_, bytes.data(), bytes.size(), at) != static_cast<ssize_t>(bytes.size()) ||
        ::fdatasync(fd_) != 0) {
        return {ErrorCode::kDevice, "the file cannot be written"};
    }
    return {};
}

}  // namespace bareflow
