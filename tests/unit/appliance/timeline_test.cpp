#include "appliance/timeline.h"

#include <gtest/gtest.h>

namespace bareflow {
namespace {

constexpr uint64_t kStep = Timeline::kFirstStepUs;

TEST(TimelineTest, APointForEveryStep) {
    Timeline line;
    line.advance(kStep / 2, 3, 0);
    EXPECT_TRUE(line.points().empty());
    line.advance(kStep, 10, 2);
    ASSERT_EQ(line.points().size(), 1u);
    EXPECT_FLOAT_EQ(line.points()[0].end_s, 0.1f);
    EXPECT_DOUBLE_EQ(line.points()[0].per_second(), 10 / static_cast<double>(0.1f));
    EXPECT_EQ(line.points()[0].promotions, 2u);
    line.advance(3 * kStep, 10, 3);  // no token was made: the point grows
    EXPECT_EQ(line.points().size(), 1u);
    line.advance(4 * kStep, 11, 3);
    ASSERT_EQ(line.points().size(), 2u);
    EXPECT_EQ(line.points()[1].tokens, 1u);
    EXPECT_FLOAT_EQ(line.points()[1].took_s, 0.3f);
    EXPECT_EQ(line.points()[1].promotions, 1u);
}

// Tokens that take 45 ms, with advance() every 5 ms: no point has two tokens and the next one three
// at the same speed.
TEST(TimelineTest, ASteadySpeedIsALevelLine) {
    Timeline line;
    for (uint64_t ms = 0; ms <= 5000; ms += 5) {
        line.advance(ms * 1000, ms / 45, 0);
    }
    ASSERT_GT(line.points().size(), 20u);
    for (const status::TimelinePoint &point : line.points()) {
        EXPECT_NEAR(point.per_second(), 1000.0 / 45, 0.01);
    }
}

TEST(TimelineTest, KeepsAllOfThePast) {
    Timeline line;
    uint64_t tokens = 0;
    for (uint64_t step = 1; step <= 10'000; ++step) {
        line.advance(step * kStep, ++tokens, step / 10);
        ASSERT_LE(line.points().size(), Timeline::kMaxPoints);
    }
    EXPECT_GT(line.points().size(), Timeline::kMaxPoints / 2 - 1);
    uint64_t seen = 0;
    uint64_t promotions = 0;
    double took = 0;
    float before = 0;
    for (const status::TimelinePoint &point : line.points()) {
        seen += point.tokens;
        promotions += point.promotions;
        took += static_cast<double>(point.took_s);
        EXPECT_GT(point.end_s, before);
        before = point.end_s;
        EXPECT_NEAR(point.per_second(), 10.0, 0.01);
    }
    EXPECT_NEAR(static_cast<double>(seen), 10'000, 200);
    EXPECT_NEAR(static_cast<double>(promotions), 1'000, 20);
    EXPECT_NEAR(took, static_cast<double>(before), 0.1);
}

TEST(TimelineTest, BeginsAnewWhenCountersAreCleared) {
    Timeline line;
    line.advance(kStep, 10, 5);
    line.advance(2 * kStep, 20, 5);
    line.advance(2 * kStep + 1, 0, 0);
    EXPECT_TRUE(line.points().empty());
    line.advance(4 * kStep, 4, 1);
    ASSERT_EQ(line.points().size(), 1u);
    EXPECT_EQ(line.points()[0].tokens, 4u);
    line.clear(5 * kStep, 4, 1);
    EXPECT_TRUE(line.points().empty());
}

}  // namespace
}  // namespace bareflow
