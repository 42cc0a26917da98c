// Special ids, kinds and equal texts, and a catalogue of bad vocabularies: each is refused with its
// sentence.
#include "llama/text/vocabulary.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/unit/llama/file/refused_file.h"
#include "tests/unit/llama/text/made_tokenizers.h"

namespace bareflow::llama {
namespace {

using testing::add_vocabulary;
using testing::BadFile;
using testing::CharacterTokenizer;
using testing::GgufBuilder;
using testing::kSpaceText;
using testing::vocabulary_builder;

TEST(VocabularyTest, MissingIdsAreTheUsualOnesWhereTheyFit) {
    GgufBuilder builder = vocabulary_builder({"a"});
    builder.remove("tokenizer.ggml.bos_token_id");
    builder.remove("tokenizer.ggml.eos_token_id");
    builder.remove("tokenizer.ggml.unknown_token_id");
    const CharacterTokenizer t(builder);
    EXPECT_EQ(t->bos(), 1);
    EXPECT_EQ(t->eos(), 2);
    EXPECT_EQ(t->unknown(), 0);
}

TEST(VocabularyTest, WithoutTypesTheTextsTell) {
    GgufBuilder builder = vocabulary_builder({kSpaceText, "a", "<", "s", ">", "<s", "s>"});
    builder.remove("tokenizer.ggml.token_type");
    const CharacterTokenizer t(builder);
    EXPECT_EQ(t->kind(0), TokenKind::kUnknown);
    EXPECT_EQ(t->kind(1), TokenKind::kControl);
    EXPECT_EQ(t->kind(3 + 0x41), TokenKind::kByte);
    EXPECT_EQ(t->kind(259), TokenKind::kNormal);
    EXPECT_EQ(t.decode(t.encode("a<s>B")), "a<s>B");
}

TEST(VocabularyTest, TheLaterOfTwoEqualTextsCounts) {
    const CharacterTokenizer t(vocabulary_builder({"a", "b", "a"}));
    EXPECT_EQ(t->find("a"), 261);
}

class MalformedVocabulary : public ::testing::TestWithParam<BadFile> {};

TEST_P(MalformedVocabulary, IsRefusedWithItsSentence) {
    testing::expect_refused(GetParam(), vocabulary_builder({"a", "b", "ab"}),
                            testing::make_tokenizer);
}

void set_texts(GgufBuilder &builder, size_t index, const std::string &text) {
    std::vector<std::string> texts(262, "x");
    texts[index] = text;
    builder.set("tokenizer.ggml.tokens", texts);
}

const BadFile kCatalogue[] = {
    {"NoModel", [](GgufBuilder &b) { b.remove("tokenizer.ggml.model"); },
     "the model file lacks the key \"tokenizer.ggml.model\"", ErrorCode::kNotFound},
    {"OtherModel", [](GgufBuilder &b) { b.set("tokenizer.ggml.model", "bert"); },
     "a vocabulary of kind \"bert\" is not supported; supported: llama, gpt2",
     ErrorCode::kUnsupported},
    {"NoTokens", [](GgufBuilder &b) { b.remove("tokenizer.ggml.tokens"); },
     "the model file lacks the key \"tokenizer.ggml.tokens\"", ErrorCode::kNotFound},
    {"TokensAreNumbers",
     [](GgufBuilder &b) { b.set("tokenizer.ggml.tokens", std::vector<float>{1}); },
     "the key \"tokenizer.ggml.tokens\" has a value of type array of float32 instead of an array "
     "of string"},
    {"EmptyVocabulary",
     [](GgufBuilder &b) { b.set("tokenizer.ggml.tokens", std::vector<std::string>{}); },
     "a vocabulary of 0 tokens is outside 1 to 1048576"},
    {"HugeVocabulary",
     [](GgufBuilder &b) {
         b.set("tokenizer.ggml.tokens", std::vector<std::string>((1 << 20) + 1, "x"));
     },
     "a vocabulary of 1048577 tokens is outside 1 to 1048576"},
    {"NoScores", [](GgufBuilder &b) { b.remove("tokenizer.ggml.scores"); },
     "the model file lacks the key \"tokenizer.ggml.scores\"", ErrorCode::kNotFound},
    {"FewerScores", [](GgufBuilder &b) { b.set("tokenizer.ggml.scores", std::vector<float>(261)); },
     "the vocabulary has 262 tokens but 261 scores"},
    {"MoreTypes",
     [](GgufBuilder &b) { b.set("tokenizer.ggml.token_type", std::vector<int32_t>(263)); },
     "the vocabulary has 262 tokens but 263 types"},
    {"TypesAreStrings", [](GgufBuilder &b) { b.set("tokenizer.ggml.token_type", "1"); },
     "the key \"tokenizer.ggml.token_type\" has a value of type string instead of an array of "
     "int32"},
    {"UnknownType",
     [](GgufBuilder &b) { b.set("tokenizer.ggml.token_type", std::vector<int32_t>(262, 7)); },
     "token 0 is of unknown type 7"},
    {"ScoreIsNoNumber",
     [](GgufBuilder &b) {
         b.set("tokenizer.ggml.scores", std::vector<float>(262, __builtin_nanf("")));
     },
     "the score of token 0 is not a number"},
    {"LongText", [](GgufBuilder &b) { set_texts(b, 260, std::string(1025, 'x')); },
     "token 260 has a text of 1025 bytes, over 1024"},
    {"TextIsNoUtf8", [](GgufBuilder &b) { set_texts(b, 7, "a\xE2\x96"); },
     "the text of token 7 is not UTF-8"},
    {"ByteTokenOfAnotherForm", [](GgufBuilder &b) { set_texts(b, 3, "<0xG0>"); },
     "the byte token 3 is \"<0xG0>\" instead of <0xNN>"},
    {"BosOutside", [](GgufBuilder &b) { b.set("tokenizer.ggml.bos_token_id", 262u); },
     "tokenizer.ggml.bos_token_id is 262, outside the vocabulary of 262 tokens"},
    {"EosIsAString", [](GgufBuilder &b) { b.set("tokenizer.ggml.eos_token_id", "</s>"); },
     "the key \"tokenizer.ggml.eos_token_id\" has a value of type string instead of an integer"},
    {"EosNegative", [](GgufBuilder &b) { b.set("tokenizer.ggml.eos_token_id", -2); },
     "the integer \"tokenizer.ggml.eos_token_id\" is out of range"},
    {"AddBosIsANumber", [](GgufBuilder &b) { b.set("tokenizer.ggml.add_bos_token", 1u); },
     "the key \"tokenizer.ggml.add_bos_token\" has a value of type uint32 instead of a bool"},
    {"NeitherBytesNorUnknown",
     [](GgufBuilder &b) {
         add_vocabulary(b, {"a"}, false);
         b.set("tokenizer.ggml.unknown_token_id", 4294967295u);
     },
     "the vocabulary has neither 256 byte tokens nor an unknown token"},
};
INSTANTIATE_TEST_SUITE_P(Catalogue, MalformedVocabulary, ::testing::ValuesIn(kCatalogue),
                         [](const auto &param) { return param.param.name; });

}  // namespace
}  // namespace bareflow::llama
