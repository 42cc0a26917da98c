// The command line of --tokens and --prompt.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "appliance/hosted/token_mode.h"

namespace bareflow {
namespace {

class TokenModeOptionsTest : public ::testing::Test {
  protected:
    bool parse(std::vector<std::string> words) {
        words_ = std::move(words);
        std::vector<char *> argv{program_};
        for (std::string &word : words_) {
            argv.push_back(word.data());
        }
        options_ = {};
        return parse_token_mode(static_cast<int>(argv.size()), argv.data(), options_);
    }
    // With a model and tokens before these words.
    bool parse_more(const std::vector<std::string> &words) {
        std::vector<std::string> all{"--model", "m.gguf", "--tokens", "1,2"};
        all.insert(all.end(), words.begin(), words.end());
        return parse(all);
    }

    char program_[9] = "bareflow";
    std::vector<std::string> words_;
    TokenModeOptions options_;
};

TEST_F(TokenModeOptionsTest, AModelAndTokensOrAPrompt) {
    EXPECT_TRUE(parse({"--model", "m.gguf", "--tokens", "1,2"}));
    EXPECT_STREQ(options_.model_path, "m.gguf");
    EXPECT_STREQ(options_.tokens, "1,2");
    EXPECT_EQ(options_.prompt, nullptr);
    EXPECT_EQ(options_.max_tokens, 16u);
    EXPECT_EQ(options_.threads, 1u);
    EXPECT_EQ(options_.sampling.temperature, 0.0f) << "greedy";
    EXPECT_TRUE(parse({"--prompt", "Once", "--model", "m.gguf"}));
    EXPECT_STREQ(options_.prompt, "Once");
    EXPECT_FALSE(parse({"--model", "m.gguf"}));
    EXPECT_FALSE(parse({"--tokens", "1"}));
    EXPECT_FALSE(parse({"--model", "m.gguf", "--tokens", "1", "--prompt", "Once"}));
}

TEST_F(TokenModeOptionsTest, EveryOptionHasItsPlace) {
    ASSERT_TRUE(parse_more({"--logits", "--max-tokens", "7", "--context", "99", "--slots", "3",
                            "--batch", "8", "--kv", "q8_0", "--numerics", "fast", "--threads", "0",
                            "--isa", "avx2", "--slice-us", "0"}));
    EXPECT_TRUE(options_.logits);
    EXPECT_EQ(options_.max_tokens, 7u);
    EXPECT_EQ(options_.engine.context_length, 99u);
    EXPECT_EQ(options_.engine.slots, 3u);
    EXPECT_EQ(options_.engine.batch, 8u);
    EXPECT_EQ(options_.engine.kv_type, compute::KvType::kQ8_0);
    EXPECT_TRUE(options_.relaxed);
    EXPECT_EQ(options_.threads, 0u);
    EXPECT_EQ(options_.most, compute::InstructionSet::kAvx2);
    EXPECT_EQ(options_.slice_us, 0u);
}

TEST_F(TokenModeOptionsTest, HowTokensAreChosen) {
    ASSERT_TRUE(parse_more({"--seed", "18446744073709551615", "--temperature", "0.5", "--top-k",
                            "7", "--top-p", "0.25", "--min-p", "0.125", "--repeat-last-n", "9",
                            "--mirostat", "2", "--logprobs", "4", "--logit-bias", "7:-1.5,9:2"}));
    const llama::SamplingParams &sampling = options_.sampling;
    EXPECT_EQ(sampling.seed, ~uint64_t{0});
    EXPECT_EQ(sampling.temperature, 0.5f);
    EXPECT_EQ(sampling.top_k, 7u);
    EXPECT_EQ(sampling.top_p, 0.25f);
    EXPECT_EQ(sampling.min_p, 0.125f);
    EXPECT_EQ(sampling.repeat_last_n, 9u);
    EXPECT_TRUE(sampling.mirostat);
    EXPECT_TRUE(sampling.wants_logprobs);
    EXPECT_EQ(sampling.top_logprobs, 4u);
    ASSERT_EQ(sampling.logit_bias_count, 2u);
    EXPECT_EQ(sampling.logit_biases[0].token, 7);
    EXPECT_EQ(sampling.logit_biases[0].bias, -1.5f);
    EXPECT_EQ(sampling.logit_biases[1].token, 9);
    EXPECT_EQ(sampling.logit_biases[1].bias, 2.0f);
}

TEST_F(TokenModeOptionsTest, WhatIsNotUnderstoodIsRefused) {
    std::string many = "1:1";
    for (uint32_t i = 0; i < llama::SamplingParams::kMaxBiases; ++i) {
        many += ",1:1";
    }
    const std::vector<std::string> bad[] = {
        {"--max-tokens"},
        {"--max-tokens", "x"},
        {"--max-tokens", "4294967296"},
        {"--max-tokens", "7x"},
        {"--seed", "18446744073709551616"},
        {"--temperature", "warm"},
        {"--kv", "f32"},
        {"--numerics", "nearly"},
        {"--isa", "mmx"},
        {"--mirostat", "1"},
        {"--logit-bias", "7"},
        {"--logit-bias", "7:1,"},
        {"--logit-bias", many},
        {"--unknown", "1"},
    };
    for (const std::vector<std::string> &words : bad) {
        EXPECT_FALSE(parse_more(words)) << words[0] << " " << words.back();
    }
}

}  // namespace
}  // namespace bareflow
