// What is given up, and in which order, as the memory gets smaller.
#include "llama/engine/memory_plan.h"

#include <gtest/gtest.h>

#include <set>

#include "llama/engine/transformer.h"

namespace bareflow::llama {
namespace {

// TinyLlama-1.1B.
constexpr HyperParameters kTiny{.vocab = 32000,
                                .dim = 2048,
                                .hidden = 5632,
                                .layers = 22,
                                .heads = 32,
                                .kv_heads = 4,
                                .head_size = 64,
                                .rope_dim = 64,
                                .context_length = 2048};
constexpr uint64_t kMiB = 1 << 20;

uint64_t needed(const EngineConfig &config, const HyperParameters &p = kTiny) {
    return uint64_t{config.slots} * config.context_length *
               Transformer::position_bytes(p, config.kv_type) +
           Engine::scratch_bytes(p, config);
}

TEST(MemoryPlan, EverythingWhereThereIsRoom) {
    const MemoryPlan plan = plan_memory(kTiny, {}, 8192 * kMiB);
    EXPECT_TRUE(plan.fits);
    EXPECT_EQ(plan.config.slots, 4u);
    EXPECT_EQ(plan.config.context_length, 2048u);
    EXPECT_EQ(plan.config.batch, 32u);
    EXPECT_EQ(plan_memory(kTiny, {.batch = 128}, 8192 * kMiB).config.batch, 128u);
    EXPECT_EQ(plan.kv_bytes, 4 * 2048 * Transformer::position_bytes(kTiny, compute::KvType::kF16));
    EXPECT_EQ(plan_memory(kTiny, {.context_length = 10'000}, 8192 * kMiB).config.context_length,
              10'000u)
        << "longer than the model was trained for, if somebody says so";
}

TEST(MemoryPlan, GivesUpRowsThenSlotsThenContext) {
    uint32_t slots = 16;
    uint32_t batch = 128;
    std::set<uint32_t> batches;
    uint32_t context = 2048;
    bool did_not_fit = false;
    for (uint64_t bytes = 4096 * kMiB; bytes > kMiB; bytes -= bytes / 50) {
        const MemoryPlan plan = plan_memory(kTiny, {.slots = 16, .batch = 128}, bytes);
        if (!plan.fits) {
            did_not_fit = true;
            EXPECT_GT(plan.kv_bytes + plan.scratch_bytes, bytes) << "so much is needed";
            EXPECT_LT(bytes, 32 * kMiB);
            continue;
        }
        EXPECT_FALSE(did_not_fit);
        EXPECT_LE(needed(plan.config), bytes);
        EXPECT_LE(plan.config.slots, slots);
        EXPECT_LE(plan.config.context_length, context);
        if (plan.config.slots == slots && plan.config.context_length == context) {
            EXPECT_LE(plan.config.batch, batch);
        }
        batches.insert(plan.config.batch);
        slots = plan.config.slots;
        batch = plan.config.batch;
        context = plan.config.context_length;
        if (context < 2048) {
            EXPECT_EQ(slots, 1u);
            EngineConfig longer = plan.config;
            longer.batch = 8;
            ++longer.context_length;
            EXPECT_GT(needed(longer), bytes) << "the longest that fits";
        }
    }
    EXPECT_TRUE(did_not_fit);
    EXPECT_EQ(batches, (std::set<uint32_t>{8, 16, 32, 64, 128}));
    EXPECT_EQ(slots, 1u);
    EXPECT_LT(context, 200u);
}

TEST(MemoryPlan, ALongContextOfItsOwnDoesNotTakeTheSlots) {
    HyperParameters llama3 = kTiny;
    llama3.context_length = 131072;
    const MemoryPlan plan = plan_memory(llama3, {}, 1024 * kMiB);
    EXPECT_TRUE(plan.fits);
    EXPECT_EQ(plan.config.slots, 4u);
    EXPECT_GE(plan.config.context_length, kGoodContext);
    EXPECT_LT(plan.config.context_length, 131072u);
    EXPECT_EQ(plan.wished_context, 131072u);
    EXPECT_LE(needed(plan.config, llama3), 1024 * kMiB);
    // Asked for, it does.
    const MemoryPlan asked = plan_memory(llama3, {.context_length = 30'000}, 1024 * kMiB);
    EXPECT_EQ(asked.config.context_length, 30'000u);
    EXPECT_EQ(asked.config.slots, 1u);
}

TEST(MemoryPlan, ShortWishesAreGranted) {
    const MemoryPlan plan = plan_memory(kTiny, {.slots = 1, .context_length = 5}, 64 * kMiB);
    EXPECT_TRUE(plan.fits);
    EXPECT_EQ(plan.config.context_length, 5u);
    const MemoryPlan none = plan_memory(kTiny, {.slots = 1, .context_length = 5}, 0);
    EXPECT_FALSE(none.fits);
    EXPECT_EQ(none.kv_bytes, 5 * Transformer::position_bytes(kTiny, compute::KvType::kF16));
}

}  // namespace
}  // namespace bareflow::llama
