// An owned array of plain values on the heap, made fallibly: the only way that memory whose size
// comes from outside is obtained. Freed with its owner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>

#include "kernel_lib/base/result.h"

namespace bareflow {

// From the program's heap (metal: memory/heap.h over platform pages; hosted: the C library).
// nullptr when there is no room. alignment: a power of two, at most 4096.
[[nodiscard]] void *heap_allocate(size_t bytes, size_t alignment);
void heap_release(void *memory);

// What every Buffer's create() does, once. nullptr when there is nothing to hold.
[[nodiscard]] Status allocate_zeroed(size_t count, size_t value_bytes, size_t alignment,
                                     void *&memory);

template <typename T>
class Buffer {
    static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);

  public:
    Buffer() = default;
    // `count` zeroed values, aligned to `alignment` bytes (64: a cache line).
    [[nodiscard]] static Result<Buffer> create(size_t count, size_t alignment = 64) {
        Buffer buffer;
        void *memory = nullptr;
        if (const Status status = allocate_zeroed(count, sizeof(T), alignment, memory); !status) {
            return status.error();
        }
        buffer.data_ = static_cast<T *>(memory);
        buffer.count_ = count;
        return buffer;
    }
    Buffer(Buffer &&other) noexcept
        : data_(std::exchange(other.data_, nullptr)), count_(std::exchange(other.count_, 0)) {}
    Buffer &operator=(Buffer &&other) noexcept {
        std::swap(data_, other.data_);
        std::swap(count_, other.count_);
        return *this;
    }
    ~Buffer() { heap_release(data_); }

    [[nodiscard]] T *data() const { return data_; }
    [[nodiscard]] size_t size() const { return count_; }
    [[nodiscard]] std::span<T> span() const { return {data_, count_}; }
    T &operator[](size_t index) const { return span()[index]; }

  private:
    T *data_ = nullptr;
    size_t count_ = 0;
};

}  // namespace bareflow
