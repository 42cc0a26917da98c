#include "llama/engine/random_generator.h"

#include <gtest/gtest.h>

namespace bareflow::llama {
namespace {

TEST(RandomGeneratorTest, IsXoshiro256StarStarSeededBySplitmix64) {
    // The first values of the published pair of generators for seed 0.
    RandomGenerator generator(0);
    EXPECT_EQ(generator.next(), 11091344671253066420u);
    EXPECT_EQ(generator.next(), 13793997310169335082u);
    EXPECT_EQ(generator.next(), 1900383378846508768u);
}

TEST(RandomGeneratorTest, UniformIsInRangeAndFair) {
    RandomGenerator generator(7);
    double sum = 0;
    for (int i = 0; i < 100000; ++i) {
        const float u = generator.uniform();
        ASSERT_GE(u, 0.0f);
        ASSERT_LT(u, 1.0f);
        sum += u;
    }
    EXPECT_NEAR(sum / 100000, 0.5, 0.005);
}

TEST(RandomGeneratorTest, SeedsTellTextsApart) {
    RandomGenerator one(1);
    RandomGenerator again(1);
    RandomGenerator other(2);
    uint32_t equal = 0;
    for (int i = 0; i < 100; ++i) {
        const uint64_t value = one.next();
        EXPECT_EQ(again.next(), value);
        equal += other.next() == value ? 1 : 0;
    }
    EXPECT_EQ(equal, 0u);
}

}  // namespace
}  // namespace bareflow::llama
