// Attention for one head size that the compiler knows. It includes float_ops_inl.h, whose head says
// what must be defined before. The target must have F16C.
//
// The processor widens f16, denormal or not, in stored order: elements 0, 4, 1, 5, 2, 6, 3, 7 of
// eight. So query vectors and results are brought into that order, and sums add up neighbours. The
// compiler knows how many registers the numbers of a position need: it unrolls everything, and a
// result stays in registers for all positions of a call.

#pragma once

#include "compute/kernels/per_target/float_ops_inl.h"

struct UnorderedHalves {
    static constexpr uint32_t kBytes = 2;
    [[gnu::always_inline]] static inline F32x8 load(const uint8_t *from) {
        return StoredHalves::load_unordered(from);
    }
};

// Sums of neighbours: of a, then b, in each half.
[[gnu::always_inline]] inline F32x8 add_neighbours(F32x8 a, F32x8 b) {
    return __builtin_shufflevector(a, b, 0, 2, 8, 10, 4, 6, 12, 14) +
           __builtin_shufflevector(a, b, 1, 3, 9, 11, 5, 7, 13, 15);
}
[[gnu::always_inline]] inline F32x8 add_halves(F32x8 a, F32x8 b) {
    return __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11) +
           __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
}
// The eight sums of eight positions' lanes in stored order.
[[gnu::always_inline]] inline F32x8 fold_stored(const F32x8 *lanes) {
    F32x8 t[4];  // the contract's t_j: 0, 1 in the low half, 2, 3 in the high one
#pragma clang loop unroll(full)
    for (uint32_t i = 0; i < 4; ++i) {
        t[i] = add_neighbours(lanes[2 * i], lanes[2 * i + 1]);
    }
    return add_neighbours(add_halves(t[0], t[2]), add_halves(t[1], t[3]));
}

// `q` in stored order; position i is `from[i]`.
template <typename From, uint32_t kHead, bool kRelaxed>
[[gnu::always_inline]] inline F32x8 sized_dots(const float *q, const uint8_t *const *from) {
    F32x8 lanes[kTogether] = {};
#pragma clang loop unroll(full)
    for (uint32_t i = 0; i < kHead; i += kLanes) {
        const F32x8 some = load8(q + i);
#pragma clang loop unroll(full)
        for (uint32_t t = 0; t < kTogether; ++t) {
            lanes[t] = mul_add<kRelaxed>(some, From::load(from[t] + i * From::kBytes), lanes[t]);
        }
    }
    return fold_stored(lanes);
}

// The addresses of `there` positions; up to eight, the last one is repeated.
[[gnu::always_inline]] inline void find_positions(const uint8_t *first, uint64_t stride,
                                                  uint32_t there, const uint8_t **from) {
#pragma clang loop unroll(full)
    for (uint32_t t = 0; t < kTogether; ++t) {
        from[t] = first + (t < there ? t : there - 1) * stride;
    }
}

// Widens the numbers of `there` positions, in stored order.
template <uint32_t kHead>
[[gnu::always_inline]] inline void widen_stored(const uint8_t *stored, uint32_t there, float *x) {
    for (uint32_t i = 0; i < there * kHead; i += kLanes) {
        store8(x + i, UnorderedHalves::load(stored + i * UnorderedHalves::kBytes));
    }
}

// At most this many query vectors read the stored f16; for more, positions are widened once.
constexpr uint32_t kDirectVectors = 2;

template <uint32_t kHead>
[[gnu::always_inline]] inline void reorder(const float *x, float *y) {
#pragma clang loop unroll(full)
    for (uint32_t i = 0; i < kHead; i += kLanes) {
        store8(y + i, to_stored_order(load8(x + i)));
    }
}

// put_scores, without a call if the row sees all eight.
[[gnu::always_inline]] inline void put_sized(F32x8 scores, uint32_t t, uint32_t now,
                                             float *row_scores) {
    if (now != kTogether) {
        put_scores(scores, t, now, row_scores);
        return;
    }
    AttentionState &state = state_of(row_scores);
    store8(row_scores + kScoreHeader + t, scores);
    const F32x4 low = __builtin_shufflevector(scores, scores, 0, 1, 2, 3);
    const F32x4 high = __builtin_shufflevector(scores, scores, 4, 5, 6, 7);
    F32x4 max = __builtin_shufflevector(scores, scores, 0, 0, 0, 0);
    if (t != 0) {
        __builtin_memcpy(&max, state.max, sizeof(max));
    }
    max = low > max ? low : max;
    max = high > max ? high : max;
    __builtin_memcpy(state.max, &max, sizeof(max));
}

