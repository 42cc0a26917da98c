// Page tables in a fake physical memory, compared with a plain table of pages after random changes.
#include "kernel_lib/memory/paging.h"

#include <gtest/gtest.h>
#include <algorithm>

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <random>

namespace bareflow {
namespace {

constexpr uint64_t kPage = PageTables::kPageBytes;
constexpr uint64_t kLarge = PageTables::kLargePageBytes;
constexpr PageAccess kReadOnly{};
constexpr PageAccess kReadWrite{.writable = true};
constexpr PageAccess kReadExecute{.executable = true};
constexpr PageAccess kDevice{.writable = true, .device = true};

// Physical memory that exists only here; a table outside of it is a failure.
class FakeMemory final : public TableMemory {
  public:
    uint64_t allocate_table() override {
        if (left == 0) {
            return 0;
        }
        --left;
        next_ += kPage;
        tables_[next_] = std::make_unique<std::array<uint64_t, 512>>();
        return next_;
    }
    uint64_t *table_at(uint64_t physical) override {
        const auto found = tables_.find(physical);
        if (found == tables_.end()) {
            ADD_FAILURE() << "no table at " << std::hex << physical;
            static std::array<uint64_t, 512> nothing{};
            return nothing.data();
        }
        return found->second->data();
    }
    [[nodiscard]] size_t count() const { return tables_.size(); }

    size_t left = 1000;

  private:
    uint64_t next_ = 0x40'0000;
    std::map<uint64_t, std::unique_ptr<std::array<uint64_t, 512>>> tables_;
};

struct Leaf {
    uint64_t virt;
    uint64_t physical;
    uint64_t bytes;
    bool writable;
    bool executable;
    bool user;
    bool uncached;
};

// A walker of its own, by the manual (SDM 3, 4.5), that shares no code with the one under test.
void walk(FakeMemory &memory, uint64_t table, int level, uint64_t virt, bool writable,
          bool executable, const std::function<void(const Leaf &)> &visit) {
    for (uint64_t i = 0; i < 512; ++i) {
        const uint64_t entry = memory.table_at(table)[i];
        if ((entry & 1) == 0) {
            continue;
        }
        const uint64_t at = virt | i << (12 + 9 * (level - 1));
        const bool can_write = writable && (entry & 2) != 0;
        const bool can_execute = executable && entry >> 63 == 0;
        const uint64_t address = entry & 0x000F'FFFF'FFFF'F000;
        const bool leaf = level == 1 || (entry & 0x80) != 0;
        if (!leaf) {
            walk(memory, address, level - 1, at, can_write, can_execute, visit);
            continue;
        }
        ASSERT_LE(level, 2) << "no 1 GiB pages";
        ASSERT_TRUE(level == 1 || address % kLarge == 0) << "reserved bits of a large page";
        visit({at, address, level == 1 ? kPage : kLarge, can_write, can_execute, (entry & 4) != 0,
               (entry & 0x18) == 0x18});
    }
}

class Paging : public ::testing::Test {
  protected:
    FakeMemory memory_;
    PageTables tables_{memory_, true};

