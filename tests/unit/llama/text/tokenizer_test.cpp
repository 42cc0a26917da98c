#include "llama/text/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/unit/llama/text/made_tokenizers.h"

namespace bareflow::llama {
namespace {

using testing::CharacterTokenizer;
using testing::GgufBuilder;
using testing::kSpaceText;
using testing::vocabulary_builder;

TEST(Tokenizer, KnowsItsTokens) {
    GgufBuilder builder = vocabulary_builder({"a", "b", "ab"});
    builder.set("tokenizer.ggml.eot_token_id", 2u);
    builder.set("tokenizer.ggml.seperator_token_id", 4294967295u);
    const CharacterTokenizer t(builder);
    EXPECT_EQ(t->vocab_size(), 262u);
    EXPECT_EQ(t->bos(), 1);
    EXPECT_EQ(t->eos(), 2);
    EXPECT_EQ(t->unknown(), 0);
    EXPECT_TRUE(t->adds_bos());
    EXPECT_FALSE(t->adds_eos());
    EXPECT_TRUE(t->ends_text(2));
    EXPECT_FALSE(t->ends_text(1));
    EXPECT_FALSE(t->ends_text(kNoToken));
    EXPECT_EQ(t->text(261), "ab");
    EXPECT_EQ(t->kind(261), TokenKind::kNormal);
    EXPECT_EQ(t->score(261), -261.0f);
    EXPECT_EQ(t->find("ab"), 261);
    EXPECT_EQ(t->find("abc"), kNoToken);
    EXPECT_EQ(t->find(""), kNoToken);
    EXPECT_EQ(t->find("<s>"), kNoToken);
    EXPECT_EQ(t->find("<0x41>"), kNoToken);
    EXPECT_EQ(t->byte_token('A'), 3 + 'A');
}

TEST(Tokenizer, NoneMeansNone) {
    for (const bool negative : {false, true}) {
        GgufBuilder builder = vocabulary_builder({"a"});
        for (const char *key : {"bos", "eos", "unknown"}) {
            const std::string name = std::string("tokenizer.ggml.") + key + "_token_id";
            negative ? builder.set(name, -1) : builder.set(name, 4294967295u);
        }
        const CharacterTokenizer t(builder);
        EXPECT_EQ(t->bos(), kNoToken);
        EXPECT_EQ(t->eos(), kNoToken);
        EXPECT_EQ(t->unknown(), kNoToken);
        EXPECT_FALSE(t->adds_bos());
        EXPECT_FALSE(t->ends_text(2));
    }
}

TEST(Tokenizer, ControlTokensInATextAreText) {
    GgufBuilder builder = vocabulary_builder({kSpaceText, "<", "s", ">", "<s", "s>", "/"});
    const CharacterTokenizer t(builder);
    for (const std::string text : {"<s>", "</s>", "<unk>", "a<s>b</s>"}) {
        const std::vector<Token> tokens = t.encode(text);
        EXPECT_EQ(tokens[0], 1);
        EXPECT_EQ(std::ranges::count_if(tokens, [](Token token) { return token <= 2; }), 1) << text;
        EXPECT_EQ(t.decode(tokens), text);
    }
}

TEST(Tokenizer, AnEmptyTextIsBosOnly) {
    EXPECT_EQ(CharacterTokenizer(vocabulary_builder({"a"})).encode(""), std::vector<Token>{1});
    GgufBuilder builder = vocabulary_builder({"a"});
    builder.set("tokenizer.ggml.add_eos_token", true);
    EXPECT_EQ(CharacterTokenizer(builder).encode(""), (std::vector<Token>{1, 2}));
}

}  // namespace
}  // namespace bareflow::llama
