// Tiles and items cover every token and head once, and scores fit into their memory.
#include "llama/engine/attention_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace bareflow::llama {
namespace {

constexpr uint64_t kMuchMemory = uint64_t{1} << 40;

// `count` tokens of one sequence from `position` on.
void append(std::vector<BatchToken> &tokens, uint32_t sequence, uint32_t position, uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) {
        tokens.push_back({.sequence = sequence, .position = position + i});
    }
}

struct Planned {
    Planned(const std::vector<BatchToken> &tokens, const AttentionPlan::Means &means)
        : tiles(tokens.size()) {
        plan.make(tiles.data(),
                  {.all = tokens.data(), .count = static_cast<uint32_t>(tokens.size())}, means);
    }
    std::vector<Tile> tiles;
    AttentionPlan plan;
};

TEST(AttentionPlanTest, ATileHasNeighboursOfOneSequence) {
    std::vector<BatchToken> tokens;
    append(tokens, 2, 5, 11);
    append(tokens, 0, 16, 1);
    append(tokens, 1, 0, 3);
    const Planned made(tokens, {.heads = 4, .kv_heads = 2, .score_floats = kMuchMemory});
    const std::vector<Tile> expected = {
        {0, 8, 2, 13}, {8, 3, 2, 16}, {11, 1, 0, 17}, {12, 3, 1, 3}};
    uint32_t units = 0;
    for (uint32_t i = 0; i < expected.size(); ++i) {
        const Tile &tile = made.tiles[i];
        EXPECT_EQ(tile.first, expected[i].first);
        EXPECT_EQ(tile.tokens, expected[i].tokens);
        EXPECT_EQ(tile.sequence, expected[i].sequence);
        EXPECT_EQ(tile.positions, expected[i].positions);
        EXPECT_EQ(tile.unit_begin, units);
        EXPECT_EQ(tile.item_units, 3 * 1 * tile.tokens * 2);  // passes, stretches, vectors
        units += 2 * tile.item_units;                         // an item for each KV head
    }
    EXPECT_EQ(made.plan.units(), units);
}

TEST(AttentionPlanTest, ItemsCoverTheUnitsInOrder) {
    std::vector<BatchToken> tokens;
    append(tokens, 0, 100, 10);
    append(tokens, 1, 3, 2);
    for (const uint32_t processors : {1u, 2u, 8u}) {
        const Planned made(
            tokens, {.heads = 6, .kv_heads = 3, .processors = processors, .score_floats = 5000});
        uint32_t at = 0;
        for (uint32_t index = 0; at < made.plan.units(); ++index) {
            const AttentionPlan::Item item = made.plan.item_of(index);
            EXPECT_EQ(item.begin, at);
            EXPECT_LT(item.head, 6u);
            for (const uint32_t unit : {item.begin, item.end - 1}) {
                EXPECT_EQ(made.plan.item_at(unit).index, index);
            }
            at = item.end;
        }
        EXPECT_EQ(at, made.plan.units());
    }
}

TEST(AttentionPlanTest, ItemsOfOneRoundHaveScoresOfTheirOwn) {
    std::vector<BatchToken> tokens;
    append(tokens, 0, 1000, 16);
    const uint64_t memory = 20'000;
    const Planned made(tokens,
                       {.heads = 8, .kv_heads = 2, .processors = 2, .score_floats = memory});
    const AttentionPlan &plan = made.plan;
    uint32_t rounds = 0;
    for (uint32_t done = 0; done < plan.units(); ++rounds) {
        const uint32_t end = done + plan.units_until_barrier(done);
        std::vector<uint64_t> areas;
        for (uint32_t unit = done; unit < end;) {
            const AttentionPlan::Item item = plan.item_at(unit);
            const uint64_t vectors = uint64_t{item.tile->tokens} * plan.heads_per_item();
            EXPECT_LE(plan.scores_at(item) + vectors * plan.score_stride(), memory);
            areas.push_back(plan.scores_at(item));
            unit = item.end;
        }
        std::ranges::sort(areas);
        EXPECT_EQ(std::ranges::adjacent_find(areas), areas.end());
        EXPECT_GE(areas.size(), 2u) << "one for each processor";
        done = end;
    }
    EXPECT_GT(rounds, 1u);
}

TEST(AttentionPlanTest, ScoresOfOneVectorAlwaysFit) {
    for (const uint32_t positions : {1u, 1000u, 1'000'000u, 8'000'000u}) {
        const uint64_t floats = AttentionPlan::score_floats(32, 128, positions);
        EXPECT_GE(floats, positions);
        std::vector<BatchToken> tokens;
        append(tokens, 0, positions - 1, 1);
        const Planned made(tokens, {.heads = 32, .kv_heads = 4, .score_floats = floats});
        const AttentionPlan::Item last = made.plan.item_at(made.plan.units() - 1);
        EXPECT_LE(made.plan.scores_at(last) + made.plan.heads_per_item() * made.plan.score_stride(),
                  floats);
    }
}

TEST(AttentionPlanTest, NoTokensAreNoUnits) {
    AttentionPlan plan;
    plan.make(nullptr, {}, {.heads = 4, .kv_heads = 1, .processors = 2, .score_floats = 100});
    EXPECT_EQ(plan.units(), 0u);
}

}  // namespace
}  // namespace bareflow::llama
