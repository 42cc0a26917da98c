// Heap and radix sort against std::sort, over numbers with many ties.
#include "llama/engine/candidate_list.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/unit/compute/random_numbers.h"

namespace bareflow::llama {
namespace {

using compute::testing::Random;

std::vector<uint32_t> tokens_of(CandidateList &list) {
    std::vector<uint32_t> out;
    for (uint32_t i = 0; i < list.size(); ++i) {
        out.push_back(list[i].index);
    }
    return out;
}

// Ties, both zeros and both infinities are likely.
std::vector<float> odd_numbers(Random &random, uint32_t count) {
    std::vector<float> out(count);
    for (float &number : out) {
        const float infinity = std::numeric_limits<float>::infinity();
        const float some[] = {0.0f, -0.0f, infinity, -infinity, 1e-45f};
        const uint32_t which = random.below(20);
        number = which < 5 ? some[which] : std::round(random.unit() * 40 - 20);
    }
    return out;
}

std::vector<uint32_t> sorted(const std::vector<float> &numbers, float sign) {
    std::vector<uint32_t> order(numbers.size());
    for (uint32_t i = 0; i < order.size(); ++i) {
        order[i] = i;
    }
    std::ranges::sort(order, [&](uint32_t a, uint32_t b) {
        return numbers[a] != numbers[b] ? sign * numbers[a] > sign * numbers[b] : a < b;
    });
    return order;
}

// Every second item is a range of its own, to show that ranges change nothing.
template <typename Work>
void in_ranges(uint32_t items, Work work) {
    for (uint32_t begin = 0; begin < items; begin += 2) {
        work(begin, std::min(begin + 2, items));
    }
}

TEST(CandidateListTest, TheHeapKeepsTheBest) {
    Random random(1);
    auto list = CandidateList::create(300);
    ASSERT_TRUE(list.ok());
    for (int round = 0; round < 200; ++round) {
        const std::vector<float> numbers = odd_numbers(random, 1 + random.below(300));
        const auto count = static_cast<uint32_t>(numbers.size());
        const uint32_t limit = 1 + random.below(count);
        list->start_selection(limit);
        for (uint32_t i = 0; i < count; ++i) {
            list->offer({numbers[i], i});
        }
        ASSERT_TRUE(list->full());
        std::vector<uint32_t> wanted = sorted(numbers, 1.0f);
        wanted.resize(limit);
        EXPECT_EQ(list->worst(), numbers[wanted.back()]);
        in_ranges(limit, [&](uint32_t begin, uint32_t end) { list->sort_heap(begin, end); });
        ASSERT_EQ(tokens_of(*list), wanted) << "round " << round;
    }
}

TEST(CandidateListTest, TheRadixSortIsStableBothWays) {
    Random random(2);
    auto list = CandidateList::create(300);
    ASSERT_TRUE(list.ok());
    for (int round = 0; round < 200; ++round) {
        const std::vector<float> numbers = odd_numbers(random, 1 + random.below(300));
        const auto count = static_cast<uint32_t>(numbers.size());
        for (uint32_t i = 0; i < count; ++i) {
            (*list)[i] = {numbers[i], i};
        }
        list->resize(count);
        const bool greatest = round % 2 == 0;
        list->start_sort(greatest ? CandidateList::Order::kGreatestFirst
                                  : CandidateList::Order::kLeastFirst);
        in_ranges(count, [&](uint32_t begin, uint32_t end) { list->count(begin, end); });
        list->finish_count();
        do {
            in_ranges(count, [&](uint32_t begin, uint32_t end) { list->deal(begin, end); });
        } while (!list->finish_deal());
        ASSERT_EQ(tokens_of(*list), sorted(numbers, greatest ? 1.0f : -1.0f)) << round;
    }
}

TEST(CandidateListTest, NanIsLastInBothOrders) {
    auto list = CandidateList::create(3);
    ASSERT_TRUE(list.ok());
    for (const auto order :
         {CandidateList::Order::kGreatestFirst, CandidateList::Order::kLeastFirst}) {
        (*list)[0] = {std::numeric_limits<float>::quiet_NaN(), 0};
        (*list)[1] = {-5.0f, 1};
        (*list)[2] = {5.0f, 2};
        list->resize(3);
        list->start_sort(order);
        list->count(0, 3);
        list->finish_count();
        do {
            list->deal(0, 3);
        } while (!list->finish_deal());
        EXPECT_EQ((*list)[2].index, 0u);
    }
}

}  // namespace
}  // namespace bareflow::llama
