// Keys and values of all positions seen so far, f32 (docs/decisions/0001). Memory is taken once,
// from whole pages.
#pragma once

#include <cstdint>
#include <utility>

#include "kernel_lib/base/result.h"

namespace bareflow::llama {

class KvCache {
  public:
    KvCache() = default;
    // kTooLarge: there is no such run of memory.
    [[nodiscard]] static Result<KvCache> create(uint32_t layers, uint32_t kv_dim,
                                                uint32_t positions);
    KvCache(KvCache &&other) noexcept { swap(other); }
    KvCache &operator=(KvCache &&other) noexcept {
        swap(other);
        return *this;
    }
    ~KvCache();

    // What one position takes.
    [[nodiscard]] static uint64_t position_bytes(uint32_t layers, uint32_t kv_dim) {
        return uint64_t{2} * layers * kv_dim * sizeof(float);
    }
    [[nodiscard]] uint64_t size_bytes() const { return pages_ * 4096; }
    // [positions][kv_dim] of one layer.
    [[nodiscard]] float *keys(uint32_t layer) const { return data_ + 2 * layer * layer_floats_; }
    [[nodiscard]] float *values(uint32_t layer) const { return keys(layer) + layer_floats_; }

  private:
    void swap(KvCache &other) noexcept {
        std::swap(data_, other.data_);
        std::swap(pages_, other.pages_);
        std::swap(layer_floats_, other.layer_floats_);
    }

    float *data_ = nullptr;
    uint64_t pages_ = 0;
    uint64_t layer_floats_ = 0;
};

}  // namespace bareflow::llama
