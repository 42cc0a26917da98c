// How the attention of a batch is divided into work that processors can share.
//
// A tile is tokens of one sequence whose attention is computed together, so that each key and each
// value is read once for all of them. An item is a tile and some of the query heads that read one
// KV head. The units of an item are (pass, stretch of positions, query vector) in this order. A
// stretch is computed when its first unit is done, for all query vectors at once.
//
// Memory for scores is limited: it holds the scores of `areas` items. Items are done in rounds of
// that many, with a barrier after each round.
#pragma once

#include <cstdint>

#include "llama/engine/batch.h"

namespace bareflow::llama {

// Tokens of one sequence at consecutive positions.
struct Tile {
    uint32_t first = 0;  // among the tokens of the plan
    uint32_t tokens = 0;
    uint32_t sequence = 0;
    uint32_t positions = 0;   // number of positions that the last token sees
    uint32_t unit_begin = 0;  // of the tile's first item
    uint32_t item_units = 0;  // of each of its items
};

class AttentionPlan {
  public:
    // Positions that attention works on at a time.
    static constexpr uint32_t kStretchPositions = 32;
    static constexpr uint32_t kPasses = 3;

    // The tokens to plan for: the first `count` of `all`, or the `count` that `selected` numbers.
    struct Tokens {
        const BatchToken *all = nullptr;
        const uint32_t *selected = nullptr;  // nullptr: the first ones
        uint32_t count = 0;

        [[nodiscard]] const BatchToken &operator[](uint32_t i) const {
            return all[selected == nullptr ? i : selected[i]];
        }
    };
    // What the work is divided for.
    struct Means {
        uint32_t heads = 0;
        uint32_t kv_heads = 0;
        uint32_t processors = 1;
        uint64_t score_floats = 0;  // memory for scores
    };
    struct Item {
        const Tile *tile = nullptr;
        uint32_t index = 0;
        uint32_t head = 0;  // the first query head
        uint32_t begin = 0;
        uint32_t end = 0;
    };

    // Floats that the scores of a batch need at most. Longer contexts than fit into a fixed amount
    // are computed in more rounds, but one query vector's scores always fit.
    [[nodiscard]] static uint64_t score_floats(uint32_t heads, uint32_t batch, uint32_t positions);

    // `tiles`: memory for a tile per token.
    void make(Tile *tiles, const Tokens &tokens, const Means &means);

    [[nodiscard]] uint32_t units() const { return units_; }
    [[nodiscard]] uint32_t heads_per_item() const { return heads_per_item_; }
    [[nodiscard]] Item item_at(uint32_t unit) const;
    [[nodiscard]] Item item_of(uint32_t index) const;
    // The units behind `done` whose scores have an area of their own in the present round.
    [[nodiscard]] uint32_t units_until_barrier(uint32_t done) const;
    // Where the scores of an item begin, and the distance from one query vector's to the next's.
    [[nodiscard]] uint64_t scores_at(const Item &item) const {
        return item.index % areas_ * area_floats_;
    }
    [[nodiscard]] uint64_t score_stride() const { return score_stride_; }

  private:
    void cut_tiles(const Tokens &tokens, uint32_t most);

    Tile *tiles_ = nullptr;
    uint32_t tile_count_ = 0;
    uint32_t heads_per_item_ = 0;
    uint32_t items_per_tile_ = 0;
    uint32_t areas_ = 0;
    uint32_t units_ = 0;
    uint64_t score_stride_ = 0;  // floats of one query vector
    uint64_t area_floats_ = 0;   // of one item
};

}  // namespace bareflow::llama
