#include "compute/tuning/pages_owner.h"

#include <gtest/gtest.h>

#include "kernel_lib/platform/platform.h"

namespace bareflow::compute {
namespace {

constexpr uint64_t kPage = platform::kPageBytes;

TEST(PagesOwnerTest, WholePages) {
    EXPECT_EQ(PagesOwner::pages_for(0), 0u);
    EXPECT_EQ(PagesOwner::pages_for(1), 1u);
    EXPECT_EQ(PagesOwner::pages_for(kPage), 1u);
    EXPECT_EQ(PagesOwner::pages_for(kPage + 1), 2u);
}

TEST(PagesOwnerTest, TakesKeepsGrowsAndReleases) {
    PagesOwner pages;
    ASSERT_TRUE(pages.take(2 * kPage - 1));
    ASSERT_NE(pages.data, nullptr);
    EXPECT_EQ(pages.count, 2u);
    pages.data[2 * kPage - 1] = 7;
    // Enough already: the same pages with what they contain.
    uint8_t *const before = pages.data;
    ASSERT_TRUE(pages.take(kPage));
    EXPECT_EQ(pages.data, before);
    EXPECT_EQ(pages.count, 2u);
    EXPECT_EQ(pages.data[2 * kPage - 1], 7);
    ASSERT_TRUE(pages.take(5 * kPage));
    EXPECT_EQ(pages.count, 5u);
    pages.data[5 * kPage - 1] = 7;
    pages.release();
    EXPECT_EQ(pages.data, nullptr);
    EXPECT_EQ(pages.count, 0u);
    pages.release();  // nothing to release
}

TEST(PagesOwnerTest, NotBeyondTheLimit) {
    PagesOwner pages;
    EXPECT_FALSE(pages.take(kPage + 1, kPage));
    EXPECT_EQ(pages.data, nullptr);
    EXPECT_TRUE(pages.take(kPage, kPage));
    // More than the limit is refused, and what is there stays.
    EXPECT_FALSE(pages.take(2 * kPage, kPage));
    EXPECT_EQ(pages.count, 1u);
    pages.release();
}

}  // namespace
}  // namespace bareflow::compute
