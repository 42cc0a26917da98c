#include "llama/file/sort_numbers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace bareflow::llama {
namespace {

// The place breaks ties, as callers do that need a certain order of equals.
bool less(const void *keys, uint32_t a, uint32_t b) {
    const auto *values = static_cast<const int *>(keys);
    return values[a] != values[b] ? values[a] < values[b] : a < b;
}

TEST(SortNumbers, OrdersPlacesByWhatStandsThere) {
    std::mt19937 random(1);
    for (size_t count = 0; count < 200; ++count) {
        std::vector<int> keys(count);
        for (int &key : keys) {
            key = static_cast<int>(random() % (1 + count / 3));
        }
        std::vector<uint32_t> numbers(count, 77);
        fill_with_places(numbers);
        std::vector<uint32_t> wanted = numbers;
        for (uint32_t i = 0; i < count; ++i) {
            ASSERT_EQ(numbers[i], i);
        }
        std::ranges::sort(wanted, [&](uint32_t a, uint32_t b) { return less(keys.data(), a, b); });
        sort_numbers(numbers, keys.data(), less);
        ASSERT_EQ(numbers, wanted) << count;
    }
}

// n log n whatever the order: a file may be made to be slow.
TEST(SortNumbers, NoOrderMakesItSlow) {
    static uint64_t compared;
    constexpr uint32_t kCount = 1 << 14;
    std::vector<int> keys(kCount);
    for (const int shape : {0, 1, 2, 3}) {
        for (uint32_t i = 0; i < kCount; ++i) {
            const int rising = static_cast<int>(i);
            const int values[] = {rising, -rising, 5, i % 2 == 0 ? rising : -rising};
            keys[i] = values[shape];
        }
        std::vector<uint32_t> numbers(kCount);
        fill_with_places(numbers);
        compared = 0;
        sort_numbers(numbers, keys.data(), [](const void *context, uint32_t a, uint32_t b) {
            ++compared;
            return less(context, a, b);
        });
        EXPECT_TRUE(std::ranges::is_sorted(
            numbers, [&](uint32_t a, uint32_t b) { return less(keys.data(), a, b); }));
        EXPECT_LE(compared, 3u * kCount * 14) << shape;
    }
}

}  // namespace
}  // namespace bareflow::llama
