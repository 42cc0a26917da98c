// The reference of attention and of the KV cache's number formats: every variant of
// compute/kernels must have these bits. Four positions are widened at a time, and each query vector
// meets all four.
#include "compute/numbers/attention.h"

#include <bit>

#include "compute/numbers/quant.h"
#include "compute/numbers/vec.h"

namespace bareflow::compute {
namespace {

// Positions that are widened together: their numbers stay in the first-level cache, and a query
// vector is read once for all of them.
constexpr uint32_t kTogether = 4;

// Eight stored f16 are four words. Word j holds element j in its low half and element j + 4 in its
// high half, so that shifts alone widen four elements at once.
constexpr uint32_t kF16GroupBytes = 16;

void store_f16(const float *x, uint32_t head_size, uint8_t *to) {
    for (uint32_t i = 0; i < head_size; i += kLanes, to += kF16GroupBytes) {
        uint16_t halves[kLanes] = {};
        const uint32_t left = head_size - i < kLanes ? head_size - i : kLanes;
        for (uint32_t j = 0; j < left; ++j) {
            halves[2 * (j % 4) + j / 4] = f32_to_f16(x[i + j]);
        }
        __builtin_memcpy(to, halves, sizeof(halves));
    }
}

// Whether none of the eight is zero or denormal (infinities and NaN are never stored). A normal
// number is widened by moving exponent and fraction and adding to the exponent.
inline bool all_normal(const uint8_t *from) {
    constexpr uint64_t kMagnitudes = 0x7fff7fff7fff7fff;
    constexpr uint64_t kToTop = 0x7c007c007c007c00;  // 2^15 less the smallest normal's bits
    return ((((load_u64(from) & kMagnitudes) + kToTop) &
             ((load_u64(from + 8) & kMagnitudes) + kToTop)) |
            kMagnitudes) == ~uint64_t{0};
}

inline F32x4 widen_high_halves(I32x4 words) {
    constexpr auto kSignAndMagnitude = static_cast<int32_t>(0x8fffe000);
    return std::bit_cast<F32x4>(((words >> 3) & kSignAndMagnitude) + (112 << 23));
}

void load_f16(const uint8_t *from, uint32_t padded, float *x) {
    for (uint32_t i = 0; i < padded; i += kLanes, from += kF16GroupBytes) {
        if (all_normal(from)) {
            I32x4 words;
            __builtin_memcpy(&words, from, sizeof(words));
            store4(x + i, widen_high_halves(words << 16));
            store4(x + i + 4, widen_high_halves(words));
        } else {
            for (uint32_t j = 0; j < kLanes; ++j) {
                x[i + j] = f16_to_f32(load_u16(from + 4 * (j % 4) + 2 * (j / 4)));
            }
        }
    }
}

// Blocks of 32: the scale, then the integers. The last block may be shorter: its length is a
// multiple of eight.
constexpr uint32_t kScaleBytes = 2;

void store_q8_0(const float *x, uint32_t head_size, uint8_t *to) {
    const uint32_t padded = padded_head(head_size);
    for (uint32_t i = 0; i < padded; i += kBlockElements) {
        const uint32_t count = padded - i < kBlockElements ? padded - i : kBlockElements;
        const uint32_t real = head_size - i < count ? head_size - i : count;
        float v[kBlockElements] = {};
        float amax = 0.0f;
        for (uint32_t j = 0; j < real; ++j) {
            // A NaN is 0; nothing is beyond +-65504.
            const float high = x[i + j] < 65504.0f ? x[i + j] : 65504.0f;
            const float low = high > -65504.0f ? high : -65504.0f;
            v[j] = x[i + j] == x[i + j] ? low : 0.0f;
            amax = __builtin_fabsf(v[j]) > amax ? __builtin_fabsf(v[j]) : amax;
        }
        const uint16_t half = f32_to_f16(amax / 127.0f);
        const float d = f16_to_f32(half);
        const float inverse = d == 0.0f ? 0.0f : 1.0f / d;
        __builtin_memcpy(to, &half, sizeof(half));
        to += kScaleBytes;
        for (uint32_t j = 0; j < count; ++j) {
            const float rounded = (v[j] * inverse + 12582912.0f) - 12582912.0f;
            const float low = rounded > -127.0f ? rounded : -127.0f;
            *to++ = static_cast<uint8_t>(static_cast<int8_t>(low < 127.0f ? low : 127.0f));
        }
    }
}

void load_q8_0(const uint8_t *from, uint32_t padded, float *x) {
    using I8x4 = int8_t __attribute__((vector_size(4)));
    for (uint32_t i = 0; i < padded; i += kBlockElements) {
        const uint32_t count = padded - i < kBlockElements ? padded - i : kBlockElements;
        const float d = f16_to_f32(load_u16(from));
        from += kScaleBytes;
        for (uint32_t j = 0; j < count; j += 4, from += 4) {
            I8x4 q;
            __builtin_memcpy(&q, from, sizeof(q));
            store4(x + i + j, __builtin_convertvector(q, F32x4) * d);
        }
    }
}

// How many of the kTogether positions from t on a row sees.
inline uint32_t seen_from(const AttentionTile &tile, uint32_t row, uint32_t t) {
    const uint32_t seen = visible(tile, row);
    return seen <= t ? 0 : seen - t < kTogether ? seen - t : kTogether;
}

// The numbers of kTogether positions from t on; zeros for those from `end` on.
inline void load_together(const AttentionTile &tile, const uint8_t *stored, uint32_t t,
                          uint32_t end, float *x) {
    const uint32_t padded = padded_head(tile.head_size);
    const uint64_t stride = kv_head_bytes(tile.type, tile.head_size);
    for (uint32_t i = 0; i < kTogether; ++i) {
        if (t + i < end) {
            kv_load(tile.type, stored + (t + i) * stride, tile.head_size, x + i * padded);
        } else {
            __builtin_memset(x + i * padded, 0, padded * sizeof(float));
        }
    }
}

// The dot8 of q with four padded keys, folded side by side.
[[gnu::always_inline]] inline F32x4 four_dots(const float *q, const float *keys, uint32_t padded) {
    Lanes lanes[kTogether];
#pragma clang loop unroll(full)
    for (uint32_t t = 0; t < kTogether; ++t) {
        lanes[t] = Lanes::of_product(q, keys + t * padded);
    }
    for (uint32_t i = kLanes; i < padded; i += kLanes) {
#pragma clang loop unroll(full)
        for (uint32_t t = 0; t < kTogether; ++t) {
            lanes[t].add_product(q + i, keys + t * padded + i);
        }
    }
    F32x4 sum[kTogether];  // the contract's t_j
#pragma clang loop unroll(full)
    for (uint32_t t = 0; t < kTogether; ++t) {
        sum[t] = lanes[t].low + lanes[t].high;
    }
    // u_0 and u_1 of the first two, of the other two; then all u_0 + u_1.
    const F32x4 u01 = __builtin_shufflevector(sum[0], sum[1], 0, 1, 4, 5) +
                      __builtin_shufflevector(sum[0], sum[1], 2, 3, 6, 7);
    const F32x4 u23 = __builtin_shufflevector(sum[2], sum[3], 0, 1, 4, 5) +
                      __builtin_shufflevector(sum[2], sum[3], 2, 3, 6, 7);
    return __builtin_shufflevector(u01, u23, 0, 2, 4, 6) +
           __builtin_shufflevector(u01, u23, 1, 3, 5, 7);
}

inline F32x4 greater(F32x4 value, F32x4 than) {
    return value > than ? value : than;
}

// out[0 .. 4 * kFours) += p_t * values_t for kTogether positions. A p of +0 changes nothing: values
// are finite, and no sum is ever -0.
template <uint32_t kFours>
[[gnu::always_inline]] inline void mix_fours(const F32x4 *p, const float *values, uint32_t padded,
                                             bool first, float *out) {
    F32x4 sum[kFours];
#pragma clang loop unroll(full)
    for (uint32_t k = 0; k < kFours; ++k) {
        sum[k] = first ? F32x4{} : load4(out + 4 * k);
    }
#pragma clang loop unroll(full)
    for (uint32_t t = 0; t < kTogether; ++t) {
#pragma clang loop unroll(full)
        for (uint32_t k = 0; k < kFours; ++k) {
            sum[k] = sum[k] + load4(values + t * padded + 4 * k) * p[t];
        }
    }
#pragma clang loop unroll(full)
    for (uint32_t k = 0; k < kFours; ++k) {
        store4(out + 4 * k, sum[k]);
    }
}

}  // namespace

uint32_t kv_head_bytes(KvType type, uint32_t head_size) {
    const uint32_t padded = padded_head(head_size);
    return type == KvType::kF16
               ? 2 * padded
               : padded + kScaleBytes * ((padded + kBlockElements - 1) / kBlockElements);
}

void kv_store(KvType type, const float *x, uint32_t head_size, uint8_t *to) {
    return type == KvType::kF16 ? store_f16(x, head_size, to) : store_q8_0(x, head_size, to);
}

void kv_load(KvType type, const uint8_t *from, uint32_t head_size, float *x) {
    const uint32_t padded = padded_head(head_size);
    return type == KvType::kF16 ? load_f16(from, padded, x) : load_q8_0(from, padded, x);
}

void attention_scores(const AttentionTile &tile, uint32_t begin, uint32_t end) {
    alignas(16) float keys[kTogether * kMaxHead];
    const uint32_t padded = padded_head(tile.head_size);
    for (uint32_t t = begin; t < end; t += kTogether) {
        load_together(tile, tile.keys, t, end, keys);
        float *row_scores = tile.scores;
        for (uint32_t row = 0; row < tile.rows; ++row) {
            const uint32_t now = seen_from(tile, row, t);
            const float *q = tile.q + row * tile.q_stride;
            for (uint32_t head = 0; head < tile.heads && now != 0; ++head) {
                float *const scores = row_scores + kScoreHeader + t;
                float *const max = state_of(row_scores).max;
                const F32x4 four = four_dots(q, keys, padded) * tile.scale;
                store4(scores, four);
                if (t == 0) {
                    store4(max, splat4(four[0]));
                }
                if (now == kTogether) {
                    store4(max, greater(four, load4(max)));
                } else {
                    for (uint32_t i = 0; i < now; ++i) {
                        max[i] = scores[i] > max[i] ? scores[i] : max[i];
                    }
                }
                q += padded;
                row_scores += tile.scores_stride;
            }
            row_scores += now == 0 ? tile.heads * tile.scores_stride : 0;
        }
    }
}

void attention_exp_with(SoftmaxExp exp, const AttentionTile &tile, uint32_t begin, uint32_t end) {
    float *row_scores = tile.scores;
    for (uint32_t row = 0; row < tile.rows; ++row) {
        const uint32_t seen = visible(tile, row);
        const uint32_t last = end < seen ? end : seen;
        for (uint32_t head = 0; head < tile.heads; ++head) {
            AttentionState &state = state_of(row_scores);
            if (begin == 0) {
                softmax_max(state.max, 0, 4, state.softmax);
            }
            if (begin < last) {
                exp(row_scores + kScoreHeader, begin, last, state.softmax);
                state.inverse = last == seen ? softmax_inverse(state.softmax) : 0.0f;
            }
            row_scores += tile.scores_stride;
        }
    }
}

void attention_exp(const AttentionTile &tile, uint32_t begin, uint32_t end) {
    attention_exp_with(softmax_exp, tile, begin, end);
}

void attention_mix(const AttentionTile &tile, uint32_t begin, uint32_t end) {
    alignas(16) float values[kTogether * kMaxHead];
    const uint32_t padded = padded_head(tile.head_size);
    for (uint32_t t = begin; t < end; t += kTogether) {
        load_together(tile, tile.values, t, end, values);
        float *row_scores = tile.scores;
        for (uint32_t row = 0; row < tile.rows; ++row) {
            const uint32_t now = seen_from(tile, row, t);
            float *out = tile.out + row * tile.out_stride;
            for (uint32_t head = 0; head < tile.heads && now != 0; ++head) {
                F32x4 four = load4(row_scores + kScoreHeader + t) * state_of(row_scores).inverse;
                for (uint32_t i = now; i < kTogether; ++i) {
                    four[i] = 0.0f;
                }
                const F32x4 p[kTogether] = {splat4(four[0]), splat4(four[1]), splat4(four[2]),
                                            splat4(four[3])};
                uint32_t j = 0;
                for (; j + 16 <= tile.head_size; j += 16) {
                    mix_fours<4>(p, values + j, padded, t == 0, out + j);
                }
                for (; j + 4 <= tile.head_size; j += 4) {
                    mix_fours<1>(p, values + j, padded, t == 0, out + j);
                }
                for (; j < tile.head_size; ++j) {
                    float sum = t == 0 ? 0.0f : out[j];
                    for (uint32_t i = 0; i < kTogether; ++i) {
                        sum = sum + values[i * padded + j] * four[i];
                    }
                    out[j] = sum;
                }
                out += tile.head_size;
                row_scores += tile.scores_stride;
            }
            row_scores += now == 0 ? tile.heads * tile.scores_stride : 0;
        }
    }
}

}  // namespace bareflow::compute
