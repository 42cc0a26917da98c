// Sets of address ranges, compared with a bitmap after random changes.
#include "kernel_lib/memory/range_set.h"

#include <gtest/gtest.h>

#include <array>
#include <bitset>
#include <random>
#include <vector>

namespace bareflow {
namespace {

std::vector<AddressRange> list(const RangeSet &set) {
    return {set.ranges().begin(), set.ranges().end()};
}
using Ranges = std::vector<AddressRange>;

TEST(RangeSet, AddMergesWhatTouchesOrOverlaps) {
    std::array<AddressRange, 8> storage;
    RangeSet set(storage);
    EXPECT_TRUE(set.add({10, 20}));
    EXPECT_TRUE(set.add({30, 40}));
    EXPECT_EQ(list(set), (Ranges{{10, 20}, {30, 40}}));
    EXPECT_TRUE(set.add({20, 30}));
    EXPECT_EQ(list(set), (Ranges{{10, 40}}));
    EXPECT_TRUE(set.add({5, 100}));
    EXPECT_EQ(list(set), (Ranges{{5, 100}}));
    EXPECT_TRUE(set.add({0, 5}));
    EXPECT_EQ(list(set), (Ranges{{0, 100}}));
}

TEST(RangeSet, EmptyAndInvertedChangeNothing) {
    std::array<AddressRange, 2> storage;
    RangeSet set(storage);
    EXPECT_TRUE(set.add({5, 5}));
    EXPECT_TRUE(set.add({9, 5}));
    EXPECT_TRUE(set.ranges().empty());
    EXPECT_TRUE(set.add({0, 10}));
    EXPECT_TRUE(set.remove({9, 5}));
    EXPECT_EQ(list(set), (Ranges{{0, 10}}));
}

TEST(RangeSet, RemoveSplits) {
    std::array<AddressRange, 4> storage;
    RangeSet set(storage);
    set.add({0, 100});
    EXPECT_TRUE(set.remove({40, 60}));
    EXPECT_EQ(list(set), (Ranges{{0, 40}, {60, 100}}));
    EXPECT_TRUE(set.remove({30, 70}));
    EXPECT_EQ(list(set), (Ranges{{0, 30}, {70, 100}}));
    EXPECT_TRUE(set.remove({0, 200}));
    EXPECT_TRUE(set.ranges().empty());
}

TEST(RangeSet, FullStorageNeverKeepsWhatWasRemoved) {
    std::array<AddressRange, 1> storage;
    RangeSet set(storage);
    EXPECT_TRUE(set.add({0, 100}));
    EXPECT_FALSE(set.add({200, 300}));
    EXPECT_FALSE(set.remove({10, 20}));
    EXPECT_EQ(list(set), (Ranges{{20, 100}}));  // the smaller piece went
    EXPECT_FALSE(set.remove({90, 95}));
    EXPECT_EQ(list(set), (Ranges{{20, 90}}));
}

TEST(RangeSet, EndsOfTheAddressSpace) {
    std::array<AddressRange, 4> storage;
    RangeSet set(storage);
    constexpr uint64_t kLast = ~uint64_t{0};
    EXPECT_TRUE(set.add({kLast - 10, kLast}));
    EXPECT_TRUE(set.add({0, 1}));
    EXPECT_TRUE(set.contains({0, 1}));
    EXPECT_TRUE(set.overlaps({kLast - 1, kLast}));
    EXPECT_FALSE(set.overlaps({1, kLast - 10}));
}

// Against a bitmap, at random.
TEST(RangeSet, AgreesWithABitmap) {
    constexpr size_t kSize = 200;
    std::mt19937 random(7);
    for (int round = 0; round < 300; ++round) {
        std::array<AddressRange, kSize> storage;
        RangeSet set(storage);
        std::bitset<kSize> bits;
        for (int step = 0; step < 60; ++step) {
            const uint64_t begin = random() % kSize;
            const uint64_t end = begin + random() % (kSize - begin + 1);
            const bool add = random() % 2 == 0;
            EXPECT_TRUE(add ? set.add({begin, end}) : set.remove({begin, end}));
            for (uint64_t i = begin; i < end; ++i) {
                bits[i] = add;
            }
        }
        std::bitset<kSize> shown;
        uint64_t last_end = 0;
        bool first = true;
        for (const AddressRange &range : set.ranges()) {
            ASSERT_LT(range.begin, range.end);
            ASSERT_TRUE(first || range.begin > last_end) << "touching or unsorted";
            first = false;
            last_end = range.end;
            for (uint64_t i = range.begin; i < range.end; ++i) {
                shown[i] = true;
            }
        }
        ASSERT_EQ(shown, bits);
        ASSERT_EQ(set.total_bytes(), bits.count());
        for (uint64_t i = 0; i + 3 <= kSize; ++i) {
            const bool all = bits[i] && bits[i + 1] && bits[i + 2];
            const bool any = bits[i] || bits[i + 1] || bits[i + 2];
            ASSERT_EQ(set.contains({i, i + 3}), all);
            ASSERT_EQ(set.overlaps({i, i + 3}), any);
        }
    }
}

}  // namespace
}  // namespace bareflow
