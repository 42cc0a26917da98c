// A fixed piece of memory whose bytes are added at one end and taken at the other.
#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <span>

namespace bareflow::http {

template <size_t kBytes>
class ByteWindow {
  public:
    void clear() { begin_ = end_ = 0; }
    // Moves the bytes to the front, so that all room is behind them.
    void compact() {
        if (begin_ > 0) {
            std::memmove(bytes_.data(), bytes_.data() + begin_, size());
            end_ = size();
            begin_ = 0;
        }
    }

    [[nodiscard]] bool empty() const { return begin_ == end_; }
    [[nodiscard]] size_t size() const { return end_ - begin_; }
    // The bytes, oldest first, and the room behind them.
    [[nodiscard]] std::span<const char> bytes() const { return {bytes_.data() + begin_, size()}; }
    [[nodiscard]] std::span<char> room() { return {bytes_.data() + end_, kBytes - end_}; }
    // `count` bytes were written into room(), or read from bytes().
    void added(size_t count) { end_ += count; }
    void taken(size_t count) { begin_ += count; }

  private:
    size_t begin_ = 0;
    size_t end_ = 0;
    std::array<char, kBytes> bytes_;
};

}  // namespace bareflow::http
