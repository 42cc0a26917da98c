#include "llama/kv_cache.h"

#include "kernel_lib/platform/platform.h"

namespace bareflow::llama {

static_assert(platform::kPageBytes == 4096);

Result<KvCache> KvCache::create(uint32_t layers, uint32_t kv_dim, uint32_t positions) {
    // The model's limits keep this far below 2^64: 2^10 layers, 2^19 of kv_dim, 2^24 positions.
    const uint64_t bytes = position_bytes(layers, kv_dim) * positions;
    KvCache cache;
    cache.pages_ = (bytes + platform::kPageBytes - 1) / platform::kPageBytes;
    cache.layer_floats_ = uint64_t{kv_dim} * positions;
    cache.data_ = static_cast<float *>(platform::allocate_pages(cache.pages_));
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

}  // namespace bareflow::llama