// Query vectors that are brought into stored order at a time, once for all positions of a call.
constexpr uint32_t kOrderedVectors = 16;

template <typename From, uint32_t kHead, bool kRelaxed>
[[gnu::always_inline]] inline void sized_block(const AttentionTile &tile, const float *q,
                                               uint32_t first, uint32_t count, uint32_t t,
                                               uint32_t there, const uint8_t *positions) {
    const uint8_t *from[kTogether];
    find_positions(positions, uint64_t{kHead} * From::kBytes, there, from);
    uint32_t row = first / tile.heads;
    uint32_t head = first % tile.heads;
    float *row_scores = tile.scores + first * tile.scores_stride;
    for (uint32_t i = 0; i < count; ++i, q += kHead, row_scores += tile.scores_stride) {
        const uint32_t seen = visible(tile, row);
        const uint32_t now = seen <= t ? 0 : seen - t < there ? seen - t : there;
        if (now != 0) {
            put_sized(sized_dots<From, kHead, kRelaxed>(q, from) * tile.scale, t, now, row_scores);
        }
        head = head + 1 == tile.heads ? 0 : head + 1;
        row += head == 0;
    }
}

template <uint32_t kHead, bool kRelaxed>
void sized_scores(const AttentionTile &tile, uint32_t begin, uint32_t end) {
    if (tile.type != KvType::kF16) {
        fast_scores(tile, begin, end);
        return;
    }
    constexpr uint64_t kStride = uint64_t{kHead} * UnorderedHalves::kBytes;
    alignas(32) float q[kOrderedVectors * kHead];
    alignas(32) float widened[kTogether * kHead];
    const uint32_t vectors = tile.rows * tile.heads;
    for (uint32_t first = 0; first < vectors; first += kOrderedVectors) {
        const uint32_t count =
            vectors - first < kOrderedVectors ? vectors - first : kOrderedVectors;
        for (uint32_t i = first; i < first + count; ++i) {
            reorder<kHead>(tile.q + i / tile.heads * tile.q_stride + i % tile.heads * kHead,
                           q + (i - first) * kHead);
        }
        for (uint32_t t = begin; t < end; t += kTogether) {
            const uint32_t there = end - t < kTogether ? end - t : kTogether;
            const uint8_t *const stored = tile.keys + t * kStride;
            if (vectors <= kDirectVectors) {
                sized_block<UnorderedHalves, kHead, kRelaxed>(tile, q, first, count, t, there,
                                                              stored);
            } else {
                widen_stored<kHead>(stored, there, widened);
                sized_block<Widened, kHead, kRelaxed>(tile, q, first, count, t, there,
                                                      reinterpret_cast<const uint8_t *>(widened));
            }
        }
    }
}

// out[0 .. kEights * 8) += p_t * values_t for `count` positions and kHeads heads. Head h has the
// probabilities p + h * p_stride and the results out + h * out_stride.
template <typename From, uint32_t kEights, uint32_t kHeads, bool kRelaxed>
[[gnu::always_inline]] inline void sized_mix_part(const float *p, uint64_t p_stride, uint32_t count,
                                                  const uint8_t *values, uint64_t stride,
                                                  bool first, float *out, uint64_t out_stride) {
    F32x8 sum[kHeads][kEights];
#pragma clang loop unroll(full)
    for (uint32_t h = 0; h < kHeads; ++h) {
#pragma clang loop unroll(full)
        for (uint32_t k = 0; k < kEights; ++k) {
            const float *const from = out + h * out_stride + kLanes * k;
            sum[h][k] = first ? F32x8{} : to_stored_order(load8(from));
        }
    }
#pragma clang loop unroll(disable)
    for (uint32_t t = 0; t < count; ++t, values += stride) {
#pragma clang loop unroll(full)
        for (uint32_t k = 0; k < kEights; ++k) {
            const F32x8 some = From::load(values + kLanes * k * From::kBytes);
#pragma clang loop unroll(full)
            for (uint32_t h = 0; h < kHeads; ++h) {
                sum[h][k] = mul_add<kRelaxed>(some, splat8(p[h * p_stride + t]), sum[h][k]);
            }
        }
    }
#pragma clang loop unroll(full)
    for (uint32_t h = 0; h < kHeads; ++h) {
#pragma clang loop unroll(full)
        for (uint32_t k = 0; k < kEights; ++k) {
            store8(out + h * out_stride + kLanes * k, to_plain_order(sum[h][k]));
        }
    }
}

constexpr uint32_t kMostEights = 8;     // registers of results
constexpr uint32_t kMixPositions = 64;  // whose probabilities are made together

