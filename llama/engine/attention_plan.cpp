// Cuts the tokens of a batch into tiles and items. Two wishes pull in opposite directions. Large
// tiles read keys and values less often. Small ones need less memory for scores, and give every
// processor something to do.
//
// What is computed does not depend on the cut: each query vector's attention is computed by itself.
#include "llama/engine/attention_plan.h"

namespace bareflow::llama {
namespace {

constexpr uint32_t kTileTokens = 8;  // at most
// Memory for scores, unless those of one query vector take more.
constexpr uint64_t kScoreFloats = (2u << 20) / sizeof(float);
// With two items for each processor, none waits long for another one's last item.
constexpr uint32_t kItemsPerProcessor = 2;
static_assert(AttentionPlan::kStretchPositions % compute::kLanes == 0);

constexpr uint32_t divide_up(uint32_t n, uint32_t by) {
    return (n + by - 1) / by;
}

constexpr uint64_t stride_for(uint32_t positions) {
    return compute::kScoreHeader +
           uint64_t{divide_up(positions, compute::kScoreHeader)} * compute::kScoreHeader;
}

}  // namespace

uint64_t AttentionPlan::score_floats(uint32_t heads, uint32_t batch, uint32_t positions) {
    const uint64_t vector = stride_for(positions);
    const uint64_t all = vector * heads * batch;
    const uint64_t most = kScoreFloats > vector ? kScoreFloats : vector;
    return all < most ? all : most;
}

void AttentionPlan::cut_tiles(const Tokens &tokens, uint32_t most) {
    tile_count_ = 0;
    for (uint32_t i = 0; i < tokens.count;) {
        const BatchToken &first = tokens[i];
        uint32_t count = 1;
        while (count < most && i + count < tokens.count) {
            const BatchToken &next = tokens[i + count];
            if (next.sequence != first.sequence || next.position != first.position + count) {
                break;
            }
            ++count;
        }
        tiles_[tile_count_++] = {.first = i,
                                 .tokens = count,
                                 .sequence = first.sequence,
                                 .positions = first.position + count};
        i += count;
    }
}

void AttentionPlan::make(Tile *tiles, const Tokens &tokens, const Means &means) {
    tiles_ = tiles;
    const uint32_t heads_of_kv = means.heads / means.kv_heads;
    uint32_t longest = 1;
    for (uint32_t i = 0; i < tokens.count; ++i) {
        const uint32_t sees = tokens[i].position + 1;
        longest = sees > longest ? sees : longest;
    }
    score_stride_ = stride_for(longest);
    uint32_t tile_tokens = kTileTokens < tokens.count ? kTileTokens : tokens.count;
    uint32_t heads = heads_of_kv;
    for (;;) {
        cut_tiles(tokens, tile_tokens);
        area_floats_ = score_stride_ * tile_tokens * heads;
        items_per_tile_ = means.heads / heads;
        const bool fits = area_floats_ * means.processors <= means.score_floats;
        const bool enough = means.processors == 1 ||
                            tile_count_ * items_per_tile_ >= means.processors * kItemsPerProcessor;
        if ((fits && enough) || (tile_tokens <= 1 && heads == 1)) {
            break;
        }
        if (tile_tokens > 1) {
            tile_tokens = (tile_tokens + 1) / 2;
        } else {
            do {
                --heads;
            } while (heads_of_kv % heads != 0);
        }
    }
    heads_per_item_ = heads;
    areas_ = static_cast<uint32_t>(area_floats_ == 0 ? 1 : means.score_floats / area_floats_);
    units_ = 0;
    for (uint32_t i = 0; i < tile_count_; ++i) {
        Tile &tile = tiles_[i];
        tile.unit_begin = units_;
        tile.item_units =
            kPasses * divide_up(tile.positions, kStretchPositions) * tile.tokens * heads;
        units_ += tile.item_units * items_per_tile_;
    }
}

AttentionPlan::Item AttentionPlan::item_of(uint32_t index) const {
    const Tile &tile = tiles_[index / items_per_tile_];
    const uint32_t within = index % items_per_tile_;
    const uint32_t begin = tile.unit_begin + within * tile.item_units;
    return {.tile = &tile,
            .index = index,
            .head = within * heads_per_item_,
            .begin = begin,
            .end = begin + tile.item_units};
}

AttentionPlan::Item AttentionPlan::item_at(uint32_t unit) const {
    uint32_t tile = tile_count_ - 1;
    while (tiles_[tile].unit_begin > unit) {
        --tile;
    }
    const uint32_t within = (unit - tiles_[tile].unit_begin) / tiles_[tile].item_units;
    return item_of(tile * items_per_tile_ + within);
}

uint32_t AttentionPlan::units_until_barrier(uint32_t done) const {
    const uint32_t items = tile_count_ * items_per_tile_;
    const uint32_t next = (item_at(done).index / areas_ + 1) * areas_;
    return (next < items ? item_of(next).begin : units_) - done;
}

}  // namespace bareflow::llama
