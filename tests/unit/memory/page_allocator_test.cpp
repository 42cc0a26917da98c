// Memory maps as firmware writes them, also senseless ones, and runs of pages. Random runs must
// never overlap.
#include "kernel_lib/memory/page_allocator.h"

#include <gtest/gtest.h>

#include <array>
#include <map>
#include <random>
#include <vector>

namespace bareflow {
namespace {

constexpr uint64_t kPage = PageAllocator::kPageBytes;
constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kGiB = 1 << 30;
constexpr uint32_t kReserved = 2;

using Map = std::vector<MemoryRange>;
using Ranges = std::vector<AddressRange>;

MemoryRange usable(uint64_t base, uint64_t len) {
    return {base, len, kMemoryUsable, 0};
}
MemoryRange reserved(uint64_t base, uint64_t len) {
    return {base, len, kReserved, 0};
}

Ranges normalised(const Map &map) {
    std::array<AddressRange, 300> storage;
    RangeSet set(storage);
    usable_memory(map, set);
    return {set.ranges().begin(), set.ranges().end()};
}

TEST(UsableMemory, WhatQemuSays) {
    // -m 128 on the pc machine.
    const Map map = {usable(0, 0x9FC00),           reserved(0x9FC00, 0x400),
                     reserved(0xF0000, 0x10000),   usable(0x100000, 0x7EE0000),
                     reserved(0x7FE0000, 0x20000), reserved(0xFFFC0000, 0x40000)};
    EXPECT_EQ(normalised(map), (Ranges{{0x1000, 0x9F000}, {0x100000, 0x7FE0000}}));
}

TEST(UsableMemory, OrderDoesNotMatter) {
    Map map = {usable(0x100000, 0x100000), reserved(0x180000, 0x1000), usable(0x150000, 0x200000)};
    const Ranges expected = {{0x100000, 0x180000}, {0x181000, 0x350000}};
    EXPECT_EQ(normalised(map), expected);
    std::swap(map[0], map[1]);
    EXPECT_EQ(normalised(map), expected);
    std::swap(map[1], map[2]);
    EXPECT_EQ(normalised(map), expected);
}

TEST(UsableMemory, PartPagesGoToWhoeverIsNotUsable) {
    EXPECT_EQ(normalised({usable(0x100001, 0x3000)}), (Ranges{{0x101000, 0x103000}}));
    EXPECT_EQ(normalised({usable(0x100000, 0x4000), reserved(0x101FFF, 1)}),
              (Ranges{{0x100000, 0x101000}, {0x102000, 0x104000}}));
    EXPECT_EQ(normalised({usable(0x100FFF, 0x1000)}), Ranges{});
}

TEST(UsableMemory, NonsenseIsSurvived) {
    constexpr uint64_t kLast = ~uint64_t{0};
    EXPECT_EQ(normalised({}), Ranges{});
    EXPECT_EQ(normalised({usable(0x100000, 0)}), Ranges{});
    EXPECT_EQ(normalised({usable(kLast - 5, 100)}), Ranges{});
    EXPECT_EQ(normalised({usable(kLast, kLast)}), Ranges{});
    // A length that wraps ends at the end of the physical address space.
    EXPECT_EQ(normalised({usable(0x100000, kLast)}), (Ranges{{0x100000, uint64_t{1} << 52}}));
    EXPECT_EQ(normalised({usable(0x100000, 0x1000), reserved(0, kLast)}), Ranges{});
    EXPECT_EQ(normalised({usable(0x100000, 0x1000), reserved(kLast, kLast)}),
              (Ranges{{0x100000, 0x101000}}));
    // A reserved entry of no length takes nothing away.
    EXPECT_EQ(normalised({usable(0x100000, 0x2000), reserved(0x101000, 0)}),
              (Ranges{{0x100000, 0x102000}}));
}

TEST(UsableMemory, HundredsOfEntries) {
    Map map;
    for (uint64_t i = 0; i < 250; ++i) {
        map.push_back(usable((250 - i) * 0x10000, 0x8000));
        map.push_back(reserved((250 - i) * 0x10000 + 0x4000, 0x1000));
    }
    const Ranges ranges = normalised(map);
    // More pieces than the storage holds (300): some are lost, but none is given out twice.
    EXPECT_EQ(ranges.size(), 300U);
    for (const AddressRange &range : ranges) {
        for (const MemoryRange &entry : map) {
            if (entry.type == kReserved) {
                EXPECT_TRUE(range.end <= entry.base || range.begin >= entry.base + entry.len_bytes);
            }
        }
    }
}

class Pages : public ::testing::Test {
  protected:
    std::array<AddressRange, 64> storage_;
    PageAllocator pages_{storage_};

