#include "llama/engine/changed_logits.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace bareflow::llama {
namespace {

TEST(ChangedLogitsTest, BiasesComeBeforePenaltiesAndAddUp) {
    SampledText text;
    SamplingParams params{
        .repeat_penalty = 2.0f, .presence_penalty = 1.0f, .frequency_penalty = 0.5f};
    params.logit_biases = {{{2, 5.0f}, {2, 1.0f}, {-1, 100.0f}, {4, 100.0f}}};
    params.logit_bias_count = 4;
    text.reset(params, std::vector<Token>{2, 2, 1, 77, -3});
    const std::vector<float> model = {3, -4, 10, 8};
    ChangedLogits logits;
    logits.start(text, model);
    const std::vector<float> wanted = {3, -4 * 2 - 1.5f, (10 + 6) / 2.0f - 2, 8};
    for (uint32_t i = 0; i < logits.size(); ++i) {
        EXPECT_EQ(logits.at(i), wanted[i]) << i;
        EXPECT_EQ(logits.next(i), wanted[i]) << i;
        EXPECT_EQ(logits.original(i), model[i]) << i;
    }
}

TEST(ChangedLogitsTest, NanIsTheSmallest) {
    SampledText text;
    text.reset({});
    const std::vector<float> model = {std::numeric_limits<float>::quiet_NaN()};
    ChangedLogits logits;
    logits.start(text, model);
    EXPECT_EQ(logits.at(0), -std::numeric_limits<float>::infinity());
    EXPECT_EQ(logits.next(0), -std::numeric_limits<float>::infinity());
}

TEST(ChangedLogitsTest, PassesOverNothingThatMatters) {
    SampledText text;
    SamplingParams params;
    params.logit_biases[0] = {40, 100.0f};
    params.logit_bias_count = 1;
    text.reset(params);
    std::vector<float> model(200, 0.0f);
    model[100] = 1.0f;
    ChangedLogits logits;
    logits.start(text, model);
    EXPECT_EQ(logits.pass_over(0, 200, 0.0f), 32u) << "the 16 that hold the changed one";
    EXPECT_EQ(logits.pass_over(0, 200, -1.0f), 0u);
    for (uint32_t i = 32; i < 48; ++i) {
        EXPECT_EQ(logits.next(i), i == 40 ? 100.0f : 0.0f);
    }
    EXPECT_EQ(logits.pass_over(48, 200, 0.0f), 96u);
    EXPECT_EQ(logits.pass_over(48, 90, 0.0f), 80u) << "fewer than 16 are not passed over";
    EXPECT_EQ(logits.pass_over(48, 200, 1.0f), 192u);
}

}  // namespace
}  // namespace bareflow::llama
