#include "llama/engine/kv_cache.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <utility>
#include <vector>

namespace bareflow::llama {
namespace {

constexpr KvShape kShape{.type = compute::KvType::kF16,
                         .layers = 2,
                         .kv_heads = 3,
                         .head_size = 8,
                         .sequences = 4,
                         .positions = 5};

TEST(KvCache, EveryHeadHasAPlaceOfItsOwn) {
    auto cache = KvCache::create(kShape);
    ASSERT_TRUE(cache.ok());
    const size_t bytes = size_t{cache->head_bytes()} * kShape.positions;
    std::set<uint8_t *> starts;
    for (uint32_t layer = 0; layer < kShape.layers; ++layer) {
        for (uint32_t sequence = 0; sequence < kShape.sequences; ++sequence) {
            for (uint32_t head = 0; head < kShape.kv_heads; ++head) {
                starts.insert(cache->keys(layer, sequence, head));
                starts.insert(cache->values(layer, sequence, head));
            }
        }
    }
    ASSERT_EQ(starts.size(), 2u * kShape.layers * kShape.sequences * kShape.kv_heads);
    uint8_t *end = *starts.begin();
    for (uint8_t *start : starts) {
        EXPECT_GE(start, end) << "overlaps the one before";
        end = start + bytes;
    }
    EXPECT_LE(static_cast<uint64_t>(end - *starts.begin()), cache->size_bytes());
    EXPECT_EQ(
        static_cast<uint64_t>(end - *starts.begin()),
        KvCache::position_bytes(kShape.type, kShape.layers, kShape.kv_heads, kShape.head_size) *
            kShape.positions * kShape.sequences);
}

TEST(KvCache, CopiesOnlyThePositionsAskedFor) {
    auto cache = KvCache::create(kShape);
    ASSERT_TRUE(cache.ok());
    const size_t bytes = size_t{cache->head_bytes()} * kShape.positions;
    std::memset(cache->values(1, 0, 2), 0xAA, bytes);
    std::memset(cache->values(1, 3, 2), 0x55, bytes);
    std::memset(cache->keys(1, 3, 2), 0x11, bytes);
    cache->copy(2 * 1 + 1, 2, 0, 3, 1, 4);
    const std::vector<uint8_t> copied(cache->values(1, 3, 2), cache->values(1, 3, 2) + bytes);
    for (size_t i = 0; i < bytes; ++i) {
        const size_t position = i / cache->head_bytes();
        EXPECT_EQ(copied[i], position >= 1 && position < 4 ? 0xAA : 0x55) << i;
        EXPECT_EQ(cache->keys(1, 3, 2)[i], 0x11) << "keys are another plane";
        EXPECT_EQ(cache->values(1, 0, 2)[i], 0xAA) << "the source stays";
    }
}

TEST(KvCache, MovesWithItsMemory) {
    auto cache = KvCache::create(kShape);
    ASSERT_TRUE(cache.ok());
    uint8_t *const keys = cache->keys(0, 1, 1);
    KvCache moved = std::move(*cache);
    EXPECT_EQ(moved.keys(0, 1, 1), keys);
    EXPECT_EQ(moved.head_bytes(), compute::kv_head_bytes(kShape.type, kShape.head_size));
}

TEST(KvCache, TooMuchIsAnErrorAndNotAFault) {
    KvShape huge = kShape;
    huge.layers = 1u << 10;
    huge.kv_heads = 1u << 10;
    huge.head_size = 512;
    huge.positions = 1u << 20;
    huge.sequences = 0xFFFFFFFF;  // overflows 64 bits
    for (int round = 0; round < 2; ++round) {
        auto cache = KvCache::create(huge);
        ASSERT_FALSE(cache.ok());
        EXPECT_EQ(cache.error().code, ErrorCode::kTooLarge);
        EXPECT_EQ(cache.error().message, "not enough memory for the KV cache");
        huge.sequences = 16;  // fits into 64 bits, and into no machine
    }
}

}  // namespace
}  // namespace bareflow::llama
