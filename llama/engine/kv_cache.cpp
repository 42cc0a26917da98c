#include "llama/engine/kv_cache.h"

#include "kernel_lib/platform/platform.h"

namespace bareflow::llama {

static_assert(platform::kPageBytes == 4096);

Result<KvCache> KvCache::create(const KvShape &shape) {
    // One sequence is far below 2^64 bytes by the model's limits: 2^10 layers, 2^19 elements, 2^24
    // positions. Only the product with the number of sequences is checked.
    const uint64_t sequence_bytes =
        position_bytes(shape.type, shape.layers, shape.kv_heads, shape.head_size) * shape.positions;
    uint64_t bytes;
    if (__builtin_mul_overflow(sequence_bytes, shape.sequences, &bytes)) {
        return Error{ErrorCode::kTooLarge, "not enough memory for the KV cache"};
    }
    KvCache cache;
    cache.shape_ = shape;
    cache.head_bytes_ = compute::kv_head_bytes(shape.type, shape.head_size);
    cache.pages_ = bytes / platform::kPageBytes + 1;
    // Not zeroed: every position is stored before it is read.
    cache.data_ = static_cast<uint8_t *>(platform::allocate_pages_unzeroed(cache.pages_));
    if (cache.data_ == nullptr) {
        cache.pages_ = 0;
        return Error{ErrorCode::kTooLarge, "not enough memory for the KV cache"};
    }
    return cache;
}

KvCache::~KvCache() {
    if (data_ != nullptr) {
        platform::free_pages(data_, pages_);
    }
}

void KvCache::copy(uint32_t plane_index, uint32_t kv_head, uint32_t from, uint32_t to,
                   uint32_t begin, uint32_t end) const {
    const uint64_t offset = uint64_t{begin} * head_bytes_;
    __builtin_memcpy(plane(plane_index, to, kv_head) + offset,
                     plane(plane_index, from, kv_head) + offset,
                     uint64_t{end - begin} * head_bytes_);
}

}  // namespace bareflow::llama
