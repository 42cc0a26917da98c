#include "llama/text/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <map>
#include <random>
#include <sstream>

#include "tests/unit/llama/file/gguf_builder.h"
#include "tests/unit/llama/file/refused_file.h"
#include "tests/unit/llama/text/loaded_tokenizer.h"
#include "tests/unit/llama/text/slow_tokenizer.h"

namespace bareflow::llama {
namespace {

using testing::add_vocabulary;
using testing::BadFile;
using testing::Detail;
using testing::encode_slowly;
using testing::FileBytes;
using testing::GgufBuilder;

constexpr const char *kSpace = "\xE2\x96\x81";  // U+2581

class Vocabulary : public testing::LoadedTokenizer {
  public:
    using LoadedTokenizer::LoadedTokenizer;

    [[nodiscard]] std::vector<Token> encode(std::string_view text) const {
        return LoadedTokenizer::encode(text, text.size() * 4 + 8);
    }
};

GgufBuilder vocabulary_builder(const std::vector<std::string> &pieces, bool bytes = true) {
    GgufBuilder builder;
    add_vocabulary(builder, pieces, bytes);
    return builder;
}

std::vector<std::string> random_pieces(std::mt19937 &random,
                                       const std::vector<std::string> &letters, size_t joins) {
    std::vector<std::string> pieces = letters;
    while (pieces.size() < letters.size() + joins) {
        std::string piece = pieces[random() % pieces.size()] + pieces[random() % pieces.size()];
        if (piece.size() <= 16 && std::ranges::find(pieces, piece) == pieces.end()) {
            pieces.push_back(piece);
        }
    }
    return pieces;
}

std::string random_unicode(std::mt19937 &random, size_t characters) {
    std::string out;
    while (characters-- > 0) {
        const uint32_t kind = random() % 8;
        uint32_t c = kind < 4   ? 0x20 + random() % 0x5F
                     : kind < 5 ? random() % 0x800
                     : kind < 7 ? random() % 0x10000
                                : random() % 0x110000;
        if (c >= 0xD800 && c < 0xE000) {
            c = ' ';
        }
        if (c == 0x2581) {
            c = ' ';  // comes back as a space
        }
        if (c < 0x80) {
            out += static_cast<char>(c);
        } else if (c < 0x800) {
            out += {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 63))};
        } else if (c < 0x10000) {
            out += {static_cast<char>(0xE0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 63)),
                    static_cast<char>(0x80 | (c & 63))};
        } else {
            out += {static_cast<char>(0xF0 | c >> 18), static_cast<char>(0x80 | (c >> 12 & 63)),
                    static_cast<char>(0x80 | (c >> 6 & 63)), static_cast<char>(0x80 | (c & 63))};
        }
    }
    return out;
}

// ---------------------------------------------------------------- vocabulary

TEST(Tokenizer, KnowsItsTokens) {
    GgufBuilder builder = vocabulary_builder({"a", "b", "ab"});
    builder.set("tokenizer.ggml.eot_token_id", 2u);
    builder.set("tokenizer.ggml.seperator_token_id", 4294967295u);
    const Vocabulary t(builder);
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
        const Vocabulary t(builder);
        EXPECT_EQ(t->bos(), kNoToken);
        EXPECT_EQ(t->eos(), kNoToken);
        EXPECT_EQ(t->unknown(), kNoToken);
        EXPECT_FALSE(t->adds_bos());
        EXPECT_FALSE(t->ends_text(2));
    }
}

TEST(Tokenizer, MissingIdsAreTheUsualOnesWhereTheyFit) {
    GgufBuilder builder = vocabulary_builder({"a"});
    builder.remove("tokenizer.ggml.bos_token_id");
    builder.remove("tokenizer.ggml.eos_token_id");
    builder.remove("tokenizer.ggml.unknown_token_id");
    const Vocabulary t(builder);
    EXPECT_EQ(t->bos(), 1);
    EXPECT_EQ(t->eos(), 2);
    EXPECT_EQ(t->unknown(), 0);
}

