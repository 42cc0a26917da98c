#include "llama/engine/sampled_text.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace bareflow::llama {
namespace {

std::vector<Token> sorted_window(const SampledText &text) {
    std::vector<Token> tokens(text.window().begin(), text.window().end());
    std::ranges::sort(tokens);
    return tokens;
}

TEST(SampledTextTest, TheWindowHoldsTheLastTokensOfPromptAndText) {
    SampledText text;
    text.reset({.repeat_last_n = 3}, std::vector<Token>{1, 2, 3, 4});
    EXPECT_EQ(sorted_window(text), (std::vector<Token>{2, 3, 4}));
    text.remember(9);
    text.remember(2);
    EXPECT_EQ(sorted_window(text), (std::vector<Token>{2, 4, 9}));
    text.reset({.repeat_last_n = 3}, std::vector<Token>{7});
    EXPECT_EQ(sorted_window(text), (std::vector<Token>{7})) << "the text before is forgotten";
    text.reset({.repeat_last_n = 0}, std::vector<Token>{7});
    text.remember(8);
    EXPECT_TRUE(text.window().empty());
}

TEST(SampledTextTest, ParametersAreCutToWhatThereIsRoomFor) {
    SampledText text;
    SamplingParams params{.repeat_last_n = 100000, .top_logprobs = 1000};
    params.logit_bias_count = 1000;
    const std::vector<Token> prompt(1000, 5);
    text.reset(params, prompt);
    EXPECT_EQ(text.params().repeat_last_n, SamplingParams::kMaxWindow);
    EXPECT_EQ(text.params().logit_bias_count, SamplingParams::kMaxBiases);
    EXPECT_EQ(text.params().top_logprobs, SamplingParams::kMaxLogprobs);
    EXPECT_EQ(text.window().size(), SamplingParams::kMaxWindow);
}

TEST(SampledTextTest, MirostatMovesItsLimitTowardsTheWish) {
    SampledText text;
    text.reset({.mirostat = true, .mirostat_tau = 4.0f, .mirostat_eta = 0.5f});
    EXPECT_EQ(text.greatest_surprise(), 8.0f);
    text.learn_surprise(6.0f);
    EXPECT_EQ(text.greatest_surprise(), 7.0f);
    text.learn_surprise(2.0f);
    EXPECT_EQ(text.greatest_surprise(), 8.0f);
}

}  // namespace
}  // namespace bareflow::llama
