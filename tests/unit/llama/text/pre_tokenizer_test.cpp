// Words against a matcher that runs the published expressions.
#include "llama/text/pre_tokenizer.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/unit/llama/text/slow_pre_tokenizer.h"

namespace bareflow::llama {
namespace {

using testing::words_slowly;
using Words = std::vector<std::string>;

Words words_of(PreTokenizer kind, std::string_view text) {
    Words out;
    WordScanner scanner(kind, text);
    size_t steps = 0;
    while (!scanner.done()) {
        EXPECT_LE(++steps, 4 * text.size() + 4) << "a step that takes nothing";
        if (scanner.step()) {
            EXPECT_LT(scanner.begin(), scanner.end());
            out.emplace_back(text.substr(scanner.begin(), scanner.end() - scanner.begin()));
        }
    }
    return out;
}

constexpr PreTokenizer kAll[] = {PreTokenizer::kDefault, PreTokenizer::kGpt2,
                                 PreTokenizer::kLlamaBpe, PreTokenizer::kSmolLm,
                                 PreTokenizer::kQwen2};

TEST(PreTokenizer, NamesAreThoseOfTheFiles) {
    EXPECT_EQ(find_pre_tokenizer("default"), PreTokenizer::kDefault);
    EXPECT_EQ(find_pre_tokenizer("gpt-2"), PreTokenizer::kGpt2);
    EXPECT_EQ(find_pre_tokenizer("llama-bpe"), PreTokenizer::kLlamaBpe);
    EXPECT_EQ(find_pre_tokenizer("smollm"), PreTokenizer::kSmolLm);
    EXPECT_EQ(find_pre_tokenizer("qwen2"), PreTokenizer::kQwen2);
    EXPECT_EQ(find_pre_tokenizer("gpt2"), std::nullopt);
    EXPECT_EQ(find_pre_tokenizer(""), std::nullopt);
}

// Words as the PyPI package `tokenizers` cuts them.
TEST(PreTokenizer, CutsAsThePublishedExpressionsDo) {
    const std::string text = "It's  12345!\n\n you'LL";
    EXPECT_EQ(words_of(PreTokenizer::kGpt2, text),
              (Words{"It", "'s", " ", " 12345", "!", "\n\n", " you", "'", "LL"}));
    EXPECT_EQ(words_of(PreTokenizer::kSmolLm, text),
              (Words{"It", "'s", "  ", "1", "2", "3", "4", "5", "!", "\n\n", " you", "'", "LL"}));
    EXPECT_EQ(words_of(PreTokenizer::kLlamaBpe, text),
              (Words{"It", "'s", " ", " ", "123", "45", "!\n\n", " you", "'LL"}));
    EXPECT_EQ(words_of(PreTokenizer::kQwen2, text),
              (Words{"It", "'s", " ", " ", "1", "2", "3", "4", "5", "!\n\n", " you", "'LL"}));
    EXPECT_EQ(words_of(PreTokenizer::kDefault, text),
              (Words{"It", "'", "s", " ", " ", "123", "45", "!", "\n\n", " you", "'", "LL"}));
}

TEST(PreTokenizer, AnEmptyTextHasNoWords) {
    for (const PreTokenizer kind : kAll) {
        EXPECT_EQ(words_of(kind, ""), Words{});
    }
}

TEST(PreTokenizer, EqualsTheExpressionsOnRandomTexts) {
    const Words snippets = {" ",
                            " ",
                            "\n",
                            "\r",
                            "\t",
                            "\xC2\xA0",
                            "'",
                            "'s",
                            "'S",
                            "'ll",
                            "'Re",
                            "'\xC5\xBF",
                            "a",
                            "Z",
                            "\xC3\xA9",
                            "\xE4\xB8\xAD",
                            "1",
                            "2",
                            "\xE0\xA5\xA7",
                            "\xC2\xBD",
                            ".",
                            "!",
                            "$",
                            "+",
                            "`",
                            "\xE2\x82\xAC",
                            "\xF0\x9F\x98\x80",
                            "\xCC\x81",
                            "\xFF",
                            "\xE2\x96"};
    std::mt19937 random(6);
    for (int i = 0; i < 4000; ++i) {
        std::string text;
        for (size_t count = random() % 14; count-- > 0;) {
            text += snippets[random() % snippets.size()];
        }
        for (const PreTokenizer kind : kAll) {
            ASSERT_EQ(words_of(kind, text), words_slowly(kind, text))
                << static_cast<int>(kind) << " " << ::testing::PrintToString(text);
        }
    }
}

}  // namespace
}  // namespace bareflow::llama
