// Attention of one row (decoding) for heads of 16 elements. It includes float_ops_inl.h, whose head
// says what must be defined before.
//
// Numbers are widened where they are used and not stored. A query vector, or the results of two
// heads, stay in registers for all positions, in one loop without calls. That helps in an emulator,
// where each access to memory looks up a page and each return looks up code. It saves a fifth of
// the time of a small model's token. Longer heads do not fit into registers.

#pragma once

#include "compute/kernels/per_target/float_ops_inl.h"

constexpr uint32_t kHead = 16;
constexpr uint32_t kEightBytes = kLanes * StoredHalves::kBytes;
constexpr uint32_t kHeadBytes = kHead * StoredHalves::kBytes;

bool is_one_row(const AttentionTile &tile) {
    return tile.rows == 1 && tile.type == KvType::kF16 && tile.head_size == kHead;
}

// ------------------------------------------------------------------ scores

constexpr uint32_t kGroup = 4;             // positions whose sums are folded together
constexpr uint32_t kScored = 64 * kGroup;  // positions that a set of odd groups covers

// Widens by integers, which is right for normal numbers only, and remembers the least magnitude.
struct WatchedHalves {
    static constexpr Halves kMagnitude = {0x7fff, 0x7fff, 0x7fff, 0x7fff,
                                          0x7fff, 0x7fff, 0x7fff, 0x7fff};
    Halves least = kMagnitude;

    template <bool kWatch>
    [[gnu::always_inline]] inline F32x8 load(const uint8_t *from) {
        if constexpr (kWatch) {
            Halves some;
            __builtin_memcpy(&some, from, sizeof(some));
            least = __builtin_elementwise_min(least, static_cast<Halves>(some & kMagnitude));
        }
        return StoredHalves::load(from);
    }
};

// Scores of one head for the positions [begin, end), at most kScored. Bit g of `odd`: group g has
// numbers that integers cannot widen, and is left out. The first head is called with kWatch, which
// finds these groups.
template <bool kWatch>
[[gnu::always_inline]] inline void score_head(const AttentionTile &tile, const float *q,
                                              uint32_t begin, uint32_t end, float *row_scores,
                                              uint64_t &odd) {
    AttentionState &state = state_of(row_scores);
    F32x4 max = {};
    if (begin != 0) {
        __builtin_memcpy(&max, state.max, sizeof(max));
    }
    const F32x8 q_low = load8(q);
    const F32x8 q_high = load8(q + kLanes);
    const F32x4 scale = {tile.scale, tile.scale, tile.scale, tile.scale};
    const uint8_t *stored = tile.keys + begin * kHeadBytes;
    float *to = row_scores + kScoreHeader + begin;
    uint64_t offsets[kGroup] = {0, kHeadBytes, 2 * kHeadBytes, 3 * kHeadBytes};
    uint64_t bit = 1;
    for (uint32_t t = begin; t < end; t += kGroup) {
        if (end - t < kGroup) {
            // Missing positions repeat the last one, which does not change the greatest score.
            for (uint32_t i = end - t; i < kGroup; ++i) {
                offsets[i] = offsets[i - 1];
            }
        }
        WatchedHalves keys;
        F32x4 u[2];
#pragma clang loop unroll(full)
        for (uint32_t pair = 0; pair < 2; ++pair) {
            F32x4 sum[2];
#pragma clang loop unroll(full)
            for (uint32_t i = 0; i < 2; ++i) {
                const uint8_t *const from = stored + offsets[2 * pair + i];
                F32x8 lanes = q_low * keys.load<kWatch>(from);
                lanes = lanes + q_high * keys.load<kWatch>(from + kEightBytes);
                sum[i] = __builtin_shufflevector(lanes, lanes, 0, 1, 2, 3) +
                         __builtin_shufflevector(lanes, lanes, 4, 5, 6, 7);
            }
            u[pair] = __builtin_shufflevector(sum[0], sum[1], 0, 1, 4, 5) +
                      __builtin_shufflevector(sum[0], sum[1], 2, 3, 6, 7);
            // Keeps the compiler from computing both pairs at once, which needs too many registers.
            asm volatile("" : "+x"(u[pair]));
        }
        if (kWatch && !halves_are_normal(keys.least)) {
            odd |= bit;
        }
        if ((odd & bit) == 0) {
            const F32x4 sums = __builtin_shufflevector(u[0], u[1], 0, 2, 4, 6) +
                               __builtin_shufflevector(u[0], u[1], 1, 3, 5, 7);
            // A sum is -0 if all products are -0. The contract's sums start from +0 and never are.
            const Bits4 bits = __builtin_bit_cast(Bits4, sums);
            const F32x4 scores = __builtin_bit_cast(F32x4, bits & ~(bits == INT32_MIN)) * scale;
            __builtin_memcpy(to, &scores, sizeof(scores));
            if (t == 0) {
                max = F32x4{scores[0], scores[0], scores[0], scores[0]};
            }
            max = scores > max ? scores : max;
        }
        stored += kGroup * kHeadBytes;
        to += kGroup;
        bit <<= 1;
    }
    __builtin_memcpy(state.max, &max, sizeof(max));
}