template <typename From, uint32_t kHead, uint32_t kHeads, bool kRelaxed>
[[gnu::noinline]] void sized_mix_heads(const float *p, uint32_t count, const uint8_t *values,
                                       bool first, float *out) {
    constexpr uint64_t kStride = uint64_t{kHead} * From::kBytes;
    constexpr uint32_t kPart =
        kHead / kLanes < kMostEights / kHeads ? kHead / kLanes : kMostEights / kHeads;
    constexpr uint32_t kRest = kHead / kLanes % kPart;
    uint32_t j = 0;
    for (; j + kPart * kLanes <= kHead; j += kPart * kLanes) {
        sized_mix_part<From, kPart, kHeads, kRelaxed>(
            p, kMixPositions, count, values + j * From::kBytes, kStride, first, out + j, kHead);
    }
    if constexpr (kRest != 0) {
        sized_mix_part<From, kRest, kHeads, kRelaxed>(
            p, kMixPositions, count, values + j * From::kBytes, kStride, first, out + j, kHead);
    }
}

// Small heads have too few results to hide the latency of additions, so two are computed together.
template <uint32_t kHead>
constexpr uint32_t kHeadsTogether = kHead <= 32 ? 2 : 1;

template <typename From, uint32_t kHead, bool kRelaxed>
void sized_mix_row(const AttentionTile &tile, float *row_scores, uint32_t t, uint32_t now,
                   const uint8_t *values, float *out) {
    constexpr uint32_t kMost = kHeadsTogether<kHead>;
    alignas(32) float p[kMost * kMixPositions];
    for (uint32_t head = 0; head < tile.heads;) {
        const uint32_t heads = tile.heads - head < kMost ? 1 : kMost;
        for (uint32_t h = 0; h < heads; ++h, row_scores += tile.scores_stride) {
            const float *const e = row_scores + kScoreHeader + t;
            const float inverse = state_of(row_scores).inverse;
            float *const to = p + h * kMixPositions;
            uint32_t i = 0;
            for (; i + kLanes <= now; i += kLanes) {
                store8(to + i, load8(e + i) * inverse);
            }
            for (; i < now; ++i) {
                to[i] = e[i] * inverse;
            }
        }
        if (heads == kMost) {
            sized_mix_heads<From, kHead, kMost, kRelaxed>(p, now, values, t == 0, out);
        } else {
            sized_mix_heads<From, kHead, 1, kRelaxed>(p, now, values, t == 0, out);
        }
        out += heads * kHead;
        head += heads;
    }
}

template <uint32_t kHead, bool kRelaxed>
void sized_mix(const AttentionTile &tile, uint32_t begin, uint32_t end) {
    if (tile.type != KvType::kF16) {
        fast_mix(tile, begin, end);
        return;
    }
    constexpr uint64_t kStride = uint64_t{kHead} * UnorderedHalves::kBytes;
    // The widened positions fit into the L1 cache.
    constexpr uint32_t kPositions = kHead <= 64 ? kMixPositions : kMixPositions / 2;
    alignas(32) float widened[kPositions * kHead];
    const bool direct = tile.rows * tile.heads <= kDirectVectors;
    for (uint32_t t = begin; t < end; t += kPositions) {
        const uint32_t there = end - t < kPositions ? end - t : kPositions;
        const uint8_t *const stored = tile.values + t * kStride;
        if (!direct) {
            widen_stored<kHead>(stored, there, widened);
        }
        float *row_scores = tile.scores;
        for (uint32_t row = 0; row < tile.rows; ++row) {
            const uint32_t seen = visible(tile, row);
            const uint32_t now = seen <= t ? 0 : seen - t < there ? seen - t : there;
            float *const out = tile.out + row * tile.out_stride;
            if (now != 0 && direct) {
                sized_mix_row<UnorderedHalves, kHead, kRelaxed>(tile, row_scores, t, now, stored,
                                                                out);
            } else if (now != 0) {
                sized_mix_row<Widened, kHead, kRelaxed>(
                    tile, row_scores, t, now, reinterpret_cast<const uint8_t *>(widened), out);
            }
            row_scores += tile.heads * tile.scores_stride;
        }
    }
}

template <uint32_t kHead, bool kRelaxed = false>
constexpr FloatVariant sized_variant(std::string_view name, InstructionSet needs) {
    return {.name = name,
            .needs = needs,
            .special = true,
            .relaxed = kRelaxed,
            .scores = sized_scores<kHead, kRelaxed>,
            .exp = fast_exp<kRelaxed>,
            .mix = sized_mix<kHead, kRelaxed>,
            .head_size = kHead,
            .f16_only = true};
}
