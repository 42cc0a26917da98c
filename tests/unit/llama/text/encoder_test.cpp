// What both kinds of vocabulary share: slices, limits, hostile texts, special tokens.
#include "llama/text/encoder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <string>
#include <vector>

#include "tests/unit/llama/text/made_tokenizers.h"
#include "tests/unit/llama/text/slow_tokenizer.h"

namespace bareflow::llama {
namespace {

using testing::ByteTokenizer;
using testing::ByteVocabulary;
using testing::CharacterTokenizer;
using testing::encode_specials_slowly;
using testing::GgufBuilder;
using testing::kSpaceText;
using testing::random_pieces;
using testing::random_vocabulary;
using testing::vocabulary_builder;
using Tokens = std::vector<Token>;

TEST(CharacterEncoder, SlicesOfAnySizeGiveTheSame) {
    std::mt19937 random(5);
    const CharacterTokenizer t(
        vocabulary_builder(random_pieces(random, {kSpaceText, "a", "b", "c"}, 40)));
    std::string text;
    while (text.size() < 500) {
        text += " abcz"[random() % 5];
    }
    t.expect_the_same_in_slices(text, t.encode(text));
}

TEST(ByteEncoder, SlicesOfAnySizeGiveTheSame) {
    std::mt19937 random(13);
    for (const char *pre : testing::kPreNames) {
        ByteVocabulary vocabulary = random_vocabulary(random, pre, 60);
        vocabulary.user_defined = {"ca"};
        const ByteTokenizer t(vocabulary);
        std::string text;
        while (text.size() < 400) {
            text += " abcz1'\n"[random() % 8];
        }
        t.expect_the_same_in_slices(text, t.encode(text));
    }
}

TEST(CharacterEncoder, WhatDoesNotFitIsRefused) {
    const CharacterTokenizer t(
        vocabulary_builder({"a", "b", "ab", kSpaceText, std::string(kSpaceText) + "a"}));
    const std::string text = "ab ab zz";
    const std::vector<Token> whole = t.encode(text);
    for (size_t room = 0; room < whole.size(); ++room) {
        std::vector<Token> out(room, 77);
        auto count = t->encode(text, out);
        EXPECT_EQ(count.error().code, ErrorCode::kTooLarge) << room;
        EXPECT_EQ(count.error().message, "the text has more tokens than there is room for");
    }
    std::vector<Token> out(whole.size());
    EXPECT_EQ(t->encode(text, out).value(), whole.size());
    EXPECT_EQ(t->encode("", std::span<Token>()).error().code, ErrorCode::kTooLarge);  // BOS
}

TEST(CharacterEncoder, TextsOverTheLimitAreRefused) {
    const CharacterTokenizer t(vocabulary_builder({"a"}));
    std::vector<Token> out(3 << 20);
    const std::string text(Tokenizer::kMaxTextBytes + 1, 'a');
    EXPECT_EQ(t->encode(text, out).error().message, "the text is longer than 1 MiB");
    EXPECT_TRUE(t->encode(std::string_view(text).substr(1), out));
}

TEST(ByteEncoder, WhatDoesNotFitIsRefused) {
    const ByteTokenizer t(ByteVocabulary{.merges = {{"a", "b"}, {" ", "ab"}}});
    const std::string text = "ab ab zz<|end|>";
    const Tokens whole = t.encode(text, SpecialTokens::kParsed);
    EXPECT_EQ(whole.size(), 6u);
    for (size_t room = 0; room < whole.size(); ++room) {
        Tokens out(room, 77);
        auto count = t->encode(text, out, SpecialTokens::kParsed);
        EXPECT_EQ(count.error().message, "the text has more tokens than there is room for");
    }
    const std::string long_text(Tokenizer::kMaxTextBytes + 1, 'a');
    Tokens out(10);
    EXPECT_EQ(t->encode(long_text, out).error().message, "the text is longer than 1 MiB");
}

// Long texts that are made to be slow: all their characters join. A quadratic encoder needs many
// minutes for them. The bound is generous because tests run sanitized on busy machines.
TEST(CharacterEncoder, HostileTextsTakeNoQuadraticTime) {
    std::vector<std::string> pieces = {"a", "b", kSpaceText};
    for (std::string run = "aa"; run.size() <= 1024; run += run) {
        pieces.push_back(run);
    }
    for (std::string run = "ab"; run.size() <= 64; run += "ab") {
        pieces.push_back(run);
    }
    const CharacterTokenizer t(vocabulary_builder(pieces));
    std::vector<Token> out(3 << 20);
    constexpr size_t kLen = 1 << 18;
    std::string mixed(kLen, 'a');
    for (size_t i = 1; i < mixed.size(); i += 2) {
        mixed[i] = 'b';
    }
    for (const std::string &text :
         {std::string(kLen, 'a'), mixed, std::string(kLen, ' '), std::string(kLen, '\xE2')}) {
        const auto begin = std::chrono::steady_clock::now();
        EXPECT_TRUE(t->encode(text, out));
        EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(60));
    }
    EXPECT_EQ(t->encode(std::string(1 << 20, 'a'), out).value(), 2u + (1 << 20) / 1024);
    // A text that cannot fit is given up early, long before its end.
    const auto begin = std::chrono::steady_clock::now();
    std::vector<Token> few(64);
    EXPECT_FALSE(t->encode(mixed, few));
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

TEST(ByteEncoder, HostileTextsTakeNoQuadraticTime) {
    ByteVocabulary vocabulary{.pre = "llama-bpe"};
    for (std::string run = "a"; run.size() < 1024; run += run) {
        vocabulary.merges.emplace_back(run, run);
    }
    vocabulary.merges.emplace_back(" ", " ");
    vocabulary.merges.emplace_back("\n", "\n");
    vocabulary.user_defined = {std::string(200, '<') + ">"};
    const ByteTokenizer t(vocabulary);
    Tokens out(1 << 19);
    constexpr size_t kLen = 1 << 18;
    std::string lines(kLen, ' ');
    for (size_t i = 0; i < kLen; i += 2) {
        lines[i] = '\n';
    }
    for (const std::string &text :
         {std::string(kLen, 'a'), std::string(kLen, ' '), "\n" + std::string(kLen, ' ') + "x",
          lines, std::string(kLen, '<'), std::string(kLen, '1'), std::string(kLen, '\xE2')}) {
        const auto begin = std::chrono::steady_clock::now();
        EXPECT_TRUE(t->encode(text, out));
        EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(60));
    }
    EXPECT_EQ(t->encode(std::string(1 << 18, 'a'), out).value(), 1u + (1 << 18) / 1024);
}

// ---------------------------------------------------------------- special tokens

TEST(SpecialTokens, ControlTokensAreParsedOnlyWhereAsked) {
    const ByteTokenizer t(ByteVocabulary{.pre = "smollm", .user_defined = {"<u>"}});
    const std::string text = "<|start|>a<u><|end|><|end";
    const Tokens plain = t.encode(text);
    EXPECT_EQ(std::ranges::count_if(plain, [](Token token) { return token < 2; }), 0);
    EXPECT_EQ(t.decode(plain), text);
    EXPECT_EQ(std::ranges::count(plain, t->find_special("<u>")), 1);
    Tokens expected = {1, t.id("a"), t->find_special("<u>"), 0};
    for (const char c : std::string("<|end")) {
        expected.push_back(t.id({&c, 1}));
    }
    EXPECT_EQ(t.encode(text, SpecialTokens::kParsed), expected);
    EXPECT_EQ(t.decode(expected), "a<u><|end");
}

TEST(SpecialTokens, TheLongestOfTheLeftmostCounts) {
    const ByteTokenizer t(ByteVocabulary{.control = {"<e>", "ab", "abcd", "bcde"},
                                         .user_defined = {"abc", "abcdefg"}});
    const auto ids = [&](const std::vector<std::string> &names) {
        Tokens out;
        for (const std::string &name : names) {
            out.push_back(name.size() == 1 ? t.id(name) : t->find_special(name));
        }
        return out;
    };
    EXPECT_EQ(t.encode("abcdef", SpecialTokens::kParsed), ids({"abcd", "e", "f"}));
    EXPECT_EQ(t.encode("abcdefg", SpecialTokens::kParsed), ids({"abcdefg"}));
    EXPECT_EQ(t.encode("abbcde", SpecialTokens::kParsed), ids({"ab", "bcde"}));
    EXPECT_EQ(t.encode("abcdef"), ids({"abc", "d", "e", "f"}));
    EXPECT_EQ(t.encode("ab"), ids({"a", "b"}));
}

TEST(SpecialTokens, OfTwoWithOneNameTheLaterCountsAndUserDefinedFirst) {
    const ByteTokenizer t(
        ByteVocabulary{.control = {"<e>", "<c>", "<c>", "<u>"}, .user_defined = {"<u>", "<u>"}});
    const Token last = static_cast<Token>(t->vocab_size()) - 1;
    EXPECT_EQ(t.encode("<c><u>", SpecialTokens::kParsed), (Tokens{2, last}));
    EXPECT_EQ(t.encode("<u>"), Tokens{last});
}

TEST(SpecialTokens, EqualTheirSlowTwinOnRandomTexts) {
    std::mt19937 random(14);
    for (int round = 0; round < 10; ++round) {
        ByteVocabulary vocabulary = random_vocabulary(random, testing::kPreNames[round % 5], 30);
        for (int i = 0; i < 12; ++i) {
            std::string name;
            for (size_t count = 1 + random() % 5; count-- > 0;) {
                name += "<ab >"[random() % 5];
            }
            if (name.size() > 1) {
                (i % 2 == 0 ? vocabulary.control : vocabulary.user_defined).push_back(name);
            }
        }
        for (auto *names : {&vocabulary.control, &vocabulary.user_defined}) {
            std::ranges::sort(*names);
            names->erase(std::unique(names->begin(), names->end()), names->end());
        }
        GgufBuilder builder = ByteTokenizer::builder_of(vocabulary);
        builder.set("tokenizer.ggml.add_bos_token", false);
        const ByteTokenizer t(builder);
        for (int i = 0; i < 60; ++i) {
            std::string text;
            for (size_t count = random() % 80; count-- > 0;) {
                text += "<ab >c"[random() % 6];
            }
            for (const bool control : {false, true}) {
                ASSERT_EQ(t.encode(text, control ? SpecialTokens::kParsed : SpecialTokens::kAsText),
                          encode_specials_slowly(vocabulary, *t, text, control))
                    << text;
            }
        }
    }
}

TEST(SpecialTokens, OfACharacterVocabulary) {
    GgufBuilder builder;
    testing::add_vocabulary(builder, {"\xE2\x96\x81", "a",
                                      "\xE2\x96\x81"
                                      "a",
                                      "<u>"});
    std::vector<int32_t> kinds(263, 1);
    kinds[0] = 2;
    kinds[1] = kinds[2] = 3;
    std::fill_n(kinds.begin() + 3, 256, 6);
    kinds[262] = 4;
    builder.set("tokenizer.ggml.token_type", kinds);
    const ByteTokenizer t(builder);
    // A space is put before every piece of text between them.
    EXPECT_EQ(t.encode("a<s>a</s><u>a", SpecialTokens::kParsed),
              (Tokens{1, 261, 1, 261, 2, 262, 261}));
    EXPECT_EQ(t.encode("<u>a"), (Tokens{1, 262, 261}));
    EXPECT_EQ(t.encode("<s>"), (Tokens{1, 259, 3 + '<', 3 + 's', 3 + '>'}));
    EXPECT_EQ(t.encode("<s>", SpecialTokens::kParsed), (Tokens{1, 1}));
}

}  // namespace
}  // namespace bareflow::llama
