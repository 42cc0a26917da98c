// A bounded queue between one producer and one consumer, which may be an interrupt handler and the
// code it interrupts. No allocation, no waiting; a full ring refuses, it never overwrites.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <optional>
#include <type_traits>

namespace bareflow {

template <typename T, size_t kCapacity>
class RingBuffer {
    static_assert(std::has_single_bit(kCapacity));
    static_assert(std::is_trivially_copyable_v<T>);

  public:
    constexpr RingBuffer() = default;

    // Producer. False, and nothing changed, when full.
    [[nodiscard]] bool push(T value) {
        const size_t tail = tail_.load(std::memory_order_relaxed);
        if (tail - head_.load(std::memory_order_acquire) == kCapacity) {
            return false;
        }
        slots_[tail % kCapacity] = value;
        tail_.store(tail + 1, std::memory_order_release);
        return true;
    }
    // Consumer. Oldest first.
    [[nodiscard]] std::optional<T> pop() {
        const size_t head = head_.load(std::memory_order_relaxed);
        if (head == tail_.load(std::memory_order_acquire)) {
            return std::nullopt;
        }
        const T value = slots_[head % kCapacity];
        head_.store(head + 1, std::memory_order_release);
        return value;
    }
    // Either side; what the other side does meanwhile makes it out of date, in its favour.
    [[nodiscard]] size_t size() const {
        return tail_.load(std::memory_order_acquire) - head_.load(std::memory_order_acquire);
    }
    [[nodiscard]] bool empty() const { return size() == 0; }
    [[nodiscard]] static constexpr size_t capacity() { return kCapacity; }

  private:
    std::array<T, kCapacity> slots_{};
    std::atomic<size_t> head_{0};  // counts up for ever; wraps together with tail_
    std::atomic<size_t> tail_{0};
};

}  // namespace bareflow
