// Keys and values of every position of every sequence (formats: compute/numbers/attention.h).
// Memory is taken once, in whole pages. The order is layer, keys or values, sequence, KV head,
// position, so the keys that one head reads lie in one piece.
#pragma once

#include <cstdint>
#include <utility>

#include "compute/numbers/attention.h"
#include "kernel_lib/base/result.h"

namespace bareflow::llama {

struct KvShape {
    compute::KvType type = compute::KvType::kF16;
    uint32_t layers = 0;
    uint32_t kv_heads = 0;
    uint32_t head_size = 0;
    uint32_t sequences = 0;
    uint32_t positions = 0;  // of each sequence
};

class KvCache {
  public:
    KvCache() = default;
    // kTooLarge: there is no such run of memory. The contents are undefined.
    [[nodiscard]] static Result<KvCache> create(const KvShape &shape);
    KvCache(KvCache &&other) noexcept { swap(other); }
    KvCache &operator=(KvCache &&other) noexcept {
        swap(other);
        return *this;
    }
    ~KvCache();

    // Bytes of one position of one sequence.
    [[nodiscard]] static uint64_t position_bytes(compute::KvType type, uint32_t layers,
                                                 uint32_t kv_heads, uint32_t head_size) {
        return uint64_t{2} * layers * kv_heads * compute::kv_head_bytes(type, head_size);
    }
    [[nodiscard]] uint64_t size_bytes() const { return pages_ * 4096; }

    // The keys or values of one head: [positions][kv_head_bytes].
    [[nodiscard]] uint8_t *keys(uint32_t layer, uint32_t sequence, uint32_t kv_head) const {
        return plane(2 * layer, sequence, kv_head);
    }
    [[nodiscard]] uint8_t *values(uint32_t layer, uint32_t sequence, uint32_t kv_head) const {
        return plane(2 * layer + 1, sequence, kv_head);
    }
    [[nodiscard]] uint32_t head_bytes() const { return head_bytes_; }

    // Copies positions [begin, end) of one head from one sequence to another: keys (plane 2 *
    // layer) or values (the next plane).
    void copy(uint32_t plane_index, uint32_t kv_head, uint32_t from, uint32_t to, uint32_t begin,
              uint32_t end) const;

  private:
    [[nodiscard]] uint8_t *plane(uint32_t index, uint32_t sequence, uint32_t kv_head) const {
        const uint64_t row = (uint64_t{index} * shape_.sequences + sequence) * shape_.kv_heads;
        return data_ + (row + kv_head) * shape_.positions * head_bytes_;
    }
    void swap(KvCache &other) noexcept {
        std::swap(data_, other.data_);
        std::swap(pages_, other.pages_);
        std::swap(shape_, other.shape_);
        std::swap(head_bytes_, other.head_bytes_);
    }

    uint8_t *data_ = nullptr;
    uint64_t pages_ = 0;
    KvShape shape_;
    uint32_t head_bytes_ = 0;
};

}  // namespace bareflow::llama
