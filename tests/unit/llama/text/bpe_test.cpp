#include "llama/text/bpe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <random>

#include "tests/unit/llama/file/gguf_builder.h"
#include "tests/unit/llama/file/refused_file.h"
#include "tests/unit/llama/text/loaded_tokenizer.h"
#include "tests/unit/llama/text/slow_byte_tokenizer.h"
#include "tests/unit/llama/text/slow_tokenizer.h"

namespace bareflow::llama {
namespace {

using testing::BadFile;
using testing::ByteVocabulary;
using testing::Detail;
using testing::encode_bytes_slowly;
using testing::encode_specials_slowly;
using testing::FileBytes;
using testing::GgufBuilder;
using testing::written;
using Tokens = std::vector<Token>;

class Bytes : public testing::LoadedTokenizer {
  public:
    explicit Bytes(const ByteVocabulary &vocabulary) : Bytes(builder_of(vocabulary)) {
        vocabulary_ = vocabulary;
    }
    explicit Bytes(const GgufBuilder &builder) : LoadedTokenizer(builder) {}

    static GgufBuilder builder_of(const ByteVocabulary &vocabulary) {
        GgufBuilder builder;
        vocabulary.write(builder);
        return builder;
    }
    [[nodiscard]] Token id(std::string_view bytes) const { return (*this)->find(written(bytes)); }
    [[nodiscard]] Tokens encode(std::string_view text,
                                SpecialTokens special = SpecialTokens::kAsText) const {
        return LoadedTokenizer::encode(text, text.size() + 2, special);
    }
    [[nodiscard]] const ByteVocabulary &vocabulary() const { return vocabulary_; }