TEST(Tokenizer, WithoutTypesTheTextsTell) {
    GgufBuilder builder = vocabulary_builder({kSpace, "a", "<", "s", ">", "<s", "s>"});
    builder.remove("tokenizer.ggml.token_type");
    const Vocabulary t(builder);
    EXPECT_EQ(t->kind(0), TokenKind::kUnknown);
    EXPECT_EQ(t->kind(1), TokenKind::kControl);
    EXPECT_EQ(t->kind(3 + 0x41), TokenKind::kByte);
    EXPECT_EQ(t->kind(259), TokenKind::kNormal);
    EXPECT_EQ(t.decode(t.encode("a<s>B")), "a<s>B");
}

TEST(Tokenizer, TheLaterOfTwoEqualTextsCounts) {
    const Vocabulary t(vocabulary_builder({"a", "b", "a"}));
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

// ---------------------------------------------------------------- golden vectors

std::string from_hex(const std::string &hex) {
    std::string out;
    for (size_t i = 0; hex != "-" && i + 1 < hex.size(); i += 2) {
        out += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
    }
    return out;
}

struct Golden {
    GgufBuilder builder;
    std::vector<std::pair<std::string, std::vector<Token>>> encode;
    std::vector<std::pair<std::vector<Token>, std::string>> decode;
};

// tests/golden/tokenizer.py says what the lines mean.
std::map<std::string, Golden> read_golden() {
    std::ifstream in("tests/golden/tokenizer_vectors.txt");
    EXPECT_TRUE(in) << "run the tests in the project's root folder";
    std::map<std::string, Golden> all;
    Golden *golden = nullptr;
    std::map<std::string,
             std::tuple<std::vector<std::string>, std::vector<float>, std::vector<int>>>
        vocabularies;
    std::string name;
    for (std::string line; std::getline(in, line);) {
        std::istringstream words(line);
        std::string word;
        words >> word;
        auto &[texts, scores, kinds] = vocabularies[name];
        if (word == "vocabulary") {
            bool bos, eos, space;
            words >> name >> bos >> eos >> space;
            golden = &all[name];
            golden->builder.set("tokenizer.ggml.add_bos_token", bos);
            golden->builder.set("tokenizer.ggml.add_eos_token", eos);
            golden->builder.set("tokenizer.ggml.add_space_prefix", space);
        } else if (word == "token") {
            std::string hex;
            float score;
            int kind;
            words >> kind >> score >> hex;
            texts.push_back(from_hex(hex));
            scores.push_back(score);
            kinds.push_back(kind);
        } else if (word == "bytes") {
            for (int byte = 0; byte < 256; ++byte) {
                char text[8];
                snprintf(text, sizeof text, "<0x%02X>", byte);
                texts.emplace_back(text);
                scores.push_back(0);
                kinds.push_back(6);
            }
        } else if (word == "encode") {
            words >> word;
            auto &[text, tokens] =
                golden->encode.emplace_back(from_hex(word), std::vector<Token>());
            words >> word;
            for (Token token; words >> token;) {
                tokens.push_back(token);
            }
        } else if (word == "decode") {
            auto &[tokens, text] = golden->decode.emplace_back();
            while (words >> word && word != "=") {
                tokens.push_back(std::stoi(word));
            }
            words >> word;
            text = from_hex(word);
        }
    }
    vocabularies.erase("");
    for (auto &[key, vocabulary] : vocabularies) {
        GgufBuilder &builder = all[key].builder;
        builder.set("tokenizer.ggml.model", "llama");
        builder.set("tokenizer.ggml.tokens", std::get<0>(vocabulary));
        builder.set("tokenizer.ggml.scores", std::get<1>(vocabulary));
        builder.set("tokenizer.ggml.token_type", std::get<2>(vocabulary));
    }
    return all;
}

TEST(Tokenizer, EqualsTheGoldenVectors) {
    const std::map<std::string, Golden> all = read_golden();
    ASSERT_EQ(all.size(), 4u);
    for (const auto &[name, golden] : all) {
        SCOPED_TRACE(name);
        const Vocabulary t(golden.builder);
        ASSERT_GT(golden.encode.size(), 50u);
        for (const auto &[text, tokens] : golden.encode) {
            EXPECT_EQ(t.encode(text), tokens) << ::testing::PrintToString(text);
        }
        ASSERT_GE(golden.decode.size(), 30u);
        for (const auto &[tokens, text] : golden.decode) {
            EXPECT_EQ(t.decode(tokens), text) << ::testing::PrintToString(tokens);
        }
    }
}

// ---------------------------------------------------------------- encoding

TEST(Tokenizer, TheHighestScoreJoinsFirstAndTheLeftmostAmongEquals) {
    GgufBuilder builder = vocabulary_builder({"a", "aa", "b", "ab", "aab"});
    builder.set("tokenizer.ggml.add_space_prefix", false);
    builder.set("tokenizer.ggml.add_bos_token", false);
    const Vocabulary t(builder);
    const auto id = [&](std::string_view text) { return t->find(text); };
    EXPECT_EQ(t.encode("aaa"), (std::vector<Token>{id("aa"), id("a")}));
    EXPECT_EQ(t.encode("aab"), (std::vector<Token>{id("aab")}));  // aa before ab, then aab
    EXPECT_EQ(t.encode("aaab"), (std::vector<Token>{id("aa"), id("ab")}));
}

TEST(Tokenizer, ControlTokensInATextAreText) {
    GgufBuilder builder = vocabulary_builder({kSpace, "<", "s", ">", "<s", "s>", "/"});
    const Vocabulary t(builder);
    for (const std::string text : {"<s>", "</s>", "<unk>", "a<s>b</s>"}) {
        const std::vector<Token> tokens = t.encode(text);
        EXPECT_EQ(tokens[0], 1);
        EXPECT_EQ(std::ranges::count_if(tokens, [](Token token) { return token <= 2; }), 1) << text;
        EXPECT_EQ(t.decode(tokens), text);
    }
}

TEST(Tokenizer, AnEmptyTextIsBosOnly) {
    EXPECT_EQ(Vocabulary(vocabulary_builder({"a"})).encode(""), std::vector<Token>{1});
    GgufBuilder builder = vocabulary_builder({"a"});
    builder.set("tokenizer.ggml.add_eos_token", true);
    EXPECT_EQ(Vocabulary(builder).encode(""), (std::vector<Token>{1, 2}));
}

TEST(Tokenizer, EqualsItsSlowTwinOnRandomTexts) {
    std::mt19937 random(3);
    for (int round = 0; round < 12; ++round) {
        const std::vector<std::string> letters = {kSpace, "a", "b", "c", "\xC3\xA4"};
        GgufBuilder builder = vocabulary_builder(random_pieces(random, letters, 20 + round * 10));
        if (round % 2 == 1) {  // many equal scores
            std::vector<float> scores(builder.entries.size());
            scores.assign(256 + 3 + letters.size() + 20 + round * 10, 0);
            for (float &score : scores) {
                score = -static_cast<float>(random() % 4);
            }
            builder.set("tokenizer.ggml.scores", scores);
        }
        const Vocabulary t(builder);
        for (int i = 0; i < 60; ++i) {
            std::string text;
            const size_t len = random() % 300;
            while (text.size() < len) {
                const size_t letter = random() % (letters.size() + 1);
                text += letter == 0 ? " " : letter == letters.size() ? "z" : letters[letter];
            }
            ASSERT_EQ(t.encode(text), encode_slowly(*t, text)) << text;
        }
    }
}

TEST(Tokenizer, RandomUnicodeComesBack) {
    std::mt19937 random(4);
    const Vocabulary t(vocabulary_builder(
        random_pieces(random, {kSpace, "a", "e", "t", "\xC3\xA4", "\xE4\xB8\xAD"}, 60)));
    for (int i = 0; i < 300; ++i) {
        const std::string text = random_unicode(random, random() % 80);
        const std::vector<Token> tokens = t.encode(text);
        ASSERT_EQ(t.decode(tokens), text) << ::testing::PrintToString(text);
        ASSERT_EQ(tokens, encode_slowly(*t, text)) << ::testing::PrintToString(text);
    }
}

TEST(Tokenizer, SlicesOfAnySizeGiveTheSame) {
    std::mt19937 random(5);
    const Vocabulary t(vocabulary_builder(random_pieces(random, {kSpace, "a", "b", "c"}, 40)));
    std::string text;
    while (text.size() < 500) {
        text += " abcz"[random() % 5];
    }
    t.expect_the_same_in_slices(text, t.encode(text));
}

TEST(Tokenizer, WhatDoesNotFitIsRefused) {
    const Vocabulary t(vocabulary_builder({"a", "b", "ab", kSpace, std::string(kSpace) + "a"}));
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

TEST(Tokenizer, TextsOverTheLimitAreRefused) {
    const Vocabulary t(vocabulary_builder({"a"}));
    std::vector<Token> out(3 << 20);
    const std::string text(Tokenizer::kMaxTextBytes + 1, 'a');
    EXPECT_EQ(t->encode(text, out).error().message, "the text is longer than 1 MiB");
    EXPECT_TRUE(t->encode(std::string_view(text).substr(1), out));
}

// Long texts made to be slow: one run in which everything joins. A quadratic encoder needs many
// minutes for these; the bound is generous because tests run sanitized on busy machines.
TEST(Tokenizer, HostileTextsTakeNoQuadraticTime) {
    std::vector<std::string> pieces = {"a", "b", kSpace};
    for (std::string run = "aa"; run.size() <= 1024; run += run) {
        pieces.push_back(run);
    }
    for (std::string run = "ab"; run.size() <= 64; run += "ab") {
        pieces.push_back(run);
    }
    const Vocabulary t(vocabulary_builder(pieces));
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
    // What cannot fit is given up early, long before all is looked at.
    const auto begin = std::chrono::steady_clock::now();
    std::vector<Token> few(64);
    EXPECT_FALSE(t->encode(mixed, few));
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

TEST(Tokenizer, UnknownCharactersWithoutBytesAreOneTokenARun) {
    GgufBuilder builder = vocabulary_builder({"a", kSpace}, false);
    const Vocabulary t(builder);
    EXPECT_EQ(t.encode("axyza!"), (std::vector<Token>{1, 4, 3, 0, 3, 0}));
    EXPECT_EQ(t.decode({1, 4, 3, 0, 3}), "a \xE2\x81\x87 a");
}

// ---------------------------------------------------------------- decoding

TEST(StreamDecoder, TakesOffTheSpaceOnlyAtTheStartOfAText) {
    const Vocabulary t(vocabulary_builder({kSpace, "a", std::string(kSpace) + "a"}));
    const Token spaced = t->find(std::string(kSpace) + "a");
    EXPECT_EQ(t.decode({1, spaced, spaced}), "a a");
    EXPECT_EQ(t.decode({spaced, spaced}), "a a");
    EXPECT_EQ(t.decode({spaced, spaced}, StreamDecoder::Start::kContinuation), " a a");
    EXPECT_EQ(t.decode({t->byte_token(' '), spaced}), "  a");
    EXPECT_EQ(t.decode({1, 2, 1}), "");
}

TEST(StreamDecoder, HoldsBytesBackUntilTheCharacterIsWhole) {
    const Vocabulary t(vocabulary_builder({"a"}));
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
    const Vocabulary t(vocabulary_builder({longest}));
    StreamDecoder decoder(*t, StreamDecoder::Start::kText);
    for (const int byte : {0xF0, 0x9F, 0x98}) {
        EXPECT_EQ(decoder.put(t->byte_token(static_cast<uint8_t>(byte))), "");
    }
    EXPECT_EQ(decoder.put(259), "\xEF\xBF\xBD" + longest);
}

}  // namespace
}  // namespace bareflow::llama
