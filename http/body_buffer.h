// A request body that is being received. It grows as bytes arrive, never by the length that a
// header claims. Each body has a limit, and all bodies together have another one, so that memory
// stays bounded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernel_lib/memory/buffer.h"

namespace bareflow::http {

// The longest body accepted.
inline constexpr size_t kMaxBodyBytes = 1024 * 1024;

// Shared by all connections of one server.
struct BodyBudget {
    size_t total_bytes = 4 * 1024 * 1024;  // memory for all bodies at once, growing copies included
    size_t used_bytes = 0;
};

class BodyBuffer {
  public:
    enum class Append : uint8_t { kOk, kTooLong, kNoMemory };

    explicit BodyBuffer(BodyBudget &budget) : budget_(budget) {}
    BodyBuffer(const BodyBuffer &) = delete;
    BodyBuffer &operator=(const BodyBuffer &) = delete;
    ~BodyBuffer() { release(); }

    [[nodiscard]] Append append(std::span<const char> bytes);
    // The bytes so far. The byte behind them is NUL, unless there are none.
    [[nodiscard]] std::span<char> bytes() const { return {storage_.data(), len_bytes_}; }
    // Forgets the bytes and gives the memory back.
    void release();

  private:
    [[nodiscard]] Buffer<char> take(size_t len_bytes) const;

    BodyBudget &budget_;
    Buffer<char> storage_;
    size_t len_bytes_ = 0;
};

}  // namespace bareflow::http
