// Which slots get how many places of a batch, and how large a batch may be on a slow machine.
#include "llama/engine/batch_scheduler.h"

#include <gtest/gtest.h>

#include <vector>

namespace bareflow::llama {
namespace {

constexpr uint32_t kContext = 300;

// Slots whose prompts have these lengths; 1: a text that goes on, 0: a free slot.
Slots slots_of(const std::vector<uint32_t> &pending) {
    auto made = Slots::create(static_cast<uint32_t>(pending.size()), kContext);
    EXPECT_TRUE(made.ok());
    Slots slots = std::move(made).value();
    for (SlotId id = 0; id < slots.size(); ++id) {
        Slot &slot = slots[id];
        slot.phase = pending[id] != 0 ? Slot::Phase::kComputing : Slot::Phase::kFree;
        slot.usage.prompt_tokens = pending[id] > 1 ? pending[id] : 0;
        slot.known = pending[id];
    }
    return slots;
}

BatchScheduler scheduler_for(uint32_t batch) {
    auto made = BatchScheduler::create(batch);
    EXPECT_TRUE(made.ok());
    return std::move(made).value();
}

std::vector<uint32_t> places(Slots &slots) {
    std::vector<uint32_t> found;
    for (const Slot &slot : slots.span()) {
        found.push_back(slot.in_batch);
    }
    return found;
}

using Places = std::vector<uint32_t>;

TEST(BatchSchedulerTest, SlowTokensMakeSmallBatches) {
    constexpr uint64_t kSecond = 1'000'000'000;
    const auto tokens = [](uint32_t batch, bool beside_texts, uint64_t token_ticks) {
        return BatchScheduler::tokens_of_batch(batch, beside_texts, token_ticks, kSecond);
    };
    EXPECT_EQ(tokens(128, false, 0), 128u);
    EXPECT_EQ(tokens(128, false, kSecond / 64), 128u);  // two seconds
    EXPECT_EQ(tokens(128, false, kSecond / 63), 64u);
    EXPECT_EQ(tokens(128, false, kSecond / 31), 32u);
    EXPECT_EQ(tokens(128, false, 100 * kSecond), 32u);
    EXPECT_EQ(tokens(100, false, kSecond / 40), 50u);
    EXPECT_EQ(tokens(128, true, 0), 32u);
    EXPECT_EQ(tokens(40, true, 0), 32u);
    EXPECT_EQ(tokens(8, true, 100 * kSecond), 8u);
}

TEST(BatchSchedulerTest, TextsHaveOneTokenAndPromptsShareTheOtherPlaces) {
    BatchScheduler scheduler = scheduler_for(128);
    Slots slots = slots_of({1, 100, 0, 100});
    EXPECT_EQ(scheduler.next(slots).size(), 32u);
    EXPECT_EQ(places(slots), (Places{1, 16, 0, 15}));  // 31 places: 15 each, and one more
    Slots without_texts = slots_of({0, 100, 0, 100});
    EXPECT_EQ(scheduler.next(without_texts).size(), 128u);
    EXPECT_EQ(places(without_texts), (Places{0, 64, 0, 64}));
    Slots one_short = slots_of({0, 10, 0, 200});
    EXPECT_EQ(scheduler.next(one_short).size(), 128u);
    EXPECT_EQ(places(one_short), (Places{0, 10, 0, 118}));
    Slots alone = slots_of({200});
    EXPECT_EQ(scheduler.next(alone).size(), 128u);
}

TEST(BatchSchedulerTest, TheLastKnownTokenWantsLogits) {
    BatchScheduler scheduler = scheduler_for(8);
    Slots slots = slots_of({1, 3, 20});
    slots[1].tokens[2] = 77;
    const std::span<const BatchToken> batch = scheduler.next(slots);
    ASSERT_EQ(batch.size(), 8u);
    EXPECT_TRUE(batch[0].want_logits);
    EXPECT_FALSE(batch[2].want_logits);
    EXPECT_TRUE(batch[3].want_logits);
    EXPECT_EQ(batch[3].sequence, 1u);
    EXPECT_EQ(batch[3].position, 2u);
    EXPECT_EQ(batch[3].token, 77);
    EXPECT_EQ(slots[1].last_index, 3u);
    EXPECT_FALSE(batch[7].want_logits);
    scheduler.add_ticks(5);
    scheduler.add_ticks(6);
    const BatchScheduler::Figures &figures = scheduler.finish();
    EXPECT_EQ(figures.tokens, 8u);
    EXPECT_EQ(figures.prompt_tokens, 7u);
    EXPECT_EQ(figures.ticks, 11u);
}

TEST(BatchSchedulerTest, NothingPendingIsAnEmptyBatch) {
    BatchScheduler scheduler = scheduler_for(8);
    Slots slots = slots_of({0, 5});
    slots[1].paused = true;
    EXPECT_TRUE(scheduler.next(slots).empty());
}

}  // namespace
}  // namespace bareflow::llama
