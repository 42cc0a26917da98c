#include "llama/engine/slots.h"

#include <gtest/gtest.h>

#include <vector>

namespace bareflow::llama {
namespace {

constexpr uint32_t kContext = 64;

Slots slots_for(uint32_t count) {
    auto made = Slots::create(count, kContext);
    EXPECT_TRUE(made.ok());
    return std::move(made).value();
}

// The numbers from `first` on.
std::vector<Token> counting(Token first, uint32_t count) {
    std::vector<Token> tokens;
    for (uint32_t i = 0; i < count; ++i) {
        tokens.push_back(first + static_cast<Token>(i));
    }
    return tokens;
}

// A text that was computed and is finished.
void leave(Slots &slots, SlotId id, const std::vector<Token> &tokens) {
    std::copy(tokens.begin(), tokens.end(), slots[id].tokens);
    slots[id].computed = static_cast<uint32_t>(tokens.size());
    slots[id].phase = Slot::Phase::kFree;
    slots.touch(slots[id]);
}

TEST(SlotsTest, ThePromptTakesTheSlotThatSharesItsPrefix) {
    Slots slots = slots_for(3);
    leave(slots, 2, counting(100, 30));
    leave(slots, 1, counting(200, 30));
    const std::vector<Token> prompt = counting(200, 31);
    EXPECT_EQ(slots.take(prompt), 1u);
    EXPECT_EQ(slots[1].computed, 30u);
    EXPECT_EQ(slots[1].known, 31u);
    EXPECT_EQ(slots[1].usage.cached_tokens, 30u);
    EXPECT_EQ(slots[1].tokens[30], 230);
    EXPECT_EQ(slots.next_copy().count, 0u);
}

TEST(SlotsTest, TheLastTokenOfAPromptIsComputedAnew) {
    Slots slots = slots_for(1);
    leave(slots, 0, counting(5, 10));
    EXPECT_EQ(slots.take(counting(5, 10)), 0u);
    EXPECT_EQ(slots[0].pending(), 1u);
}

TEST(SlotsTest, ThePrefixOfABusySlotIsCopied) {
    Slots slots = slots_for(3);
    leave(slots, 0, counting(5, 20));
    slots[0].phase = Slot::Phase::kComputing;
    leave(slots, 2, counting(300, 3));
    slots[1].serial = 9;
    EXPECT_EQ(slots.take(counting(5, 25)), 1u) << "used least recently";
    EXPECT_EQ(slots[1].phase, Slot::Phase::kCopying);
    EXPECT_EQ(slots[1].pending(), 0u);
    slots[2].serial = 4;
    EXPECT_EQ(slots.take(counting(5, 12)), 2u);
    const PrefixCopy copy = slots.next_copy();  // the older request comes first
    EXPECT_EQ(copy.from, 0u);
    EXPECT_EQ(copy.to, 2u);
    EXPECT_EQ(copy.count, 11u);
    EXPECT_EQ(copy.serial, 4u);
    EXPECT_EQ(slots.take(counting(5, 12)), kNoSlot);
}

TEST(SlotsTest, AShortPrefixIsComputedAndALongTextIsKept) {
    Slots slots = slots_for(2);
    leave(slots, 0, counting(5, 7));
    slots[0].phase = Slot::Phase::kComputing;
    EXPECT_EQ(slots.take(counting(5, 20)), 1u);
    EXPECT_EQ(slots[1].phase, Slot::Phase::kComputing);
    EXPECT_EQ(slots[1].computed, 0u);
    // 30 computed tokens, of which the prompt shares 10: they are copied, and the text stays.
    Slots others = slots_for(2);
    leave(others, 0, counting(5, 30));
    std::vector<Token> prompt = counting(5, 10);
    prompt.push_back(400);
    EXPECT_EQ(others.take(prompt), 1u);
    EXPECT_EQ(others[1].phase, Slot::Phase::kCopying);
    EXPECT_EQ(others[1].copy_count, 10u);
    EXPECT_EQ(others[0].computed, 30u);
}

}  // namespace
}  // namespace bareflow::llama
