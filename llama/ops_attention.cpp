#include "llama/ops_attention.h"

#include <bit>

#include "llama/quant.h"
#include "llama/vec.h"

namespace bareflow::llama {
namespace {

// Positions that are widened together: their numbers stay in the first-level cache, and a query
// vector is read once for all of them.
constexpr uint32_t kTogether = 4;

// Eight stored f16: word j of four holds element j in its low half and element j + 4 in its high
// one, so that shifts alone bring four of them into their places.
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

void load_f16(const uint8_t *from, uint32_t padded, float *x) {
    for (uint32_t i = 0; i < padded; i += kLanes, from += kF16GroupBytes) {
        if (all_normal_f16(load_u64(from)) && all_normal_f16(load_u64(from + 8))) {
            I32x4 words;
            __builtin_memcpy(&words, from, sizeof(words));
            const I32x4 low = ((words << 16) & INT32_MIN) + ((words << 13) & 0x0fffe000);
            const I32x4 high = (words & INT32_MIN) + ((words >> 3) & 0x0fffe000);
            store4(x + i, std::bit_cast<F32x4>(low + (112 << 23)));
            store4(x + i + 4, std::bit_cast<F32x4>(high + (112 << 23)));
        } else {
            for (uint32_t j = 0; j < kLanes; ++j) {
                x[i + j] = f16_to_f32(load_u16(from + 4 * (j % 4) + 2 * (j / 4)));
            }
        }
    }
}

// Blocks of 32: the scale, then the integers; the last block is as long as what is left, in whole
// groups of eight.
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

// What a row of scores begins with.
struct ScoreState {
    SoftmaxState softmax;
    float inverse;  // 1 / sum, when all exponentials are there
};
static_assert(sizeof(ScoreState) <= kScoreHeader * sizeof(float));

inline ScoreState &state_of(float *row_scores) {
    return *reinterpret_cast<ScoreState *>(row_scores);
}

// Row r sees the positions below this.
inline uint32_t visible(const AttentionTile &tile, uint32_t row) {
    return tile.positions - (tile.rows - 1 - row);
}

// The dot8 of q with kCount padded keys.
template <uint32_t kCount>
[[gnu::always_inline]] inline void dots(const float *q, const float *keys, uint32_t padded,
                                        float scale, float *scores) {
    Lanes lanes[kCount];
#pragma clang loop unroll(full)
    for (uint32_t t = 0; t < kCount; ++t) {
        lanes[t] = Lanes::of_product(q, keys + t * padded);
    }
    for (uint32_t i = kLanes; i < padded; i += kLanes) {
#pragma clang loop unroll(full)
        for (uint32_t t = 0; t < kCount; ++t) {
            lanes[t].add_product(q + i, keys + t * padded + i);
        }
    }
#pragma clang loop unroll(full)
    for (uint32_t t = 0; t < kCount; ++t) {
        scores[t] = lanes[t].fold() * scale;
    }
}

// out[0 .. kCount) += p_t * values_t, t < count.
template <uint32_t kFours>
[[gnu::always_inline]] inline void mix_fours(const float *p, const float *values, uint32_t padded,
                                             uint32_t count, bool first, float *out) {
    F32x4 sum[kFours];
    for (uint32_t k = 0; k < kFours; ++k) {
        sum[k] = first ? F32x4{} : load4(out + 4 * k);
    }
    for (uint32_t t = 0; t < count; ++t) {
        for (uint32_t k = 0; k < kFours; ++k) {
            sum[k] = sum[k] + load4(values + t * padded + 4 * k) * p[t];
        }
    }
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
    const uint64_t stride = kv_head_bytes(tile.type, tile.head_size);
    for (uint32_t t = begin; t < end; t += kTogether) {
        const uint32_t count = end - t < kTogether ? end - t : kTogether;
        for (uint32_t i = 0; i < count; ++i) {
            kv_load(tile.type, tile.keys + (t + i) * stride, tile.head_size, keys + i * padded);
        }
        float *row_scores = tile.scores;
        for (uint32_t row = 0; row < tile.rows; ++row) {
            const uint32_t seen = visible(tile, row);
            const uint32_t now = seen <= t ? 0 : seen - t < count ? seen - t : count;
            const float *q = tile.q + row * tile.q_stride;
            for (uint32_t head = 0; head < tile.heads; ++head) {
                float *const scores = row_scores + kScoreHeader + t;
                if (now == kTogether) {
                    dots<kTogether>(q, keys, padded, tile.scale, scores);
                } else {
                    for (uint32_t i = 0; i < now; ++i) {
                        dots<1>(q, keys + i * padded, padded, tile.scale, scores + i);
                    }
                }
                softmax_max(row_scores + kScoreHeader, t, t + now, state_of(row_scores).softmax);
                q += padded;
                row_scores += tile.scores_stride;
            }
        }
    }
}

void attention_exp(const AttentionTile &tile, uint32_t begin, uint32_t end) {
    float *row_scores = tile.scores;
    for (uint32_t row = 0; row < tile.rows; ++row) {
        const uint32_t seen = visible(tile, row);
        const uint32_t last = end < seen ? end : seen;
        for (uint32_t head = 0; head < tile.heads; ++head) {
            if (begin < last) {
                ScoreState &state = state_of(row_scores);
                softmax_exp(row_scores + kScoreHeader, begin, last, state.softmax);
                state.inverse = last == seen ? softmax_inverse(state.softmax) : 0.0f;
            }
            row_scores += tile.scores_stride;
        }
    }
}

void attention_mix(const AttentionTile &tile, uint32_t begin, uint32_t end) {
    alignas(16) float values[kTogether * kMaxHead];
    const uint32_t padded = padded_head(tile.head_size);
    const uint64_t stride = kv_head_bytes(tile.type, tile.head_size);
    for (uint32_t t = begin; t < end; t += kTogether) {
        const uint32_t count = end - t < kTogether ? end - t : kTogether;
        for (uint32_t i = 0; i < count; ++i) {
            kv_load(tile.type, tile.values + (t + i) * stride, tile.head_size, values + i * padded);
        }
        float *row_scores = tile.scores;
        for (uint32_t row = 0; row < tile.rows; ++row) {
            const uint32_t seen = visible(tile, row);
            const uint32_t now = seen <= t ? 0 : seen - t < count ? seen - t : count;
            float *out = tile.out + row * tile.out_stride;
            for (uint32_t head = 0; head < tile.heads && now != 0; ++head) {
                const float *const e = row_scores + kScoreHeader + t;
                const float inverse = state_of(row_scores).inverse;
                float p[kTogether];
                for (uint32_t i = 0; i < now; ++i) {
                    p[i] = e[i] * inverse;
                }
                uint32_t j = 0;
                for (; j + 16 <= tile.head_size; j += 16) {
                    mix_fours<4>(p, values + j, padded, now, t == 0, out + j);
                }
                for (; j + 4 <= tile.head_size; j += 4) {
                    mix_fours<1>(p, values + j, padded, now, t == 0, out + j);
                }
                for (; j < tile.head_size; ++j) {
                    float sum = t == 0 ? 0.0f : out[j];
                    for (uint32_t i = 0; i < now; ++i) {
                        sum = sum + values[i * padded + j] * p[i];
                    }
                    out[j] = sum;
                }
                out += tile.head_size;
                row_scores += tile.scores_stride;
            }
            if (now == 0) {
                row_scores += tile.heads * tile.scores_stride;
            }
        }
    }
}

}  // namespace bareflow::llama
