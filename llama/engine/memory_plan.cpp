#include "llama/engine/memory_plan.h"

#include <algorithm>

#include "llama/engine/transformer.h"

namespace bareflow::llama {
namespace {

constexpr uint32_t kBatches[] = {128, 64, 32, 16, 8};

uint64_t kv_bytes(const HyperParameters &parameters, const EngineConfig &config) {
    return uint64_t{config.slots} * config.context_length *
           Transformer::position_bytes(parameters, config.kv_type);
}

bool fits(const HyperParameters &parameters, const EngineConfig &config, uint64_t free_bytes) {
    const uint64_t kv = kv_bytes(parameters, config);
    return kv <= free_bytes && Engine::scratch_bytes(parameters, config) <= free_bytes - kv;
}

// The longest context up to `most` for these slots; 0: none.
uint32_t longest_context(const HyperParameters &parameters, EngineConfig config, uint32_t most,
                         uint64_t free_bytes) {
    uint32_t good = 0;
    uint32_t bad = most + 1;
    while (bad - good > 1) {
        config.context_length = good + (bad - good) / 2;
        (fits(parameters, config, free_bytes) ? good : bad) = config.context_length;
    }
    return good;
}

}  // namespace

MemoryPlan plan_memory(const HyperParameters &parameters, const MemoryWish &wish,
                       uint64_t free_bytes) {
    MemoryPlan plan;
    const bool own = wish.context_length == 0;
    plan.wished_context =
        std::min(own ? parameters.context_length : wish.context_length,
                 std::min(Transformer::max_positions(parameters), Model::kMaxContext));
    const uint32_t good = own ? std::min(plan.wished_context, kGoodContext) : plan.wished_context;
    const uint32_t least = std::min(plan.wished_context, kLeastContext);
    EngineConfig &config = plan.config;
    config = {.batch = kBatches[std::size(kBatches) - 1], .kv_type = wish.kv_type};
    for (config.slots = wish.slots; config.slots >= 1; --config.slots) {
        config.context_length =
            longest_context(parameters, config, plan.wished_context, free_bytes);
        if (config.context_length >= (config.slots > 1 ? good : least)) {
            plan.fits = true;
            break;
        }
    }
    if (!plan.fits) {
        config.slots = 1;
        config.context_length = least;
    }
    for (const uint32_t batch : kBatches) {
        EngineConfig larger = config;
        larger.batch = batch;
        if (batch <= wish.batch && plan.fits && fits(parameters, larger, free_bytes)) {
            config.batch = batch;
            break;
        }
    }
    plan.kv_bytes = kv_bytes(parameters, config);
    plan.scratch_bytes = Engine::scratch_bytes(parameters, config);
    return plan;
}

}  // namespace bareflow::llama