  private:
    ByteVocabulary vocabulary_;
};

ByteVocabulary random_vocabulary(std::mt19937 &random, const std::string &pre, size_t count) {
    ByteVocabulary out;
    out.pre = pre;
    std::vector<std::string> symbols = {" ", "a", "b", "c", "1", "'", "s", "\n", "\xC3", "\xA9"};
    while (out.merges.size() < count) {
        const std::pair<std::string, std::string> merge = {symbols[random() % symbols.size()],
                                                           symbols[random() % symbols.size()]};
        if (merge.first.size() + merge.second.size() <= 12 &&
            std::ranges::find(out.merges, merge) == out.merges.end()) {
            out.merges.push_back(merge);
            symbols.push_back(merge.first + merge.second);
        }
    }
    return out;
}

// ---------------------------------------------------------------- vocabulary

TEST(ByteTokenizer, KnowsItsTokens) {
    GgufBuilder builder = Bytes::builder_of({.merges = {{"a", "b"}}});
    builder.set("tokenizer.ggml.eot_token_id", 1u);
    const Bytes t(builder);
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

TEST(ByteTokenizer, EveryByteIsWrittenAsItsCharacter) {
    const Bytes t(ByteVocabulary{});
    for (uint32_t byte = 0; byte < 256; ++byte) {
        const Token token = t->byte_token(static_cast<uint8_t>(byte));
        ASSERT_EQ(t->text(token), testing::written_byte(static_cast<uint8_t>(byte)));
        char out[Tokenizer::kMaxPieceBytes];
        ASSERT_EQ(t->piece(token, out), 1u);
        ASSERT_EQ(static_cast<uint8_t>(out[0]), byte);
    }
}

TEST(ByteTokenizer, BosIsAddedWhereTheFileOrItsKindSaysSo) {
    for (const char *pre : testing::kPreNames) {
        GgufBuilder builder = Bytes::builder_of({.pre = pre});
        EXPECT_EQ(Bytes(builder)->adds_bos(), std::string(pre) == "llama-bpe");
        builder.set("tokenizer.ggml.add_bos_token", true);
        EXPECT_EQ(Bytes(builder).encode("a").front(), 0);
        builder.set("tokenizer.ggml.add_bos_token", false);
        builder.set("tokenizer.ggml.add_eos_token", true);
        const Bytes t(builder);
        EXPECT_EQ(t.encode("a"), (Tokens{t.id("a"), 0}));
        EXPECT_EQ(t.encode(""), Tokens{0});
    }
}

TEST(ByteTokenizer, WithoutAnAddSpacePrefixWhateverTheFileSays) {
    GgufBuilder builder = Bytes::builder_of({});
    builder.set("tokenizer.ggml.add_space_prefix", true);
    const Bytes t(builder);
    EXPECT_EQ(t.encode("a"), Tokens{t.id("a")});
    EXPECT_EQ(t.decode({t.id(" "), t.id("a")}), " a");
}

TEST(ByteTokenizer, NoPreTokenizerIsTheDefault) {
    GgufBuilder builder = Bytes::builder_of({.pre = "default", .merges = {{"'", "s"}}});
    builder.remove("tokenizer.ggml.pre");
    const Bytes t(builder);
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
    testing::expect_refused(GetParam(), Bytes::builder_of({.merges = {{"a", "b"}, {"b", "c"}}}),
                            testing::make_tokenizer);
}
INSTANTIATE_TEST_SUITE_P(Catalogue, MalformedByteVocabulary, ::testing::ValuesIn(kCatalogue),
                         [](const auto &param) { return param.param.name; });

// ---------------------------------------------------------------- encoding

TEST(ByteTokenizer, TheEarliestMergeComesFirstAndTheLeftmostAmongEquals) {
    const Bytes t(ByteVocabulary{.merges = {{"b", "c"}, {"a", "a"}, {"a", "b"}, {"aa", "bc"}}});
    EXPECT_EQ(t.encode("abc"), (Tokens{t.id("a"), t.id("bc")}));
    EXPECT_EQ(t.encode("aaa"), (Tokens{t.id("aa"), t.id("a")}));
    EXPECT_EQ(t.encode("aabc"), Tokens{t.id("aabc")});
    EXPECT_EQ(t.encode("aaab"), (Tokens{t.id("aa"), t.id("ab")}));
}

TEST(ByteTokenizer, TwoMergesMayMakeOneToken) {
    const Bytes t(ByteVocabulary{
        .merges = {{"a", "b"}, {"b", "c"}, {"ab", "c"}, {"a", "bc"}, {"x", "b"}, {"xb", "c"}}});
    EXPECT_EQ(t.encode("abc"), Tokens{t.id("abc")});
    EXPECT_EQ(t.encode("xbc"), (Tokens{t.id("x"), t.id("bc")}));
}

TEST(ByteTokenizer, NoMergeCrossesWords) {
    const Bytes t(ByteVocabulary{.merges = {{"a", " "}, {" ", "a"}}});
    EXPECT_EQ(t.encode("a a"), (Tokens{t.id("a"), t.id(" a")}));
}

TEST(ByteTokenizer, AWholeWordIsTakenWhereTheModelDoes) {
    ByteVocabulary vocabulary{.merges = {{"b", "c"}}, .more = {"abc", " \xC3\xA9"}};
    EXPECT_EQ(Bytes(vocabulary).encode("abc").size(), 2u);
    vocabulary.pre = "llama-bpe";
    const Bytes t(vocabulary);
    EXPECT_EQ(t.encode("abc \xC3\xA9 abcd"), (Tokens{0, t.id("abc"), t.id(" \xC3\xA9"), t.id(" "),
                                                     t.id("a"), t.id("bc"), t.id("d")}));
    EXPECT_EQ(t.encode(std::string(3000, 'a')).size(), 3001u);  // longer than any token can be
}

TEST(ByteTokenizer, BytesWithoutATokenAreLeftOut) {
    const Bytes t(ByteVocabulary{.merges = {{"a", "c"}}, .without = "b\xFF"});
    EXPECT_EQ(t.encode("abc"), Tokens{t.id("ac")});
    EXPECT_EQ(t.encode("\xFF"
                       "b"),
              Tokens{});
    EXPECT_EQ(t.encode("ab b c"), (Tokens{t.id("a"), t.id(" "), t.id(" "), t.id("c")}));
    EXPECT_EQ(t->encode("bbbb", std::span<Token>()).value(), 0u);
}

TEST(ByteTokenizer, EqualsItsSlowTwinOnRandomTexts) {
    std::mt19937 random(12);
    const std::vector<std::string> letters = {" ", "a",  "b",        "c",    "1",
                                              "'", "'s", "\xC3\xA9", "\xFF", "\n"};
    for (int round = 0; round < 15; ++round) {
        ByteVocabulary vocabulary =
            random_vocabulary(random, testing::kPreNames[round % 5], 20 + round * 8);
        if (round % 4 == 3) {
            vocabulary.without = "z\xFF";
        }
        GgufBuilder builder = Bytes::builder_of(vocabulary);
        builder.set("tokenizer.ggml.add_bos_token", false);
        const Bytes t(builder);
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

TEST(ByteTokenizer, SlicesOfAnySizeGiveTheSame) {
    std::mt19937 random(13);
    for (const char *pre : testing::kPreNames) {
        ByteVocabulary vocabulary = random_vocabulary(random, pre, 60);
        vocabulary.user_defined = {"ca"};
        const Bytes t(vocabulary);
        std::string text;
        while (text.size() < 400) {
            text += " abcz1'\n"[random() % 8];
        }
        t.expect_the_same_in_slices(text, t.encode(text));
    }
}

TEST(ByteTokenizer, WhatDoesNotFitIsRefused) {
    const Bytes t(ByteVocabulary{.merges = {{"a", "b"}, {" ", "ab"}}});
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

// As the SentencePiece twin of this test.
TEST(ByteTokenizer, HostileTextsTakeNoQuadraticTime) {
    ByteVocabulary vocabulary{.pre = "llama-bpe"};
    for (std::string run = "a"; run.size() < 1024; run += run) {
        vocabulary.merges.emplace_back(run, run);
    }
    vocabulary.merges.emplace_back(" ", " ");
    vocabulary.merges.emplace_back("\n", "\n");
    vocabulary.user_defined = {std::string(200, '<') + ">"};
    const Bytes t(vocabulary);
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
    const Bytes t(ByteVocabulary{.pre = "smollm", .user_defined = {"<u>"}});
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
    const Bytes t(ByteVocabulary{.control = {"<e>", "ab", "abcd", "bcde"},
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
    const Bytes t(
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
        GgufBuilder builder = Bytes::builder_of(vocabulary);
        builder.set("tokenizer.ggml.add_bos_token", false);
        const Bytes t(builder);
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
    const Bytes t(builder);
    // A space is put before every piece of text between them.
    EXPECT_EQ(t.encode("a<s>a</s><u>a", SpecialTokens::kParsed),
              (Tokens{1, 261, 1, 261, 2, 262, 261}));
    EXPECT_EQ(t.encode("<u>a"), (Tokens{1, 262, 261}));
    EXPECT_EQ(t.encode("<s>"), (Tokens{1, 259, 3 + '<', 3 + 's', 3 + '>'}));
    EXPECT_EQ(t.encode("<s>", SpecialTokens::kParsed), (Tokens{1, 1}));
}

// ---------------------------------------------------------------- decoding

TEST(ByteStreamDecoder, GivesWholeCharactersOnly) {
    const Bytes t(ByteVocabulary{.merges = {{"\x9F", "\x98"}, {"\xA9", "\xC3"}}});
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
    const Bytes t(ByteVocabulary{.user_defined = {"a\xC4\xA0"
                                                  "b",
                                                  "\xE4\xB8\xAD x"}});
    EXPECT_EQ(t.decode({t->find_special("a\xC4\xA0"
                                        "b"),
                        t->find_special("\xE4\xB8\xAD x")}),
              "a\xC4\xA0"
              "b\xE4\xB8\xAD x");
    GgufBuilder builder = Bytes::builder_of({});
    std::vector<std::string> texts(258, "x");
    texts[7] = "\xE4\xB8\xAD \xC4\xA0";
    texts[8] = "\xC4\xA0y";
    builder.set("tokenizer.ggml.tokens", texts);
    EXPECT_EQ(Bytes(builder).decode({7, 8}), "\xE4\xB8\xAD \xC4\xA0 y");
}

}  // namespace
}  // namespace bareflow::llama
