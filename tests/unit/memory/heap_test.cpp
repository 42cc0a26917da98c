// The heap with and without its checks, over pages that can run out: random operations against a
// model. Each kind of misuse must end in a panic that names it.
#include "kernel_lib/memory/heap.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "kernel_lib/memory/buffer.h"
#include "tests/fakes/heap_pages.h"

namespace bareflow {
namespace {

constexpr size_t kNoLimit = size_t{1} << 20;

class HeapTest : public testing::TestWithParam<bool> {
  protected:
    HeapPages pages{kNoLimit};
    std::unique_ptr<Heap> heap = std::make_unique<Heap>(pages, GetParam());
};
INSTANTIATE_TEST_SUITE_P(Checked, HeapTest, testing::Values(true, false));

uintptr_t address(const void *memory) {
    return reinterpret_cast<uintptr_t>(memory);
}

TEST_P(HeapTest, RefusesNonsense) {
    EXPECT_EQ(heap->allocate(0), nullptr);
    EXPECT_EQ(heap->allocate(SIZE_MAX), nullptr);
    EXPECT_EQ(heap->allocate(SIZE_MAX - 4096), nullptr);
    EXPECT_EQ(heap->allocate(size_t{1} << 45), nullptr);
    EXPECT_EQ(heap->allocate(8, 3), nullptr);
    EXPECT_EQ(heap->allocate(8, 0), nullptr);
    EXPECT_EQ(heap->allocate(8, 8192), nullptr);
    heap->release(nullptr);
    EXPECT_EQ(pages.held_pages(), 0U);
    EXPECT_EQ(heap->stats().failed_allocations, 6U);
    EXPECT_TRUE(heap->consistent());
}

TEST_P(HeapTest, EveryAlignment) {
    std::vector<void *> held;
    for (size_t alignment = 1; alignment <= 4096; alignment *= 2) {
        for (const size_t bytes : {1U, 15U, 16U, 17U, 100U, 4095U, 4096U, 5000U}) {
            auto *memory = static_cast<uint8_t *>(heap->allocate(bytes, alignment));
            ASSERT_NE(memory, nullptr);
            EXPECT_EQ(address(memory) % std::max(alignment, size_t{16}), 0U);
            std::memset(memory, 0x11, bytes);
            held.push_back(memory);
            ASSERT_TRUE(heap->consistent());
        }
    }
    for (void *memory : held) {
        heap->release(memory);
        ASSERT_TRUE(heap->consistent());
    }
    EXPECT_EQ(heap->stats().used_bytes, 0U);
}

TEST_P(HeapTest, FreeNeighboursMerge) {
    void *a = heap->allocate(1000);
    void *b = heap->allocate(1000);
    void *c = heap->allocate(1000);
    void *guard = heap->allocate(16);
    const size_t held = pages.held_pages();
    for (const auto &order : {std::vector{a, b, c}, {c, b, a}, {a, c, b}, {b, a, c}}) {
        for (void *memory : order) {
            heap->release(memory);
            ASSERT_TRUE(heap->consistent());
        }
        // The three together hold one that none alone would; at the same place.
        void *large = heap->allocate(3000);
        EXPECT_EQ(large, a);
        heap->release(large);
        EXPECT_EQ(heap->allocate(1000), a);
        EXPECT_EQ(heap->allocate(1000), b);
        EXPECT_EQ(heap->allocate(1000), c);
    }
    EXPECT_EQ(pages.held_pages(), held);
    heap->release(guard);
}

TEST_P(HeapTest, LargeAllocationsGoBackToTheirSource) {
    void *small = heap->allocate(100);
    const size_t held = pages.held_pages();
    void *model = heap->allocate(94 << 20, 4096);
    ASSERT_NE(model, nullptr);
    EXPECT_GT(pages.held_pages(), held + (94 << 8) - 1);
    heap->release(model);
    EXPECT_EQ(pages.held_pages(), held);
    heap->release(small);
    EXPECT_TRUE(heap->consistent());
}

TEST_P(HeapTest, EdgeOfARegionDoesNotThrashItsSource) {
    heap->release(heap->allocate(100));
    const size_t held = pages.held_pages();
    EXPECT_GT(held, 0U);  // one region stays
    heap->release(heap->allocate(100));
    EXPECT_EQ(pages.held_pages(), held);
}

TEST_P(HeapTest, ResizeInPlaceAndMoving) {
    auto *a = static_cast<uint8_t *>(heap->allocate(100));
    for (int i = 0; i < 100; ++i) {
        a[i] = static_cast<uint8_t>(i);
    }
    // Into the free memory after it.
    EXPECT_EQ(heap->resize(a, 5000), a);
    EXPECT_TRUE(heap->consistent());
    // Smaller, and the rest is free again.
    EXPECT_EQ(heap->resize(a, 50), a);
    EXPECT_TRUE(heap->consistent());
    void *after = heap->allocate(200);
    EXPECT_LT(address(after), address(a) + 500);
    // Blocked: moves with its contents.
    auto *moved = static_cast<uint8_t *>(heap->resize(a, 5000));
    ASSERT_NE(moved, nullptr);
    EXPECT_NE(moved, a);
    for (int i = 0; i < 50; ++i) {
        EXPECT_EQ(moved[i], i);
    }
    EXPECT_EQ(heap->resize(moved, 0), nullptr);
    void *fresh = heap->resize(nullptr, 64);
    EXPECT_NE(fresh, nullptr);
    EXPECT_EQ(heap->resize(fresh, SIZE_MAX), nullptr);
    heap->release(fresh);  // still ours
    heap->release(after);
    EXPECT_EQ(heap->stats().live_allocations, 0U);
    EXPECT_TRUE(heap->consistent());
}

TEST_P(HeapTest, ExhaustionIsAnAnswer) {
    HeapPages few(80);  // a quarter MiB and a little
    Heap small(few, GetParam());
    std::vector<void *> held;
    while (void *memory = small.allocate(1000)) {
        held.push_back(memory);
    }
    EXPECT_GT(held.size(), 250U);
    EXPECT_TRUE(small.consistent());
    // What is held stays usable, and one free makes room for one more.
    small.release(held.back());
    held.back() = small.allocate(1000);
    EXPECT_NE(held.back(), nullptr);
    EXPECT_EQ(small.resize(held.back(), 100'000), nullptr);
    EXPECT_EQ(small.allocate(400'000), nullptr);
    for (void *memory : held) {
        small.release(memory);
    }
    EXPECT_EQ(small.stats().used_bytes, 0U);
    EXPECT_TRUE(small.consistent());
}

// The last pages are given out even when there are fewer than a usual region.
TEST_P(HeapTest, TakesLessThanAUsualRegionWhenThereIsLess) {
    HeapPages few(10);
    Heap small(few, GetParam());
    void *memory = small.allocate(30'000);
    ASSERT_NE(memory, nullptr);
    EXPECT_EQ(few.held_pages(), 8U);
    small.release(memory);
}

// A heap beside a model that knows what every live allocation must contain.
class HeapBesideModel {
  public:
    explicit HeapBesideModel(Heap &heap) : heap_(heap) {}
    [[nodiscard]] bool empty() const { return live_.empty(); }
    [[nodiscard]] size_t live() const { return live_.size(); }
    [[nodiscard]] uint64_t allocations() const { return allocations_; }

    // False: the heap had no room, and nothing changed.
    bool allocate() {
        const size_t bytes = size();
        const size_t alignment = random_() % 8 == 0 ? size_t{1} << (random_() % 13) : 16;
        auto *memory = static_cast<uint8_t *>(heap_.allocate(bytes, alignment));
        if (memory == nullptr) {
            return false;
        }
        EXPECT_EQ(address(memory) % alignment, 0U);
        ++allocations_;
        live_.push_back({memory, bytes, static_cast<uint8_t>(random_())});
        std::memset(memory, live_.back().fill, bytes);
        return true;
    }
    void resize_one() {
        Live &chosen = choose();
        const size_t bytes = size();
        auto *memory = static_cast<uint8_t *>(heap_.resize(chosen.memory, bytes));
        if (memory != nullptr) {
            verify({memory, std::min(bytes, chosen.bytes), chosen.fill});
            chosen = {memory, bytes, chosen.fill};
            std::memset(memory, chosen.fill, bytes);
        }
    }
    void release_one() {
        Live &chosen = choose();
        heap_.release(chosen.memory);
        chosen = live_.back();
        live_.pop_back();
    }
    void release_all() {
        for (const Live &l : live_) {
            verify(l);
            heap_.release(l.memory);
        }
        live_.clear();
    }
    // No two live areas overlap.
    void verify_distinct() const {
        std::vector<Live> sorted = live_;
        std::sort(sorted.begin(), sorted.end(),
                  [](const Live &a, const Live &b) { return a.memory < b.memory; });
        for (size_t i = 1; i < sorted.size(); ++i) {
            ASSERT_LE(sorted[i - 1].memory + sorted[i - 1].bytes, sorted[i].memory);
        }
    }
    uint32_t random_percent() { return random_() % 100; }

  private:
    struct Live {
        uint8_t *memory;
        size_t bytes;
        uint8_t fill;
    };

    size_t size() {
        const uint32_t kind = random_() % 10;
        return kind < 6   ? 1 + random_() % 200
               : kind < 9 ? 1 + random_() % 8000
                          : 1 + random_() % 400'000;
    }
    static void verify(const Live &l) {
        for (size_t i = 0; i < l.bytes; ++i) {
            ASSERT_EQ(l.memory[i], l.fill) << i << " of " << l.bytes;
        }
    }
    Live &choose() {
        Live &chosen = live_[random_() % live_.size()];
        verify(chosen);
        return chosen;
    }

    Heap &heap_;
    std::vector<Live> live_;
    std::mt19937 random_{7};
    uint64_t allocations_ = 0;
};

TEST_P(HeapTest, RandomOperationsAgainstAModel) {
    HeapPages limited(1200);
    Heap tested(limited, GetParam());
    HeapBesideModel model(tested);
    for (int step = 0; step < 20'000; ++step) {
        const uint32_t what = model.random_percent();
        if (what < 45 || model.empty()) {
            if (!model.allocate()) {
                continue;
            }
        } else if (what < 60) {
            model.resize_one();
        } else {
            model.release_one();
        }
        ASSERT_FALSE(HasFatalFailure()) << step;
        ASSERT_EQ(tested.stats().live_allocations, model.live());
        if (step % 50 == 0) {
            ASSERT_TRUE(tested.consistent()) << step;
            model.verify_distinct();
        }
    }
    model.release_all();
    EXPECT_TRUE(tested.consistent());
    EXPECT_EQ(tested.stats().used_bytes, 0U);
    EXPECT_GE(tested.stats().total_allocations, model.allocations());
    EXPECT_GT(tested.stats().failed_allocations, 0U);  // the limit was met
    EXPECT_LE(limited.held_pages(), 64U);
}

// ---- what the checked mode catches

class CheckedHeapDeathTest : public testing::Test {
  protected:
    HeapPages pages{kNoLimit};
    Heap heap{pages, true};
};

TEST_F(CheckedHeapDeathTest, DoubleFree) {
    void *keep = heap.allocate(64);
    void *memory = heap.allocate(64);
    heap.release(memory);
    EXPECT_DEATH(heap.release(memory), "heap: free of what is no live allocation.*0x");
    heap.release(keep);
}

TEST_F(CheckedHeapDeathTest, DoubleFreeAfterMerging) {
    void *a = heap.allocate(64);
    void *b = heap.allocate(64);
    void *end = heap.allocate(64);
    heap.release(a);
    heap.release(b);
    EXPECT_DEATH(heap.release(b), "no live allocation");
    heap.release(end);
}

TEST_F(CheckedHeapDeathTest, OverrunByOneByte) {
    for (const size_t bytes : {1U, 8U, 15U, 16U, 17U, 100U, 1000U}) {
        auto *memory = static_cast<uint8_t *>(heap.allocate(bytes));
        EXPECT_DEATH(
            {
                memory[bytes] = 0;
                heap.release(memory);
            },
            "written past the end");
        heap.release(memory);
    }
}

TEST_F(CheckedHeapDeathTest, OverrunIntoTheNextHeader) {
    auto *memory = static_cast<uint8_t *>(heap.allocate(64));
    void *next = heap.allocate(64);
    EXPECT_DEATH(
        {
            std::memset(memory, 0, 64 + 8 + 24);
            heap.release(next);
        },
        "heap: ");
    heap.release(next);
    heap.release(memory);
}

TEST_F(CheckedHeapDeathTest, WildPointers) {
    auto *memory = static_cast<uint8_t *>(heap.allocate(64));
    int on_the_stack = 0;
    EXPECT_DEATH(heap.release(memory + 8), "no live allocation");
    EXPECT_DEATH(heap.release(memory + 16), "no live allocation");
    EXPECT_DEATH(heap.release(&on_the_stack), "no live allocation");
    EXPECT_DEATH((void)heap.resize(memory + 16, 10), "no live allocation");
    heap.release(memory);
}

TEST_F(CheckedHeapDeathTest, WriteToFreedMemory) {
    auto *memory = static_cast<uint8_t *>(heap.allocate(64));
    void *keep = heap.allocate(64);
    heap.release(memory);
    EXPECT_DEATH(
        {
            memory[20] = 1;
            (void)heap.allocate(64);
        },
        "freed memory was written");
    heap.release(keep);
}

// ---- Buffer, over the hosted heap

TEST(Buffer, ZeroedAlignedAndMovable) {
    Result<Buffer<uint32_t>> made = Buffer<uint32_t>::create(1000, 4096);
    ASSERT_TRUE(made.ok());
    Buffer<uint32_t> buffer = std::move(made).value();
    EXPECT_EQ(address(buffer.data()) % 4096, 0U);
    EXPECT_EQ(std::count(buffer.span().begin(), buffer.span().end(), 0U), 1000);
    buffer[999] = 5;
    Buffer<uint32_t> other = std::move(buffer);
    EXPECT_EQ(other[999], 5U);
    EXPECT_EQ(buffer.size(), 0U);  // NOLINT: moved from, by contract empty
}

TEST(Buffer, SizesFromOutsideCannotOverflow) {
    EXPECT_EQ(Buffer<uint64_t>::create(SIZE_MAX).error().code, ErrorCode::kTooLarge);
    EXPECT_EQ(Buffer<uint64_t>::create(SIZE_MAX / 8).error().code, ErrorCode::kTooLarge);
    EXPECT_EQ(Buffer<uint64_t>::create(SIZE_MAX / 8 + 2).error().code, ErrorCode::kTooLarge);
    EXPECT_TRUE(Buffer<uint64_t>::create(0).ok());
}

}  // namespace
}  // namespace bareflow
