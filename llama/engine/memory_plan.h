// How much of the machine's memory the texts get: slots, context and batch, decided once, before
// the engine takes its memory. A pure function.
//
// If the wish does not fit, it is reduced in this order: tokens of a batch (slower prompts), slots,
// then the context.
#pragma once

#include <cstdint>

#include "llama/engine/engine.h"
#include "llama/model/model.h"

namespace bareflow::llama {

struct MemoryWish {
    uint32_t slots = 4;           // 1 to EngineConfig::kMaxSlots
    uint32_t context_length = 0;  // tokens; 0: what the file says
    compute::KvType kv_type = compute::KvType::kF16;
    uint32_t batch = 32;  // tokens of a batch; see Engine::good_batch
};

struct MemoryPlan {
    bool fits = false;
    EngineConfig config;          // if it fits
    uint32_t wished_context = 0;  // tokens
    uint64_t kv_bytes = 0;        // of `config`; if nothing fits: of one slot with kLeastContext
    uint64_t scratch_bytes = 0;
};

// The shortest useful context, unless the wish is less.
inline constexpr uint32_t kLeastContext = 128;
// If the user names no context, the number of slots is reduced before the context gets shorter than
// this.
inline constexpr uint32_t kGoodContext = 4096;

// `free_bytes`: what may be used for the KV cache and the engine's working memory.
[[nodiscard]] MemoryPlan plan_memory(const HyperParameters &parameters, const MemoryWish &wish,
                                     uint64_t free_bytes);

}  // namespace bareflow::llama
