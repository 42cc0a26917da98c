// Byte-level vocabularies and their merges: against a slow twin, and a catalogue of bad ones.
#include "llama/text/bpe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tests/unit/llama/file/gguf_builder.h"
#include "tests/unit/llama/file/refused_file.h"
#include "tests/unit/llama/text/made_tokenizers.h"

namespace bareflow::llama {
namespace {

using testing::BadFile;
using testing::ByteTokenizer;
using testing::ByteVocabulary;
using testing::encode_bytes_slowly;
using testing::GgufBuilder;
using testing::random_vocabulary;
using Tokens = std::vector<Token>;

// ---------------------------------------------------------------- vocabulary

TEST(BpeVocabulary, KnowsItsTokens) {
    GgufBuilder builder = ByteTokenizer::builder_of({.merges = {{"a", "b"}}});
    builder.set("tokenizer.ggml.eot_token_id", 1u);
    const ByteTokenizer t(builder);
    EXPECT_TRUE(t->byte_level());
    EXPECT_EQ(t->vocab_size(), 259u);
    EXPECT_EQ(t->bos(), 0);
    EXPECT_TRUE(t->ends_text(0));
    EXPECT_TRUE(t->ends_text(1));
    EXPECT_FALSE(t->adds_bos());
    EXPECT_FALSE(t->adds_eos());
    EXPECT_FALSE(t->adds_space_prefix());
    EXPECT_EQ(t->find("ab"), 258);
    EXPECT_EQ(t->find("\xC4\xA0"), t->byte_token(' '));
    EXPECT_EQ(t->find("<|end|>"), kNoToken);
    EXPECT_EQ(t->find_special("<|end|>"), 0);
    EXPECT_EQ(t->find_special("<|end|"), kNoToken);
    EXPECT_EQ(t->find_special("<|end|>x"), kNoToken);
    EXPECT_EQ(t->find_special(""), kNoToken);
    EXPECT_EQ(t->score(258), 0.0f);
}

TEST(BpeVocabulary, EveryByteIsWrittenAsItsCharacter) {
    const ByteTokenizer t(ByteVocabulary{});
    for (uint32_t byte = 0; byte < 256; ++byte) {
        const Token token = t->byte_token(static_cast<uint8_t>(byte));
        ASSERT_EQ(t->text(token), testing::written_byte(static_cast<uint8_t>(byte)));
        char out[Tokenizer::kMaxPieceBytes];
        ASSERT_EQ(t->piece(token, out), 1u);
        ASSERT_EQ(static_cast<uint8_t>(out[0]), byte);
    }
}

TEST(BpeVocabulary, BosIsAddedWhereTheFileOrItsKindSaysSo) {
    for (const char *pre : testing::kPreNames) {
        GgufBuilder builder = ByteTokenizer::builder_of({.pre = pre});
        EXPECT_EQ(ByteTokenizer(builder)->adds_bos(), std::string(pre) == "llama-bpe");
        builder.set("tokenizer.ggml.add_bos_token", true);
        EXPECT_EQ(ByteTokenizer(builder).encode("a").front(), 0);
        builder.set("tokenizer.ggml.add_bos_token", false);
        builder.set("tokenizer.ggml.add_eos_token", true);
        const ByteTokenizer t(builder);
        EXPECT_EQ(t.encode("a"), (Tokens{t.id("a"), 0}));
        EXPECT_EQ(t.encode(""), Tokens{0});
    }
}

TEST(BpeVocabulary, WithoutAnAddSpacePrefixWhateverTheFileSays) {
    GgufBuilder builder = ByteTokenizer::builder_of({});
    builder.set("tokenizer.ggml.add_space_prefix", true);
    const ByteTokenizer t(builder);
    EXPECT_EQ(t.encode("a"), Tokens{t.id("a")});
    EXPECT_EQ(t.decode({t.id(" "), t.id("a")}), " a");
}

TEST(BpeVocabulary, NoPreTokenizerIsTheDefault) {
    GgufBuilder builder = ByteTokenizer::builder_of({.pre = "default", .merges = {{"'", "s"}}});
    builder.remove("tokenizer.ggml.pre");
    const ByteTokenizer t(builder);
    EXPECT_EQ(t.encode("'s"), (Tokens{t.id("'"), t.id("s")}));
}

void set_merges(GgufBuilder &builder, const std::vector<std::string> &merges) {
    builder.set("tokenizer.ggml.merges", merges);
}

const BadFile kCatalogue[] = {
    {"UnknownPreTokenizer", [](GgufBuilder &b) { b.set("tokenizer.ggml.pre", "chameleon"); },
     "a pre-tokenizer of kind \"chameleon\" is not supported; supported: default, gpt-2, "
     "llama-bpe, smollm, qwen2",
     ErrorCode::kUnsupported},
    {"NoMerges", [](GgufBuilder &b) { b.remove("tokenizer.ggml.merges"); },
     "the model file lacks the key \"tokenizer.ggml.merges\"", ErrorCode::kNotFound},
    {"MergesAreNumbers",
     [](GgufBuilder &b) { b.set("tokenizer.ggml.merges", std::vector<float>{1}); },
     "the key \"tokenizer.ggml.merges\" has a value of type array of float32 instead of an array "
     "of string"},
    {"NoSpace", [](GgufBuilder &b) { set_merges(b, {"a b", "ab"}); },
     "merge 1 is \"ab\" instead of two texts with a space between"},
    {"NothingBeforeTheSpace", [](GgufBuilder &b) { set_merges(b, {" b"}); },
     "merge 0 is \" b\" instead of two texts with a space between"},
    {"NothingBehindTheSpace", [](GgufBuilder &b) { set_merges(b, {"ab "}); },
     "merge 0 is \"ab \" instead of two texts with a space between"},
    {"EmptyMerge", [](GgufBuilder &b) { set_merges(b, {""}); },
     "merge 0 is \"\" instead of two texts with a space between"},
    {"TwoSpaces", [](GgufBuilder &b) { set_merges(b, {"a b c"}); },
     "merge 0 is \"a b c\", and \"b c\" is no token"},
    {"UnknownLeft", [](GgufBuilder &b) { set_merges(b, {"zz b"}); },
     "merge 0 is \"zz b\", and \"zz\" is no token"},
    {"UnknownRight", [](GgufBuilder &b) { set_merges(b, {"a b", "a zz"}); },
     "merge 1 is \"a zz\", and \"zz\" is no token"},
    {"JoinedIsUnknown", [](GgufBuilder &b) { set_merges(b, {"b a"}); },
     "merge 0 is \"b a\", and \"ba\" is no token"},
    {"ControlTokensAreNotMerged", [](GgufBuilder &b) { set_merges(b, {"<|end|> a"}); },
     "merge 0 is \"<|end|> a\", and \"<|end|>\" is no token"},
    {"Twice", [](GgufBuilder &b) { set_merges(b, {"a b", "b c", "a b"}); },
     "merge 2 is the same as merge 0"},
    {"TooMany", [](GgufBuilder &b) { set_merges(b, std::vector<std::string>((2 << 20) + 1)); },
     "2097153 merges are over 2097152"},
    {"NoTokenForAnyByte",
     [](GgufBuilder &b) {
         b.set("tokenizer.ggml.tokens", std::vector<std::string>{"<|end|>", "<|start|>", "xyz"});
         b.set("tokenizer.ggml.token_type", std::vector<int32_t>{3, 3, 1});
     },
     "the vocabulary has no token for any byte"},
    {"FewerTypes",
     [](GgufBuilder &b) { b.set("tokenizer.ggml.token_type", std::vector<int32_t>(7)); },
     "the vocabulary has 260 tokens but 7 types"},
};

class MalformedByteVocabulary : public ::testing::TestWithParam<BadFile> {};

TEST_P(MalformedByteVocabulary, IsRefusedWithItsSentence) {
    testing::expect_refused(GetParam(),
                            ByteTokenizer::builder_of({.merges = {{"a", "b"}, {"b", "c"}}}),
                            testing::make_tokenizer);
}
INSTANTIATE_TEST_SUITE_P(Catalogue, MalformedByteVocabulary, ::testing::ValuesIn(kCatalogue),
                         [](const auto &param) { return param.param.name; });

// ---------------------------------------------------------------- encoding

TEST(BpeVocabulary, TheEarliestMergeComesFirstAndTheLeftmostAmongEquals) {
    const ByteTokenizer t(
        ByteVocabulary{.merges = {{"b", "c"}, {"a", "a"}, {"a", "b"}, {"aa", "bc"}}});
    EXPECT_EQ(t.encode("abc"), (Tokens{t.id("a"), t.id("bc")}));
    EXPECT_EQ(t.encode("aaa"), (Tokens{t.id("aa"), t.id("a")}));
    EXPECT_EQ(t.encode("aabc"), Tokens{t.id("aabc")});
    EXPECT_EQ(t.encode("aaab"), (Tokens{t.id("aa"), t.id("ab")}));
}

TEST(BpeVocabulary, TwoMergesMayMakeOneToken) {
    const ByteTokenizer t(ByteVocabulary{
        .merges = {{"a", "b"}, {"b", "c"}, {"ab", "c"}, {"a", "bc"}, {"x", "b"}, {"xb", "c"}}});
    EXPECT_EQ(t.encode("abc"), Tokens{t.id("abc")});
    EXPECT_EQ(t.encode("xbc"), (Tokens{t.id("x"), t.id("bc")}));
}

TEST(BpeVocabulary, NoMergeCrossesWords) {
    const ByteTokenizer t(ByteVocabulary{.merges = {{"a", " "}, {" ", "a"}}});
    EXPECT_EQ(t.encode("a a"), (Tokens{t.id("a"), t.id(" a")}));
}

TEST(BpeVocabulary, AWholeWordIsTakenWhereTheModelDoes) {
    ByteVocabulary vocabulary{.merges = {{"b", "c"}}, .more = {"abc", " \xC3\xA9"}};
    EXPECT_EQ(ByteTokenizer(vocabulary).encode("abc").size(), 2u);
    vocabulary.pre = "llama-bpe";
    const ByteTokenizer t(vocabulary);
    EXPECT_EQ(t.encode("abc \xC3\xA9 abcd"), (Tokens{0, t.id("abc"), t.id(" \xC3\xA9"), t.id(" "),
                                                     t.id("a"), t.id("bc"), t.id("d")}));
    EXPECT_EQ(t.encode(std::string(3000, 'a')).size(), 3001u);  // longer than any token can be
}

TEST(BpeVocabulary, BytesWithoutATokenAreLeftOut) {
    const ByteTokenizer t(ByteVocabulary{.merges = {{"a", "c"}}, .without = "b\xFF"});
    EXPECT_EQ(t.encode("abc"), Tokens{t.id("ac")});
    EXPECT_EQ(t.encode("\xFF"
                       "b"),
              Tokens{});
    EXPECT_EQ(t.encode("ab b c"), (Tokens{t.id("a"), t.id(" "), t.id(" "), t.id("c")}));
    EXPECT_EQ(t->encode("bbbb", std::span<Token>()).value(), 0u);
}

TEST(BpeVocabulary, EqualsItsSlowTwinOnRandomTexts) {
    std::mt19937 random(12);
    const std::vector<std::string> letters = {" ", "a",  "b",        "c",    "1",
                                              "'", "'s", "\xC3\xA9", "\xFF", "\n"};
    for (int round = 0; round < 15; ++round) {
        ByteVocabulary vocabulary =
            random_vocabulary(random, testing::kPreNames[round % 5], 20 + round * 8);
        if (round % 4 == 3) {
            vocabulary.without = "z\xFF";
        }
        GgufBuilder builder = ByteTokenizer::builder_of(vocabulary);
        builder.set("tokenizer.ggml.add_bos_token", false);
        const ByteTokenizer t(builder);
        for (int i = 0; i < 40; ++i) {
            std::string text;
            for (size_t count = random() % 120; count-- > 0;) {
                text += letters[random() % letters.size()];
            }
            const Tokens tokens = t.encode(text);
            ASSERT_EQ(tokens, encode_bytes_slowly(vocabulary, *t, text))
                << vocabulary.pre << " " << ::testing::PrintToString(text);
            if (utf8_valid(text)) {
                ASSERT_EQ(t.decode(tokens), text);
            }
        }
    }
}

}  // namespace
}  // namespace bareflow::llama
