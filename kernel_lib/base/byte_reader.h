// Reads little-endian values out of bytes that come from outside. Every read is checked;
// after the first failure all further reads fail, so a parser may check once at the end of a group.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

namespace bareflow {

class ByteReader {
  public:
    constexpr explicit ByteReader(std::span<const uint8_t> bytes) : bytes_(bytes) {}

    // False, and `out` untouched, when fewer than sizeof(T) bytes are left.
    template <typename T>
        requires std::is_arithmetic_v<T>
    [[nodiscard]] bool read(T &out) {
        if (!require(sizeof(T))) {
            return false;
        }
        __builtin_memcpy(&out, bytes_.data() + offset_, sizeof(T));
        offset_ += sizeof(T);
        return true;
    }
    [[nodiscard]] bool read_bytes(uint64_t len, std::span<const uint8_t> &out) {
        if (!require(len)) {
            return false;
        }
        out = bytes_.subspan(offset_, static_cast<size_t>(len));
        offset_ += static_cast<size_t>(len);
        return true;
    }
    [[nodiscard]] bool read_text(uint64_t len, std::string_view &out) {
        std::span<const uint8_t> bytes;
        if (!read_bytes(len, bytes)) {
            return false;
        }
        out = {reinterpret_cast<const char *>(bytes.data()), bytes.size()};
        return true;
    }
    [[nodiscard]] bool skip(uint64_t len) {
        if (!require(len)) {
            return false;
        }
        offset_ += static_cast<size_t>(len);
        return true;
    }

    [[nodiscard]] size_t offset() const { return offset_; }
    [[nodiscard]] size_t remaining() const { return bytes_.size() - offset_; }
    [[nodiscard]] bool failed() const { return failed_; }

  private:
    [[nodiscard]] bool require(uint64_t len) {
        failed_ = failed_ || len > remaining();
        return !failed_;
    }

    std::span<const uint8_t> bytes_;
    size_t offset_ = 0;
    bool failed_ = false;
};

}  // namespace bareflow