    void use(const Map &map, const Ranges &kept = {}) { pages_.init(map, kept); }
};

TEST_F(Pages, ReservationsAreKeptAway) {
    use({usable(0, 16 * kMiB)}, {{0, kMiB}, {0x200001, 0x200002}, {15 * kMiB, 20 * kMiB}});
    EXPECT_EQ(pages_.managed_bytes(), 14 * kMiB - kPage);
    while (const auto page = pages_.allocate(1)) {
        EXPECT_GE(*page, kMiB);
        EXPECT_LT(*page, 15 * kMiB);
        EXPECT_NE(*page, 0x200000U);
    }
    EXPECT_EQ(pages_.free_bytes(), 0U);
}

TEST_F(Pages, NoMemoryAtAll) {
    use({});
    EXPECT_EQ(pages_.allocate(1), std::nullopt);
    EXPECT_FALSE(pages_.release(0x1000, 1));
}

TEST_F(Pages, ZeroAndAbsurdCounts) {
    use({usable(kMiB, 8 * kMiB)});
    EXPECT_EQ(pages_.allocate(0), std::nullopt);
    EXPECT_EQ(pages_.allocate(~uint64_t{0}), std::nullopt);
    EXPECT_EQ(pages_.allocate(uint64_t{1} << 52), std::nullopt);
    EXPECT_EQ(pages_.allocate(8 * kMiB / kPage + 1), std::nullopt);
    EXPECT_EQ(pages_.free_bytes(), 8 * kMiB);
}

TEST_F(Pages, SmallRunsComeFromBelowLargeOnesFromAbove) {
    use({usable(kMiB, 512 * kMiB)});
    EXPECT_EQ(pages_.allocate(1), kMiB);
    EXPECT_EQ(pages_.allocate(2), kMiB + kPage);
    const auto large = pages_.allocate(100 * kMiB / kPage);
    ASSERT_TRUE(large);
    EXPECT_EQ(*large % PageAllocator::kLargePageBytes, 0U);
    EXPECT_GE(*large, 400 * kMiB);
}

TEST_F(Pages, LargeRunsLeaveTheDevicesSomeLowMemory) {
    use({usable(kMiB, 3 * kGiB), usable(4 * kGiB, 5 * kGiB)});
    // Fits below 4 GiB with room to spare: there, where every device can reach it.
    const auto reachable = pages_.allocate(2 * kGiB / kPage);
    ASSERT_TRUE(reachable);
    EXPECT_LT(*reachable, 4 * kGiB);
    // Would take the last of it.
    const auto above = pages_.allocate((kGiB - 32 * kMiB) / kPage);
    ASSERT_TRUE(above);
    EXPECT_GE(*above, 4 * kGiB);
    const auto ring = pages_.allocate(16);
    ASSERT_TRUE(ring);
    EXPECT_LT(*ring, 4 * kGiB);
}

TEST_F(Pages, AlignmentIsGivenUpBeforeTheRun) {
    // Room for the run, but not for an aligned one.
    use({usable(kMiB + kPage, 4 * kMiB)});
    const auto run = pages_.allocate(4 * kMiB / kPage);
    ASSERT_TRUE(run);
    EXPECT_EQ(*run, kMiB + kPage);
}

TEST_F(Pages, WrongReleasesAreRefused) {
    use({usable(kMiB, kMiB), usable(4 * kMiB, kMiB)});
    const auto run = pages_.allocate(4);
    ASSERT_TRUE(run);
    EXPECT_FALSE(pages_.release(*run, 0));
    EXPECT_FALSE(pages_.release(*run + 1, 1));
    EXPECT_FALSE(pages_.release(*run, 5)) << "one of them is free";
    EXPECT_FALSE(pages_.release(*run, ~uint64_t{0}));
    EXPECT_FALSE(pages_.release(0, 1));
    EXPECT_FALSE(pages_.release(64 * kMiB, 1));
    EXPECT_TRUE(pages_.release(*run, 4));
    EXPECT_FALSE(pages_.release(*run, 4)) << "twice";
    EXPECT_EQ(pages_.free_bytes(), 2 * kMiB);
}

TEST(PageAllocator, FullTableLosesPagesButNeverGivesThemTwice) {
    std::array<AddressRange, 2> storage;
    PageAllocator pages(storage);
    pages.init(Map{usable(kMiB, 64 * kPage)}, {});
    std::vector<uint64_t> taken;
    while (const auto page = pages.allocate(1)) {
        taken.push_back(*page);
    }
    ASSERT_EQ(taken.size(), 64U);
    for (size_t i = 0; i < taken.size(); i += 2) {
        EXPECT_TRUE(pages.release(taken[i], 1));
    }
    EXPECT_EQ(pages.free_bytes(), 2 * kPage);
    EXPECT_EQ(pages.lost_bytes(), 30 * kPage);
}

TEST(PageAllocator, RandomRunsNeverOverlapAndAllComeBack) {
    std::array<AddressRange, 512> storage;
    PageAllocator pages(storage);
    pages.init(Map{usable(0, 640 * 1024), usable(kMiB, 200 * kMiB), reserved(50 * kMiB, kMiB),
                   usable(4 * kGiB, 64 * kMiB)},
               Ranges{{0, kMiB}});
    const uint64_t all = pages.free_bytes();
    std::mt19937 random(3);
    std::map<uint64_t, uint64_t> live;  // address -> pages
    for (int step = 0; step < 20'000; ++step) {
        if (random() % 2 == 0 || live.empty()) {
            const uint64_t count = random() % 100 == 0 ? random() % 8000 + 1 : random() % 40 + 1;
            const auto run = pages.allocate(count);
            if (!run) {
                continue;
            }
            const auto after = live.lower_bound(*run);
            ASSERT_TRUE(after == live.end() || *run + count * kPage <= after->first);
            ASSERT_TRUE(after == live.begin() ||
                        std::prev(after)->first + std::prev(after)->second * kPage <= *run);
            live[*run] = count;
        } else {
            auto victim = live.begin();
            std::advance(victim, random() % live.size());
            ASSERT_TRUE(pages.release(victim->first, victim->second));
            live.erase(victim);
        }
    }
    for (const auto &[address, count] : live) {
        ASSERT_TRUE(pages.release(address, count));
    }
    EXPECT_EQ(pages.free_bytes(), all);
    EXPECT_EQ(pages.lost_bytes(), 0U);
}

}  // namespace
}  // namespace bareflow
