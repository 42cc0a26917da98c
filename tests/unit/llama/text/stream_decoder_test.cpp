#include "llama/text/stream_decoder.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/unit/llama/text/made_tokenizers.h"

namespace bareflow::llama {
namespace {

using testing::ByteTokenizer;
using testing::ByteVocabulary;
using testing::CharacterTokenizer;
using testing::GgufBuilder;
using testing::kSpaceText;
using testing::vocabulary_builder;

TEST(StreamDecoder, TakesOffTheSpaceOnlyAtTheStartOfAText) {
    const CharacterTokenizer t(
        vocabulary_builder({kSpaceText, "a", std::string(kSpaceText) + "a"}));
    const Token spaced = t->find(std::string(kSpaceText) + "a");
    EXPECT_EQ(t.decode({1, spaced, spaced}), "a a");
    EXPECT_EQ(t.decode({spaced, spaced}), "a a");
    EXPECT_EQ(t.decode({spaced, spaced}, StreamDecoder::Start::kContinuation), " a a");
    EXPECT_EQ(t.decode({t->byte_token(' '), spaced}), "  a");
    EXPECT_EQ(t.decode({1, 2, 1}), "");
}

TEST(StreamDecoder, HoldsBytesBackUntilTheCharacterIsWhole) {
    const CharacterTokenizer t(vocabulary_builder({"a"}));
    StreamDecoder decoder(*t, StreamDecoder::Start::kText);
    EXPECT_EQ(decoder.put(t->byte_token(0xF0)), "");
    EXPECT_EQ(decoder.put(t->byte_token(0x9F)), "");
    EXPECT_EQ(decoder.put(t->byte_token(0x98)), "");
    EXPECT_EQ(decoder.put(t->byte_token(0x80)), "\xF0\x9F\x98\x80");
    EXPECT_EQ(decoder.put(t->byte_token(0xE2)), "");
    EXPECT_EQ(decoder.put(t->find("a")),
              "\xEF\xBF\xBD"
              "a");
    EXPECT_EQ(decoder.put(t->byte_token(0xC3)), "");
    EXPECT_EQ(decoder.finish(), "\xEF\xBF\xBD");
    EXPECT_EQ(decoder.finish(), "");
}

TEST(StreamDecoder, TheLongestPieceFitsBehindHeldBytes) {
    const std::string longest(Tokenizer::kMaxPieceBytes, 'x');
    const CharacterTokenizer t(vocabulary_builder({longest}));
    StreamDecoder decoder(*t, StreamDecoder::Start::kText);
    for (const int byte : {0xF0, 0x9F, 0x98}) {
        EXPECT_EQ(decoder.put(t->byte_token(static_cast<uint8_t>(byte))), "");
    }
    EXPECT_EQ(decoder.put(259), "\xEF\xBF\xBD" + longest);
}

TEST(ByteStreamDecoder, GivesWholeCharactersOnly) {
    const ByteTokenizer t(ByteVocabulary{.merges = {{"\x9F", "\x98"}, {"\xA9", "\xC3"}}});
    StreamDecoder decoder(*t, StreamDecoder::Start::kContinuation);
    EXPECT_EQ(decoder.put(t.id("\xF0")), "");
    EXPECT_EQ(decoder.put(t.id("\x9F\x98")), "");
    EXPECT_EQ(decoder.put(t.id("\x80")), "\xF0\x9F\x98\x80");
    EXPECT_EQ(decoder.put(t.id("\xC3")), "");
    EXPECT_EQ(decoder.put(t.id("\xA9\xC3")), "\xC3\xA9");
    EXPECT_EQ(decoder.put(t.id("a")),
              "\xEF\xBF\xBD"
              "a");
    EXPECT_EQ(decoder.put(t.id("\xC3")), "");
    EXPECT_EQ(decoder.put(0), "");  // a control token adds nothing
    EXPECT_EQ(decoder.finish(), "\xEF\xBF\xBD");
}

TEST(ByteStreamDecoder, ATextThatIsNotOfBytesMeansItself) {
    const ByteTokenizer t(ByteVocabulary{.user_defined = {"a\xC4\xA0"
                                                          "b",
                                                          "\xE4\xB8\xAD x"}});
    EXPECT_EQ(t.decode({t->find_special("a\xC4\xA0"
                                        "b"),
                        t->find_special("\xE4\xB8\xAD x")}),
              "a\xC4\xA0"
              "b\xE4\xB8\xAD x");
    GgufBuilder builder = ByteTokenizer::builder_of({});
    std::vector<std::string> texts(258, "x");
    texts[7] = "\xE4\xB8\xAD \xC4\xA0";
    texts[8] = "\xC4\xA0y";
    builder.set("tokenizer.ggml.tokens", texts);
    EXPECT_EQ(ByteTokenizer(builder).decode({7, 8}), "\xE4\xB8\xAD \xC4\xA0 y");
}

}  // namespace
}  // namespace bareflow::llama
