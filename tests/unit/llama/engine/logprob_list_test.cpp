#include "llama/engine/logprob_list.h"

#include <gtest/gtest.h>

#include <vector>

namespace bareflow::llama {
namespace {

class LogprobListTest : public ::testing::Test {
  protected:
    void start(const std::vector<float> &model) {
        text_.reset({});
        logits_.start(text_, model);
    }
    SampledText text_;
    ChangedLogits logits_;
    LogprobList list_;
};

TEST_F(LogprobListTest, HoldsTheChoiceThenTheLikeliest) {
    const std::vector<float> model = {1, 4, 2, 4, 3};
    start(model);
    list_.start(true, 3);
    list_.look_at(logits_, 0, 2);
    list_.look_at(logits_, 2, 5);
    EXPECT_EQ(list_.greatest(), 4.0f);
    list_.set_log_sum(0.5f);
    list_.finish(2, model[2]);
    const Token tokens[] = {2, 1, 3, 4};
    ASSERT_EQ(list_.entries().size(), 4u);
    for (size_t i = 0; i < 4; ++i) {
        const TokenLogprob entry = list_.entries()[i];
        EXPECT_EQ(entry.token, tokens[i]);
        EXPECT_EQ(entry.logprob, model[static_cast<size_t>(entry.token)] - 4.0f - 0.5f);
    }
}

TEST_F(LogprobListTest, KeepsOnlyWhatWasAskedFor) {
    const std::vector<float> model = {1, 2};
    start(model);
    list_.start(true, 0);
    list_.look_at(logits_, 0, 2);
    EXPECT_EQ(list_.greatest(), 2.0f);
    list_.finish(1, model[1]);
    EXPECT_EQ(list_.entries().size(), 1u);
    list_.start(true, 20);
    list_.look_at(logits_, 0, 2);
    list_.finish(1, model[1]);
    EXPECT_EQ(list_.entries().size(), 3u) << "there are no more tokens";
    list_.start(false, 20);
    EXPECT_TRUE(list_.entries().empty());
}

}  // namespace
}  // namespace bareflow::llama
