// The stored formats of keys and values, and attention in tiles, against the contract's text
// written out for one query.
#include "compute/numbers/attention.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "compute/numbers/quant.h"
#include "tests/unit/compute/random_numbers.h"

namespace bareflow::compute {
namespace {

using testing::Random;

constexpr KvType kTypes[] = {KvType::kF16, KvType::kQ8_0};
constexpr uint32_t kHeadSizes[] = {2, 8, 10, 18, 24, 32, 48, 64, 80, 128, 250, 256, 512};

// Every f16, from both sides of each border between two of them.
TEST(KvFormatTest, F16RoundsHalfToEvenAndClamps) {
    for (uint32_t half = 0; half < 0x7bff; ++half) {
        const float low = f16_to_f32(static_cast<uint16_t>(half));
        const float high = f16_to_f32(static_cast<uint16_t>(half + 1));
        ASSERT_EQ(f32_to_f16(low), half);
        ASSERT_EQ(f32_to_f16(-low), half | 0x8000);
        const float middle = (low + high) / 2;  // exact
        ASSERT_EQ(f32_to_f16(middle), half % 2 == 0 ? half : half + 1);
        ASSERT_EQ(f32_to_f16(std::nextafter(middle, 0.0f)), half);
        ASSERT_EQ(f32_to_f16(std::nextafter(middle, 1e9f)), half + 1);
    }
    const float inf = std::numeric_limits<float>::infinity();
    for (const float large : {65504.0f, 65519.0f, 65520.0f, 1e10f, 3e38f, inf}) {
        EXPECT_EQ(f32_to_f16(large), 0x7bff);
        EXPECT_EQ(f32_to_f16(-large), 0xfbff);
    }
    EXPECT_EQ(f32_to_f16(std::bit_cast<float>(0x7fc00000u)), 0);
    EXPECT_EQ(f32_to_f16(std::bit_cast<float>(0xff800001u)), 0);
    EXPECT_EQ(f32_to_f16(1e-40f), 0);
    EXPECT_EQ(f32_to_f16(-1e-40f), 0x8000);
}

// What the contract says of one stored head.
std::vector<float> slow_kept(KvType type, std::vector<float> x) {
    for (float &v : x) {
        v = std::isnan(v) ? 0.0f : std::min(std::max(v, -65504.0f), 65504.0f);
    }
    if (type == KvType::kF16) {
        for (float &v : x) {
            v = f16_to_f32(f32_to_f16(v));
        }
        return x;
    }
    for (size_t begin = 0; begin < x.size(); begin += 32) {
        const size_t end = std::min(begin + 32, x.size());
        float amax = 0;
        for (size_t i = begin; i < end; ++i) {
            amax = std::max(amax, std::fabs(x[i]));
        }
        const float d = f16_to_f32(f32_to_f16(amax / 127.0f));
        const float inverse = d == 0.0f ? 0.0f : 1.0f / d;
        for (size_t i = begin; i < end; ++i) {
            const float q = std::nearbyintf(x[i] * inverse);  // half to even
            x[i] = std::min(std::max(q, -127.0f), 127.0f) * d + 0.0f;
        }
    }
    return x;
}

TEST(KvFormatTest, WhatIsStoredIsWhatTheContractSays) {
    Random random(1);
    for (const KvType type : kTypes) {
        for (const uint32_t head_size : kHeadSizes) {
            for (const float scale : {1.0f, 1e-9f, 1e-6f, 3e-3f, 1e6f, 0.0f}) {
                std::vector<float> x = random.floats(head_size, scale);
                x[random.below(head_size)] = 0.0f;
                if (scale == 1e6f) {
                    x[random.below(head_size)] = std::bit_cast<float>(0x7fc00000u);
                    x[random.below(head_size)] = -std::numeric_limits<float>::infinity();
                }
                const uint32_t bytes = kv_head_bytes(type, head_size);
                std::vector<uint8_t> stored(bytes + 8, 0xA5);
                kv_store(type, x.data(), head_size, stored.data());
                EXPECT_EQ(stored[bytes], 0xA5);  // nothing beyond
                std::vector<float> loaded(padded_head(head_size) + 1, 99.0f);
                kv_load(type, stored.data(), head_size, loaded.data());
                EXPECT_EQ(loaded.back(), 99.0f);
                const std::vector<float> expected = slow_kept(type, x);
                for (uint32_t i = 0; i < padded_head(head_size); ++i) {
                    ASSERT_EQ(loaded[i], i < head_size ? expected[i] : 0.0f)
                        << head_size << " " << scale << " " << i;
                }
            }
        }
    }
}

// Attention of one query vector, written as the contract's text has it.
std::vector<float> slow_attention(const std::vector<float> &q,
                                  const std::vector<std::vector<float>> &keys,
                                  const std::vector<std::vector<float>> &values, uint32_t positions,
                                  float scale) {
    const auto head_size = static_cast<uint32_t>(q.size());
    std::vector<float> p(positions);
    for (uint32_t t = 0; t < positions; ++t) {
        p[t] = dot8(q.data(), keys[t].data(), head_size) * scale;
    }
    softmax(p.data(), positions);
    std::vector<float> out(head_size, 0.0f);
    for (uint32_t t = 0; t < positions; ++t) {
        for (uint32_t j = 0; j < head_size; ++j) {
            out[j] = out[j] + p[t] * values[t][j];
        }
    }
    return out;
}

TEST(AttentionTest, TilesOfAnyShapeAndAnySplitEqualTheSlowTwin) {
    Random random(2);
    for (const KvType type : kTypes) {
        for (const uint32_t head_size : kHeadSizes) {
            const uint32_t rows = 1 + random.below(8);
            const uint32_t heads = 1 + random.below(4);
            const uint32_t positions = rows + random.below(70);
            const uint32_t padded = padded_head(head_size);
            const uint32_t bytes = kv_head_bytes(type, head_size);
            std::vector<std::vector<float>> kept[2];
            std::vector<uint8_t> stored[2];
            for (int kind = 0; kind < 2; ++kind) {
                stored[kind].resize(positions * bytes);
                for (uint32_t t = 0; t < positions; ++t) {
                    const std::vector<float> x = random.floats(head_size, 2.0f);
                    kv_store(type, x.data(), head_size, stored[kind].data() + t * bytes);
                    kept[kind].push_back(slow_kept(type, x));
                }
            }
            std::vector<float> q(rows * heads * padded);
            std::vector<std::vector<float>> queries;
            for (uint32_t i = 0; i < rows * heads; ++i) {
                queries.push_back(random.floats(head_size, 3.0f));
                std::copy(queries[i].begin(), queries[i].end(), q.begin() + i * padded);
            }
            const uint64_t stride = kScoreHeader + (positions + 3) / 4 * 4;
            std::vector<float> scores(rows * heads * stride, 99.0f);
            std::vector<float> out(rows * heads * head_size + 1, 77.0f);
            const AttentionTile tile{.type = type,
                                     .head_size = head_size,
                                     .rows = rows,
                                     .heads = heads,
                                     .positions = positions,
                                     .scale = 0.125f,
                                     .q = q.data(),
                                     .q_stride = heads * padded,
                                     .keys = stored[0].data(),
                                     .values = stored[1].data(),
                                     .scores = scores.data(),
                                     .scores_stride = stride,
                                     .out = out.data(),
                                     .out_stride = heads * head_size};
            for (const auto pass : {attention_scores, attention_exp, attention_mix}) {
                for (uint32_t t = 0; t < positions;) {
                    const uint32_t end = std::min(t + 8 * (1 + random.below(5)), positions);
                    pass(tile, t, end);
                    t = end;
                }
            }
            for (uint32_t row = 0; row < rows; ++row) {
                for (uint32_t head = 0; head < heads; ++head) {
                    const uint32_t vector = row * heads + head;
                    const std::vector<float> expected = slow_attention(
                        queries[vector], kept[0], kept[1], positions - (rows - 1 - row), 0.125f);
                    const auto from = out.begin() + vector * head_size;
                    ASSERT_EQ(std::vector<float>(from, from + head_size), expected)
                        << head_size << " row " << row << " head " << head;
                }
            }
            EXPECT_EQ(out.back(), 77.0f);
        }
    }
}

}  // namespace
}  // namespace bareflow::compute
