// Character vocabularies: against golden vectors of tests/golden/tokenizer.py and against a slow
// twin.
#include "llama/text/sentencepiece.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

#include "tests/unit/llama/text/made_tokenizers.h"
#include "tests/unit/llama/text/slow_tokenizer.h"

namespace bareflow::llama {
namespace {

using testing::CharacterTokenizer;
using testing::encode_slowly;
using testing::GgufBuilder;
using testing::kSpaceText;
using testing::random_pieces;
using testing::vocabulary_builder;

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

TEST(SentencePiece, EqualsTheGoldenVectors) {
    const std::map<std::string, Golden> all = read_golden();
    ASSERT_EQ(all.size(), 4u);
    for (const auto &[name, golden] : all) {
        SCOPED_TRACE(name);
        const CharacterTokenizer t(golden.builder);
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

TEST(SentencePiece, TheHighestScoreJoinsFirstAndTheLeftmostAmongEquals) {
    GgufBuilder builder = vocabulary_builder({"a", "aa", "b", "ab", "aab"});
    builder.set("tokenizer.ggml.add_space_prefix", false);
    builder.set("tokenizer.ggml.add_bos_token", false);
    const CharacterTokenizer t(builder);
    const auto id = [&](std::string_view text) { return t->find(text); };
    EXPECT_EQ(t.encode("aaa"), (std::vector<Token>{id("aa"), id("a")}));
    EXPECT_EQ(t.encode("aab"), (std::vector<Token>{id("aab")}));  // aa before ab, then aab
    EXPECT_EQ(t.encode("aaab"), (std::vector<Token>{id("aa"), id("ab")}));
}

TEST(SentencePiece, EqualsItsSlowTwinOnRandomTexts) {
    std::mt19937 random(3);
    for (int round = 0; round < 12; ++round) {
        const std::vector<std::string> letters = {kSpaceText, "a", "b", "c", "\xC3\xA4"};
        GgufBuilder builder = vocabulary_builder(random_pieces(random, letters, 20 + round * 10));
        if (round % 2 == 1) {  // many equal scores
            std::vector<float> scores(builder.entries.size());
            scores.assign(256 + 3 + letters.size() + 20 + round * 10, 0);
            for (float &score : scores) {
                score = -static_cast<float>(random() % 4);
            }
            builder.set("tokenizer.ggml.scores", scores);
        }
        const CharacterTokenizer t(builder);
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

TEST(SentencePiece, RandomUnicodeComesBack) {
    std::mt19937 random(4);
    const CharacterTokenizer t(vocabulary_builder(
        random_pieces(random, {kSpaceText, "a", "e", "t", "\xC3\xA4", "\xE4\xB8\xAD"}, 60)));
    for (int i = 0; i < 300; ++i) {
        const std::string text = random_unicode(random, random() % 80);
        const std::vector<Token> tokens = t.encode(text);
        ASSERT_EQ(t.decode(tokens), text) << ::testing::PrintToString(text);
        ASSERT_EQ(tokens, encode_slowly(*t, text)) << ::testing::PrintToString(text);
    }
}

TEST(SentencePiece, UnknownCharactersWithoutBytesAreOneTokenARun) {
    GgufBuilder builder = vocabulary_builder({"a", kSpaceText}, false);
    const CharacterTokenizer t(builder);
    EXPECT_EQ(t.encode("axyza!"), (std::vector<Token>{1, 4, 3, 0, 3, 0}));
    EXPECT_EQ(t.decode({1, 4, 3, 0, 3}), "a \xE2\x81\x87 a");
}

}  // namespace
}  // namespace bareflow::llama