void head16_scores(const AttentionTile &tile, uint32_t begin, uint32_t end) {
    // The call that scores position 0 sets the initial greatest scores.
    if (!is_one_row(tile) ||
        (begin == 0 && !can_widen(tile.keys, kHeadBytes * (end < kGroup ? end : kGroup)))) {
        fast_scores(tile, begin, end);
        return;
    }
    for (uint32_t last; begin < end; begin = last) {
        last = end - begin < kScored ? end : begin + kScored;
        uint64_t odd = 0;
        score_head<true>(tile, tile.q, begin, last, tile.scores, odd);
        for (uint32_t head = 1; head < tile.heads; ++head) {
            score_head<false>(tile, tile.q + head * kHead, begin, last,
                              tile.scores + head * tile.scores_stride, odd);
        }
        for (uint32_t t = begin; odd != 0; t += kGroup, odd >>= 1) {
            if ((odd & 1) != 0) {
                fast_scores(tile, t, last - t < kGroup ? last : t + kGroup);
            }
        }
    }
}

// ------------------------------------------------------------------ mixing

constexpr uint32_t kMixed = 16;  // positions that are tested for normal numbers, then mixed

// One head and any values.
[[gnu::noinline]] void mix_any(const float *p, uint32_t count, const uint8_t *values, bool first,
                               float *out) {
    alignas(16) float widened[kMixed * kHead];
    for (uint32_t t = 0; t < count; ++t) {
        kv_load(KvType::kF16, values + t * kHeadBytes, kHead, widened + t * kHead);
    }
    mix_eights<Widened, 2>(p, count, reinterpret_cast<const uint8_t *>(widened),
                           kHead * sizeof(float), first, out);
}

// `kHeads` heads, whose results lie one behind the other. All values are normal numbers.
template <uint32_t kHeads>
[[gnu::always_inline]] inline void mix_normal(const float *p, uint32_t count, const uint8_t *values,
                                              bool first, float *out) {
    F32x8 sum[kHeads][2] = {};
    if (!first) {
#pragma clang loop unroll(full)
        for (uint32_t h = 0; h < kHeads; ++h) {
            sum[h][0] = load8(out + h * kHead);
            sum[h][1] = load8(out + h * kHead + kLanes);
        }
    }
#pragma clang loop unroll(disable)
    for (uint32_t t = 0; t < count; ++t, values += kHeadBytes) {
#pragma clang loop unroll(full)
        for (uint32_t k = 0; k < 2; ++k) {
            const F32x8 some = StoredHalves::load(values + k * kEightBytes);
#pragma clang loop unroll(full)
            for (uint32_t h = 0; h < kHeads; ++h) {
                sum[h][k] = sum[h][k] + some * splat8(p[h * kMixed + t]);
            }
        }
    }
#pragma clang loop unroll(full)
    for (uint32_t h = 0; h < kHeads; ++h) {
        store8(out + h * kHead, sum[h][0]);
        store8(out + h * kHead + kLanes, sum[h][1]);
    }
}

// The positions [t, t + count) for `kHeads` heads from `head` on.
template <uint32_t kHeads>
[[gnu::always_inline]] inline void mix_heads(const AttentionTile &tile, uint32_t head, uint32_t t,
                                             uint32_t count, bool normal) {
    alignas(16) float p[kHeads * kMixed];
#pragma clang loop unroll(full)
    for (uint32_t h = 0; h < kHeads; ++h) {
        float *const row_scores = tile.scores + (head + h) * tile.scores_stride;
        const float *const e = row_scores + kScoreHeader + t;
        const float inverse = state_of(row_scores).inverse;
        // A row of scores has room up to a multiple of four.
#pragma clang loop unroll(disable)
        for (uint32_t i = 0; i < count; i += 4) {
            F32x4 some;
            __builtin_memcpy(&some, e + i, sizeof(some));
            some = some * inverse;
            __builtin_memcpy(p + h * kMixed + i, &some, sizeof(some));
        }
    }
    const uint8_t *const values = tile.values + t * kHeadBytes;
    float *const out = tile.out + head * kHead;
    if (normal) [[likely]] {
        mix_normal<kHeads>(p, count, values, t == 0, out);
        return;
    }
    for (uint32_t h = 0; h < kHeads; ++h) {
        mix_any(p + h * kMixed, count, values, t == 0, out + h * kHead);
    }
}

void head16_mix(const AttentionTile &tile, uint32_t begin, uint32_t end) {
    if (!is_one_row(tile)) {
        fast_mix(tile, begin, end);
        return;
    }
    for (uint32_t t = begin; t < end; t += kMixed) {
        const uint32_t count = end - t < kMixed ? end - t : kMixed;
        const bool normal = can_widen(tile.values + t * kHeadBytes, count * kHeadBytes);
        uint32_t head = 0;
        for (; head + 2 <= tile.heads; head += 2) {
            mix_heads<2>(tile, head, t, count, normal);
        }
        if (head < tile.heads) {
            mix_heads<1>(tile, head, t, count, normal);
        }
    }
}

constexpr FloatVariant head16_variant(std::string_view name, InstructionSet needs) {
    return {.name = name,
            .needs = needs,
            .special = true,
            .scores = head16_scores,
            .exp = fast_exp<false>,
            .mix = head16_mix,
            .head_size = kHead,
            .f16_only = true};
}
