#include "llama/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "tests/unit/llama/random_numbers.h"

namespace bareflow::llama {
namespace {

using testing::Random;

constexpr uint64_t kNever = UINT64_MAX;

Token choose(Sampler &sampler, const std::vector<float> &logits, uint64_t deadline = kNever) {
    sampler.begin(logits);
    while (!sampler.advance(deadline)) {
    }
    return sampler.token();
}

// The contract's text, with the host's sort.
Token expected(const std::vector<float> &logits, const SamplingParams &params,
               RandomGenerator &generator) {
    std::vector<uint32_t> order(logits.size());
    std::iota(order.begin(), order.end(), 0u);
    std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
        return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
    });
    if (params.temperature < std::ldexp(1.0f, -20)) {
        return static_cast<Token>(order[0]);
    }
    if (params.top_k != 0 && params.top_k < order.size()) {
        order.resize(params.top_k);
    }
    std::vector<float> p(order.size());
    for (size_t i = 0; i < p.size(); ++i) {
        p[i] = logits[order[i]] / params.temperature;
    }
    softmax(p.data(), static_cast<uint32_t>(p.size()));
    float sum = 0.0f;
    size_t kept = 0;
    while (kept < p.size()) {
        sum = sum + p[kept++];
        if (params.top_p < 1.0f && sum >= params.top_p) {
            break;
        }
    }
    const float threshold = generator.uniform() * sum;
    float running = 0.0f;
    for (size_t i = 0; i < kept; ++i) {
        running = running + p[i];
        if (running > threshold) {
            return static_cast<Token>(order[i]);
        }
    }
    return static_cast<Token>(order[kept - 1]);
}

TEST(SamplerTest, GeneratorIsXoshiro256StarStarSeededBySplitmix64) {
    // The first values of the published pair of generators for seed 0.
    RandomGenerator generator(0);
    EXPECT_EQ(generator.next(), 11091344671253066420u);
    EXPECT_EQ(generator.next(), 13793997310169335082u);
    EXPECT_EQ(generator.next(), 1900383378846508768u);
}

TEST(SamplerTest, UniformIsInRangeAndFair) {
    RandomGenerator generator(7);
    double sum = 0;
    for (int i = 0; i < 100000; ++i) {
        const float u = generator.uniform();
        ASSERT_GE(u, 0.0f);
        ASSERT_LT(u, 1.0f);
        sum += u;
    }
    EXPECT_NEAR(sum / 100000, 0.5, 0.005);
}

TEST(SamplerTest, GreedyTakesTheFirstGreatest) {
    auto sampler = Sampler::create(8);
    ASSERT_TRUE(sampler.ok());
    sampler->reset({.temperature = 0.0f});
    const float inf = std::numeric_limits<float>::infinity();
    const float nan = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(choose(*sampler, {1, 5, 5, 2}), 1);
    EXPECT_EQ(choose(*sampler, {-1, -5, -0.5f}), 2);
    EXPECT_EQ(choose(*sampler, {nan, 1, nan, 3, nan}), 3);
    EXPECT_EQ(choose(*sampler, {nan, nan}), 0);
    EXPECT_EQ(choose(*sampler, {-inf, -inf, -3}), 2);
    EXPECT_EQ(choose(*sampler, {1, inf, 2}), 1);
    EXPECT_EQ(choose(*sampler, {-0.0f, 0.0f}), 0);
    for (const float temperature : {nan, -1.0f, 1e-7f}) {
        sampler->reset({.temperature = temperature});
        EXPECT_EQ(choose(*sampler, {1, 5, 5, 2}), 1);
    }
}

TEST(SamplerTest, FollowsTheContractForAnySettings) {
    Random random(1);
    auto sampler = Sampler::create(3000);
    ASSERT_TRUE(sampler.ok());
    for (int round = 0; round < 400; ++round) {
        const uint32_t vocab = 1 + random.below(round % 10 == 0 ? 3000 : 60);
        std::vector<float> logits = random.floats(vocab, 6.0f);
        if (round % 3 == 0) {
            for (float &logit : logits) {
                logit = std::round(logit);  // many ties
            }
        }
        const float temperatures[] = {0.0f, 0.1f, 0.8f, 1.0f, 5.0f};
        const float top_ps[] = {0.0f, 0.1f, 0.5f, 0.95f, 1.0f};
        const SamplingParams params{.temperature = temperatures[random.below(5)],
                                    .top_k = random.below(vocab + 5),
                                    .top_p = top_ps[random.below(5)],
                                    .seed = random.next()};
        sampler->reset(params);
        RandomGenerator generator(params.seed);
        for (int token = 0; token < 4; ++token) {
            ASSERT_EQ(choose(*sampler, logits), expected(logits, params, generator))
                << "round " << round << " vocab " << vocab << " k " << params.top_k << " p "
                << params.top_p << " T " << params.temperature;
        }
    }
}

TEST(SamplerTest, SlicesDoNotChangeTheChoice) {
    Random random(2);
    auto sampler = Sampler::create(20000);
    ASSERT_TRUE(sampler.ok());
    const std::vector<float> logits = random.floats(20000, 8.0f);
    for (const uint32_t top_k : {0u, 1u, 40u, 5000u}) {
        const SamplingParams params{.temperature = 1.0f, .top_k = top_k, .top_p = 0.9f, .seed = 5};
        sampler->reset(params);
        const Token whole = choose(*sampler, logits);
        sampler->reset(params);
        sampler->begin(logits);
        uint32_t slices = 1;
        while (!sampler->advance(0)) {
            ++slices;
        }
        EXPECT_EQ(sampler->token(), whole);
        EXPECT_GE(slices, 20000u / 512);
    }
}

TEST(SamplerTest, FrequenciesFollowTheProbabilities) {
    auto sampler = Sampler::create(4);
    ASSERT_TRUE(sampler.ok());
    const std::vector<float> logits = {std::log(4.0f), std::log(3.0f), std::log(2.0f),
                                       std::log(1.0f)};
    sampler->reset({.temperature = 1.0f, .top_k = 0, .top_p = 1.0f, .seed = 3});
    int counts[4] = {};
    for (int i = 0; i < 20000; ++i) {
        ++counts[choose(*sampler, logits)];
    }
    for (int i = 0; i < 4; ++i) {
        EXPECT_NEAR(counts[i] / 20000.0, (4 - i) / 10.0, 0.015);
    }
}

TEST(SamplerTest, OddLogitsNeverLeaveTheVocabulary) {
    Random random(4);
    auto sampler = Sampler::create(50);
    ASSERT_TRUE(sampler.ok());
    const float odd[] = {std::numeric_limits<float>::quiet_NaN(),
                         std::numeric_limits<float>::infinity(),
                         -std::numeric_limits<float>::infinity(),
                         3e38f,
                         -3e38f,
                         1e-45f,
                         0.0f};
    for (int round = 0; round < 300; ++round) {
        std::vector<float> logits(1 + random.below(50));
        for (float &logit : logits) {
            logit = odd[random.below(7)];
        }
        sampler->reset({.temperature = 1e-5f + random.below(3),
                        .top_k = random.below(60),
                        .top_p = random.unit() + 0.5f,
                        .seed = random.next()});
        const Token token = choose(*sampler, logits);
        ASSERT_GE(token, 0);
        ASSERT_LT(token, static_cast<Token>(logits.size()));
    }
}

}  // namespace
}  // namespace bareflow::llama
