// The sampler against the contract's text written with the host's sort: the same tokens for any
// parameters, logits and slices.
#include "llama/engine/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "llama/engine/log_f32.h"
#include "tests/unit/compute/random_numbers.h"

namespace bareflow::llama {
namespace {

using compute::testing::Random;

constexpr uint64_t kNever = UINT64_MAX;

SampledText text;

Token choose(Sampler &sampler, const std::vector<float> &logits, uint64_t deadline = kNever) {
    sampler.begin(text, logits);
    while (!sampler.advance(deadline)) {
    }
    return sampler.token();
}

// The contract's text, with the host's sort.
class Slow {
  public:
    Slow(const SamplingParams &params, const std::vector<Token> &prompt)
        : params_(params), text_(prompt), generator_(params.seed), mu_(2 * params.mirostat_tau) {}

    Token choose(std::vector<float> logits) {
        for (float &logit : logits) {
            logit = std::isnan(logit) ? -INFINITY : logit;
        }
        change(logits);
        const Token token = pick(logits);
        text_.push_back(token);
        return token;
    }

  private:
    void change(std::vector<float> &logits) const {
        for (uint32_t i = 0; i < params_.logit_bias_count; ++i) {
            const LogitBias &bias = params_.logit_biases[i];
            if (bias.token >= 0 && static_cast<size_t>(bias.token) < logits.size()) {
                logits[bias.token] += bias.bias;
            }
        }
        std::map<Token, int> counts;
        const size_t window = std::min<size_t>(text_.size(), params_.repeat_last_n);
        for (size_t i = text_.size() - window; i < text_.size(); ++i) {
            ++counts[text_[i]];
        }
        for (const auto &[token, count] : counts) {
            if (token < 0 || static_cast<size_t>(token) >= logits.size()) {
                continue;
            }
            float &logit = logits[token];
            logit = logit <= 0 ? logit * params_.repeat_penalty : logit / params_.repeat_penalty;
            const float often = static_cast<float>(count) * params_.frequency_penalty;
            logit -= often + params_.presence_penalty;
        }
    }
    static std::vector<float> probabilities(const std::vector<float> &logits,
                                            const std::vector<uint32_t> &order, float temperature) {
        std::vector<float> p(order.size());
        for (size_t i = 0; i < p.size(); ++i) {
            p[i] = logits[order[i]] / temperature;
        }
        compute::softmax(p.data(), static_cast<uint32_t>(p.size()));
        return p;
    }
    static void sort(std::vector<uint32_t> &order, const std::vector<float> &logits) {
        std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
            return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
        });
    }
    Token pick(const std::vector<float> &logits) {
        std::vector<uint32_t> order(logits.size());
        std::iota(order.begin(), order.end(), 0u);
        sort(order, logits);
        if (params_.temperature < std::ldexp(1.0f, -20)) {
            return static_cast<Token>(order[0]);
        }
        if (!params_.mirostat) {
            if (params_.top_k != 0 && params_.top_k < order.size()) {
                order.resize(params_.top_k);
            }
            if (params_.typical_p < 1) {
                typical(logits, order);
            }
            const std::vector<float> p = probabilities(logits, order, 1);
            float sum = 0.0f;
            size_t kept = 0;
            while (kept < p.size() && (kept == 0 || !(p[kept] < params_.min_p * p[0]))) {
                sum = sum + p[kept++];
                if (params_.top_p < 1.0f && sum >= params_.top_p) {
                    break;
                }
            }
            order.resize(kept);
        }
        const std::vector<float> p = probabilities(logits, order, params_.temperature);
        float sum = 0.0f;
        size_t kept = 0;
        while (kept < p.size() && !(params_.mirostat && kept > 0 && bits(p[kept]) > mu_)) {
            sum = sum + p[kept++];
        }
        const float threshold = generator_.uniform() * sum;
        float running = 0.0f;
        size_t chosen = kept - 1;
        for (size_t i = 0; i < kept; ++i) {
            running = running + p[i];
            if (running > threshold) {
                chosen = i;
                break;
            }
        }
        if (params_.mirostat) {
            mu_ = mu_ - params_.mirostat_eta * (bits(p[chosen] / sum) - params_.mirostat_tau);
        }
        return static_cast<Token>(order[chosen]);
    }
    void typical(const std::vector<float> &logits, std::vector<uint32_t> &order) const {
        const std::vector<float> p = probabilities(logits, order, 1);
        float entropy = 0.0f;
        for (const float x : p) {
            entropy = entropy - x * log_f32(x);
        }
        std::vector<uint32_t> near(order.size());
        std::iota(near.begin(), near.end(), 0u);
        std::sort(near.begin(), near.end(), [&](uint32_t a, uint32_t b) {
            const float of_a = std::abs(-log_f32(p[a]) - entropy);
            const float of_b = std::abs(-log_f32(p[b]) - entropy);
            return of_a != of_b ? of_a < of_b : a < b;
        });
        float sum = 0.0f;
        std::vector<uint32_t> kept;
        for (const uint32_t i : near) {
            kept.push_back(order[i]);
            sum = sum + p[i];
            if (sum >= params_.typical_p) {
                break;
            }
        }
        order = kept;
        sort(order, logits);
    }
    static float bits(float p) { return log_f32(p) * -1.44269504f; }

    SamplingParams params_;
    std::vector<Token> text_;
    RandomGenerator generator_;
    float mu_;
};

