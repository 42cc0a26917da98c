// Attention over cached positions, and how the cache stores a key or a value.
// docs/decisions/0001-numeric-contract.md defines the results. A few positions are computed at a
// time: each stored number is widened once for all query vectors that read it. These are the query
// heads that share a KV head, in several rows of one sequence.
//
// Nothing allocates, fails or traps. Heads of up to kMaxHead elements.
#pragma once

#include <cstdint>

#include "compute/numbers/ops.h"

namespace bareflow::compute {

// How keys and values are stored.
enum class KvType : uint8_t {
    kF16,   // 2 bytes an element
    kQ8_0,  // int8, and an f16 scale for each 32
};

inline constexpr uint32_t kMaxHead = 512;

// Elements of a head as the operations read it: a multiple of eight, with zeros behind the last
// element.
[[nodiscard]] constexpr uint32_t padded_head(uint32_t head_size) {
    return (head_size + kLanes - 1) / kLanes * kLanes;
}
// Bytes of one stored head.
[[nodiscard]] uint32_t kv_head_bytes(KvType type, uint32_t head_size);
// Stores x[head_size] in to[kv_head_bytes], which has any alignment.
void kv_store(KvType type, const float *x, uint32_t head_size, uint8_t *to);
// Writes the stored numbers to x[padded_head(head_size)].
void kv_load(KvType type, const uint8_t *from, uint32_t head_size, float *x);

// `rows` consecutive positions of one sequence, and in each row `heads` query heads that read the
// same KV head. Row r sees the positions below `positions` - (rows - 1 - r); the last of them is
// its own. Each of the three passes is called for ranges [begin, end) of positions that begin at
// multiples of eight. A pass is complete before the next one starts. Any such split gives the same
// bits.
struct AttentionTile {
    KvType type = KvType::kF16;
    uint32_t head_size = 0;
    uint32_t rows = 0;
    uint32_t heads = 0;
    uint32_t positions = 0;
    float scale = 0.0f;
    const float *q = nullptr;  // head h of row r: + r * q_stride + h * padded_head
    uint64_t q_stride = 0;
    const uint8_t *keys = nullptr;  // [positions][kv_head_bytes]
    const uint8_t *values = nullptr;
    // For each row and head: kScoreHeader floats for the passes' state, then a score per position,
    // and room up to the next multiple of four of them.
    float *scores = nullptr;
    uint64_t scores_stride = 0;  // floats
    float *out = nullptr;        // head h of row r: + r * out_stride + h * head_size
    uint64_t out_stride = 0;
};
inline constexpr uint32_t kScoreHeader = 16;
// What a row of scores begins with.
struct AttentionState {
    float max[4];  // of the positions t mod 4
    SoftmaxState softmax;
    float inverse;  // 1 / sum, when all exponentials are there
};
static_assert(sizeof(AttentionState) <= kScoreHeader * sizeof(float));
[[nodiscard]] inline AttentionState &state_of(float *row_scores) {
    return *reinterpret_cast<AttentionState *>(row_scores);
}
// Row r sees the positions below this.
[[nodiscard]] inline uint32_t visible(const AttentionTile &tile, uint32_t row) {
    return tile.positions - (tile.rows - 1 - row);
}

// score_t = dot8(q, k_t) * scale, and the greatest of them.
void attention_scores(const AttentionTile &tile, uint32_t begin, uint32_t end);
// e_t = exp(score_t - greatest), and their sum.
void attention_exp(const AttentionTile &tile, uint32_t begin, uint32_t end);
// The same by another softmax_exp (ops.h), which is called with `begin` a multiple of eight.
using SoftmaxExp = void (*)(float *x, uint32_t begin, uint32_t end, SoftmaxState &state);
void attention_exp_with(SoftmaxExp exp, const AttentionTile &tile, uint32_t begin, uint32_t end);
// out_j += (e_t / sum) * v_t[j], t increasing, from +0.
void attention_mix(const AttentionTile &tile, uint32_t begin, uint32_t end);

}  // namespace bareflow::compute