    void for_each_leaf(const std::function<void(const Leaf &)> &visit) {
        if (tables_.root() != 0) {
            walk(memory_, tables_.root(), 4, 0, true, true, visit);
        }
    }
    // Every mapped page, in 4 KiB steps, as the independent walker sees it.
    std::map<uint64_t, Leaf> pages() {
        std::map<uint64_t, Leaf> out;
        for_each_leaf([&](const Leaf &leaf) {
            EXPECT_FALSE(leaf.writable && leaf.executable) << "W+X at " << std::hex << leaf.virt;
            EXPECT_FALSE(leaf.user);
            for (uint64_t offset = 0; offset < leaf.bytes; offset += kPage) {
                Leaf page = leaf;
                page.virt += offset;
                page.physical += offset;
                out[page.virt] = page;
            }
        });
        // What the program says of itself is the same.
        const PageTables::Audit audit = tables_.audit();
        EXPECT_EQ(audit.mapped, out.size());
        EXPECT_EQ(audit.executable, static_cast<uint64_t>(std::ranges::count_if(
                                        out, [](const auto &p) { return p.second.executable; })));
        EXPECT_EQ(audit.writable_and_executable, 0u);
        return out;
    }
};

TEST_F(Paging, NothingIsMappedAtFirst) {
    EXPECT_EQ(tables_.root(), 0U);
    EXPECT_EQ(tables_.lookup(0), std::nullopt);
    EXPECT_TRUE(tables_.unmap(0, kLarge).ok());
}

TEST_F(Paging, AnAuditFindsWhatShouldNotBe) {
    EXPECT_EQ(tables_.audit().mapped, 0u);
    ASSERT_TRUE(tables_.map(kLarge, kLarge, kLarge + 2 * kPage, kReadWrite));
    EXPECT_EQ(tables_.audit().mapped, 514u);
    EXPECT_EQ(tables_.audit().executable, 0u);
    // Somebody clears the no-execute bit of a small page, then of the large one.
    uint64_t *table = memory_.table_at(tables_.root());
    for (int level = 4; level > 2; --level) {
        table = memory_.table_at(table[0] & 0x000F'FFFF'FFFF'F000);
    }
    uint64_t *const small = memory_.table_at(table[2] & 0x000F'FFFF'FFFF'F000);
    constexpr uint64_t kAnything = ~(uint64_t{1} << 63);
    small[1] &= kAnything;
    EXPECT_EQ(tables_.audit().writable_and_executable, 1u);
    table[1] &= kAnything;
    EXPECT_EQ(tables_.audit().writable_and_executable, 513u);
    EXPECT_EQ(tables_.audit().executable, 513u);
}

TEST_F(Paging, LargePagesWherePossible) {
    ASSERT_TRUE(tables_.map(kLarge - kPage, kLarge - kPage, 2 * kLarge + 2 * kPage, kReadWrite));
    int large = 0;
    int small = 0;
    for_each_leaf([&](const Leaf &leaf) {
        EXPECT_EQ(leaf.virt, leaf.physical);
        EXPECT_TRUE(leaf.writable);
        EXPECT_FALSE(leaf.executable);
        ++(leaf.bytes == kLarge ? large : small);
    });
    EXPECT_EQ(large, 2);
    EXPECT_EQ(small, 2);
    EXPECT_EQ(memory_.count(), 5U);  // three levels above, two tables of small pages
}

TEST_F(Paging, UnevenOffsetsNeedSmallPages) {
    ASSERT_TRUE(tables_.map(kLarge, kLarge + kPage, kLarge, kReadOnly));
    for_each_leaf([&](const Leaf &leaf) {
        EXPECT_EQ(leaf.bytes, kPage);
        EXPECT_EQ(leaf.physical, leaf.virt + kPage);
        EXPECT_FALSE(leaf.writable);
    });
}

TEST_F(Paging, WritableAndExecutableIsRefused) {
    const PageAccess both{.writable = true, .executable = true};
    EXPECT_EQ(tables_.map(0x1000, 0x1000, kPage, both).code(), ErrorCode::kInvalid);
    ASSERT_TRUE(tables_.map(0x1000, 0x1000, kPage, kReadWrite));
    EXPECT_EQ(tables_.protect(0x1000, kPage, both).code(), ErrorCode::kInvalid);
    EXPECT_EQ(tables_.lookup(0x1000)->access, kReadWrite);
}

TEST_F(Paging, BadRangesAreRefused) {
    EXPECT_EQ(tables_.map(0x1001, 0x1000, kPage, kReadOnly).code(), ErrorCode::kInvalid);
    EXPECT_EQ(tables_.map(0x1000, 0x1800, kPage, kReadOnly).code(), ErrorCode::kInvalid);
    EXPECT_EQ(tables_.map(0x1000, 0x1000, 100, kReadOnly).code(), ErrorCode::kInvalid);
    EXPECT_EQ(tables_.map(PageTables::kVirtualLimit, 0, kPage, kReadOnly).code(),
              ErrorCode::kInvalid);
    EXPECT_EQ(tables_.map(0, uint64_t{1} << 52, kPage, kReadOnly).code(), ErrorCode::kInvalid);
    EXPECT_EQ(tables_.map(kPage, 0, ~(kPage - 1), kReadOnly).code(), ErrorCode::kInvalid);
    EXPECT_TRUE(tables_.map(0x1000, 0x1000, 0, kReadOnly).ok());
}

TEST_F(Paging, ProtectSplitsLargePages) {
    ASSERT_TRUE(tables_.map(0, 0, 4 * kLarge, kReadWrite));
    ASSERT_TRUE(tables_.protect(kLarge + 5 * kPage, 2 * kPage, kReadExecute));
    ASSERT_TRUE(tables_.protect(2 * kLarge, kLarge, kReadOnly));
    const auto all = pages();
    ASSERT_EQ(all.size(), 4 * kLarge / kPage);
    for (const auto &[virt, page] : all) {
        EXPECT_EQ(page.physical, virt);
        const bool code = virt >= kLarge + 5 * kPage && virt < kLarge + 7 * kPage;
        const bool constant = virt >= 2 * kLarge && virt < 3 * kLarge;
        EXPECT_EQ(page.executable, code) << std::hex << virt;
        EXPECT_EQ(page.writable, !code && !constant) << std::hex << virt;
    }
    EXPECT_TRUE(tables_.lookup(2 * kLarge)->large) << "needlessly split";
}

TEST_F(Paging, ProtectOfAHoleChangesNothing) {
    ASSERT_TRUE(tables_.map(0, 0, 4 * kPage, kReadWrite));
    ASSERT_TRUE(tables_.unmap(2 * kPage, kPage));
    EXPECT_EQ(tables_.protect(0, 4 * kPage, kReadOnly).code(), ErrorCode::kNotFound);
    EXPECT_EQ(tables_.lookup(0)->access, kReadWrite);
}

TEST_F(Paging, UnmapMakesHoles) {
    ASSERT_TRUE(tables_.map(0, 0, 2 * kLarge, kReadWrite));
    ASSERT_TRUE(tables_.unmap(0, kPage));
    ASSERT_TRUE(tables_.unmap(kLarge + kPage, kPage));
    const auto all = pages();
    EXPECT_EQ(all.size(), 2 * kLarge / kPage - 2);
    EXPECT_FALSE(all.contains(0));
    EXPECT_FALSE(all.contains(kLarge + kPage));
    EXPECT_EQ(tables_.lookup(0), std::nullopt);
}

TEST_F(Paging, DevicesAreUncached) {
    ASSERT_TRUE(tables_.map(0xFEE0'0000, 0xFEE0'0000, kPage, kDevice));
    for_each_leaf([](const Leaf &leaf) { EXPECT_TRUE(leaf.uncached); });
    EXPECT_EQ(tables_.lookup(0xFEE0'0123)->access, kDevice);
    EXPECT_EQ(tables_.lookup(0xFEE0'0123)->physical, 0xFEE0'0123U);
}

TEST_F(Paging, RunningOutOfTablesIsSaid) {
    for (size_t left = 0; left < 4; ++left) {
        FakeMemory memory;
        memory.left = left;
        PageTables tables(memory, true);
        EXPECT_EQ(tables.map(0x1000, 0x1000, kPage, kReadOnly).code(), ErrorCode::kExhausted)
            << left;
    }
    memory_.left = 3;
    ASSERT_TRUE(tables_.map(0, 0, kLarge, kReadWrite));
    EXPECT_EQ(tables_.protect(0, kPage, kReadOnly).code(), ErrorCode::kExhausted);
    EXPECT_EQ(tables_.lookup(0)->access, kReadWrite);
    EXPECT_EQ(tables_.unmap(0, kPage).code(), ErrorCode::kExhausted);
}

TEST_F(Paging, WithoutNxEverythingStaysReadable) {
    PageTables tables(memory_, false);
    ASSERT_TRUE(tables.map(0, 0, kPage, kReadWrite));
    // The processor would fault on a reserved bit.
    const uint64_t root = tables.root();
    uint64_t table = root;
    for (int level = 4; level >= 1; --level) {
        const uint64_t entry = memory_.table_at(table)[0];
        EXPECT_EQ(entry >> 63, 0U);
        table = entry & 0x000F'FFFF'FFFF'F000;
    }
}

// Random changes, against a plain table of pages.
TEST_F(Paging, AgreesWithAPlainTable) {
    struct Page {
        uint64_t physical;
        PageAccess access;
    };
    constexpr uint64_t kPages = 4 * kLarge / kPage;
    memory_.left = 100'000;
    std::map<uint64_t, Page> expected;
    std::mt19937 random(11);
    const std::array accesses = {kReadOnly, kReadWrite, kReadExecute, kDevice};
    for (int step = 0; step < 400; ++step) {
        uint64_t first = random() % kPages;
        uint64_t count = random() % (kPages - first) % (random() % 3 == 0 ? 1200 : 20) + 1;
        if (random() % 3 == 0) {  // whole large pages
            first = first / 512 * 512;
            count = 512;
        }
        const PageAccess access = accesses[random() % accesses.size()];
        const uint64_t virt = first * kPage;
        const uint64_t bytes = count * kPage;
        switch (random() % 3) {
            case 0: {
                const uint64_t physical =
                    (random() % 2 == 0 ? virt : virt + 7 * kPage) + 16 * kLarge;
                ASSERT_TRUE(tables_.map(virt, physical, bytes, access));
                for (uint64_t i = 0; i < count; ++i) {
                    expected[virt + i * kPage] = {physical + i * kPage, access};
                }
                break;
            }
            case 1: {
                bool whole = true;
                for (uint64_t i = 0; i < count; ++i) {
                    whole = whole && expected.contains(virt + i * kPage);
                }
                ASSERT_EQ(tables_.protect(virt, bytes, access).ok(), whole);
                for (uint64_t i = 0; i < count && whole; ++i) {
                    expected[virt + i * kPage].access = access;
                }
                break;
            }
            default:
                ASSERT_TRUE(tables_.unmap(virt, bytes));
                for (uint64_t i = 0; i < count; ++i) {
                    expected.erase(virt + i * kPage);
                }
        }
        const auto seen = pages();
        ASSERT_EQ(seen.size(), expected.size()) << "step " << step;
        for (const auto &[address, page] : expected) {
            const auto found = seen.find(address);
            ASSERT_NE(found, seen.end());
            ASSERT_EQ(found->second.physical, page.physical);
            ASSERT_EQ(found->second.writable, page.access.writable);
            ASSERT_EQ(found->second.executable, page.access.executable);
            ASSERT_EQ(found->second.uncached, page.access.device);
            const auto looked_up = tables_.lookup(address);
            ASSERT_TRUE(looked_up);
            ASSERT_EQ(looked_up->physical, page.physical);
            ASSERT_EQ(looked_up->access, page.access);
        }
    }
}

}  // namespace
}  // namespace bareflow