TEST(SamplerTest, GreedyTakesTheFirstGreatest) {
    auto sampler = Sampler::create(8);
    ASSERT_TRUE(sampler.ok());
    text.reset({.temperature = 0.0f});
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
        text.reset({.temperature = temperature});
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
        SamplingParams params{.top_k = random.below(3) == 0 ? 0 : random.below(vocab + 5),
                              .top_p = top_ps[random.below(5)],
                              .temperature = temperatures[random.below(5)],
                              .seed = random.next()};
        const auto some = [&](float value, float otherwise) {
            return random.below(2) == 0 ? value : otherwise;
        };
        if (round % 2 == 0) {
            params.repeat_penalty = some(1.3f, 1.0f);
            params.presence_penalty = some(0.7f, 0.0f);
            params.frequency_penalty = some(-0.3f, 0.0f);
            params.repeat_last_n = random.below(20);
            params.typical_p = some(random.unit() * 0.5f + 0.5f, 1.0f);
            params.min_p = some(0.05f, 0.0f);
            params.mirostat = random.below(4) == 0;
            params.mirostat_tau = 1.0f + random.unit();
            params.logit_bias_count = random.below(4);
            for (LogitBias &bias : params.logit_biases) {
                bias = {static_cast<Token>(random.below(vocab + 2)), 4 * random.unit()};
            }
        }
        std::vector<Token> prompt(random.below(30));
        for (Token &token : prompt) {
            token = static_cast<Token>(random.below(vocab + 1));
        }
        text.reset(params, prompt);
        Slow slow(params, prompt);
        for (int token = 0; token < 6; ++token) {
            ASSERT_EQ(choose(*sampler, logits, round % 5 == 0 ? 0 : kNever), slow.choose(logits))
                << "round " << round << " vocab " << vocab << " k " << params.top_k << " p "
                << params.top_p << " T " << params.temperature << " mirostat " << params.mirostat
                << " typical " << params.typical_p << " min_p " << params.min_p;
        }
    }
}

TEST(SamplerTest, LogprobsAreTheModelsOwn) {
    Random random(6);
    auto sampler = Sampler::create(2000);
    ASSERT_TRUE(sampler.ok());
    for (const float temperature : {0.0f, 0.7f}) {
        for (const uint32_t top : {0u, 3u, 20u}) {
            const std::vector<float> logits = random.floats(2000, 5.0f);
            SamplingParams params{.repeat_penalty = 1.5f,
                                  .temperature = temperature,
                                  .wants_logprobs = true,
                                  .top_logprobs = top};
            params.logit_biases[0] = {7, 100.0f};
            params.logit_bias_count = 1;
            text.reset(params, std::vector<Token>{7, 9});
            ASSERT_EQ(choose(*sampler, logits, 0), 7) << "the bias makes the choice";
            double sum = 0;
            for (const float logit : logits) {
                sum += std::exp(static_cast<double>(logit));
            }
            std::vector<Token> order(logits.size());
            std::iota(order.begin(), order.end(), 0);
            std::sort(order.begin(), order.end(), [&](Token a, Token b) {
                return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
            });
            const auto found = sampler->logprobs();
            ASSERT_EQ(found.size(), 1 + top);
            EXPECT_EQ(found[0].token, 7);
            for (size_t i = 0; i < found.size(); ++i) {
                if (i > 0) {
                    EXPECT_EQ(found[i].token, order[i - 1]);
                }
                EXPECT_NEAR(found[i].logprob, logits[found[i].token] - std::log(sum), 1e-5);
            }
        }
    }
    text.reset({});
    const std::vector<float> few = {1, 2};
    choose(*sampler, few);
    EXPECT_TRUE(sampler->logprobs().empty());
    text.reset({.wants_logprobs = true, .top_logprobs = 5});
    choose(*sampler, few);
    EXPECT_EQ(sampler->logprobs().size(), 3u) << "there are no more";
}

TEST(SamplerTest, PenaltiesKeepFromRepeating) {
    auto sampler = Sampler::create(10);
    ASSERT_TRUE(sampler.ok());
    const std::vector<float> logits = {9, 8, 7, 6, 5, 4, 3, 2, 1, 0};
    std::vector<Token> made;
    text.reset({.presence_penalty = 1.5f, .repeat_last_n = 1, .temperature = 0.0f});
    for (int i = 0; i < 4; ++i) {
        made.push_back(choose(*sampler, logits));
    }
    EXPECT_EQ(made, (std::vector<Token>{0, 1, 0, 1}));
}

TEST(SamplerTest, SlicesDoNotChangeTheChoice) {
    Random random(2);
    auto sampler = Sampler::create(20000);
    ASSERT_TRUE(sampler.ok());
    const std::vector<float> logits = random.floats(20000, 8.0f);
    for (const uint32_t top_k : {0u, 1u, 40u, 5000u}) {
        const SamplingParams params{.top_k = top_k, .top_p = 0.9f, .temperature = 1.0f, .seed = 5};
        text.reset(params);
        const Token whole = choose(*sampler, logits);
        text.reset(params);
        sampler->begin(text, logits);
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
    text.reset({.top_k = 0, .top_p = 1.0f, .temperature = 1.0f, .seed = 3});
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
        text.reset({.top_k = random.below(60),
                    .top_p = random.unit() + 0.5f,
                    .temperature = 1e-5f + random.below(3),
                    .seed = random.next()});
        const Token token = choose(*sampler, logits);
        ASSERT_GE(token, 0);
        ASSERT_LT(token, static_cast<Token>(logits.size()));
    }
}

}  // namespace
}  // namespace bareflow::llama
