// How much of the machine's memory the texts get: slots, context and batch, decided once, before
// the engine takes all of it. Pure: numbers in, numbers out.
//
// What is wished for is given up in this order: rows of a batch (slower prompts), slots, then the
// context.
#pragma once

#include <cstdint>

#include "llama/engine/engine.h"
#include "llama/model/model.h"

namespace bareflow::llama {

struct MemoryWish {
    uint32_t slots = 4;           // 1 to EngineConfig::kMaxSlots
    uint32_t context_length = 0;  // tokens; 0: the file's own
    compute::KvType kv_type = compute::KvType::kF16;
    uint32_t batch = 32;  // rows of a batch; see Engine::good_batch
};

struct MemoryPlan {
    bool fits = false;
    EngineConfig config;          // if it fits
    uint32_t wished_context = 0;  // tokens
    uint64_t kv_bytes = 0;  // as in config; if it doesn't fit: of one slot, kLeastContext long
    uint64_t scratch_bytes = 0;
};

// A shorter context is no use to anybody (or the wish, if that is less).
inline constexpr uint32_t kLeastContext = 128;
// Where nobody says how long the context shall be, slots are given up before it gets shorter.
inline constexpr uint32_t kGoodContext = 4096;

// `free_bytes`: what may be used for the KV cache and the engine's working memory.
[[nodiscard]] MemoryPlan plan_memory(const HyperParameters &parameters, const MemoryWish &wish,
                                     uint64_t free_bytes);

}  // namespace bareflow::llama
