// The chain alone, with joins that the test makes up.
#include "llama/text/symbol_chain.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace bareflow::llama {
namespace {

constexpr uint32_t kNone = SymbolChain::kNone;

std::vector<std::string> texts_of(const SymbolChain &chain) {
    std::vector<std::string> out;
    for (uint32_t i = 0; i != kNone; i = chain[i].next) {
        out.emplace_back(chain.text(chain[i]));
    }
    return out;
}

void fill(SymbolChain &chain, const std::vector<std::string> &texts) {
    size_t bytes = 0;
    for (const std::string &text : texts) {
        bytes += text.size();
    }
    ASSERT_TRUE(chain.start(static_cast<uint32_t>(texts.size()), static_cast<uint32_t>(bytes)));
    for (const std::string &text : texts) {
        EXPECT_FALSE(chain.complete());
        chain.add(text);
    }
    EXPECT_TRUE(chain.complete());
}

TEST(SymbolChain, JoinsNeighboursAndKeepsTheOrder) {
    SymbolChain chain;
    fill(chain, {"a", "b", "\xC3\xA4", "d"});
    EXPECT_EQ(chain.text_of_pair(chain[1]), "b\xC3\xA4");
    chain.set_join(1, {7, 1.0f});
    EXPECT_EQ(chain.best_join(), 1u);
    chain.join(1);
    EXPECT_EQ(chain[1].token, 7);
    EXPECT_EQ(texts_of(chain), (std::vector<std::string>{"a", "b\xC3\xA4", "d"}));
    EXPECT_EQ(chain[3].previous, 1u);
    chain.set_join(1, {});
    EXPECT_EQ(chain.best_join(), kNone);
}

TEST(SymbolChain, OneSymbolHasNoJoin) {
    SymbolChain chain;
    fill(chain, {"a"});
    EXPECT_EQ(chain[0].next, kNone);
    EXPECT_EQ(chain.best_join(), kNone);
}

TEST(SymbolChain, BytesAreTokensAtOnce) {
    SymbolChain chain;
    ASSERT_TRUE(chain.start(2, 0));
    chain.add(Token{5});
    chain.add(Token{6});
    EXPECT_TRUE(chain.complete());
    EXPECT_EQ(chain[0].token, 5);
    EXPECT_EQ(chain[0].next, 1u);
    EXPECT_EQ(chain[1].token, 6);
    EXPECT_EQ(chain[1].next, kNone);
}

// Chains of all lengths, in memory that other chains used before: the tree must find the join that
// a look at all symbols finds.
TEST(SymbolChain, TheBestJoinIsTheLeftmostOfTheHighest) {
    std::mt19937 random(1);
    SymbolChain chain;
    for (uint32_t round = 0; round < 60; ++round) {
        const auto count = static_cast<uint32_t>(1 + random() % 200);
        fill(chain, std::vector<std::string>(count, "x"));
        const auto set = [&](uint32_t left) {
            const bool possible = chain[left].next != kNone && random() % 3 != 0;
            const auto score = static_cast<float>(random() % 5);
            chain.set_join(left, possible ? SymbolChain::Join{1, score} : SymbolChain::Join{});
        };
        for (uint32_t i = 0; i < count; ++i) {
            set(i);
        }
        for (;;) {
            uint32_t wanted = kNone;
            for (uint32_t i = 0; i != kNone; i = chain[i].next) {
                const SymbolChain::Join join = chain[i].join;
                if (join.token != kNoToken &&
                    (wanted == kNone || join.score > chain[wanted].join.score)) {
                    wanted = i;
                }
            }
            ASSERT_EQ(chain.best_join(), wanted) << count;
            if (wanted == kNone) {
                break;
            }
            chain.join(wanted);
            set(wanted);
            if (chain[wanted].previous != kNone) {
                set(chain[wanted].previous);
            }
        }
    }
}

}  // namespace
}  // namespace bareflow::llama
