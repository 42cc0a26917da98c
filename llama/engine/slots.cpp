#include "llama/engine/slots.h"

#include <algorithm>
#include <new>

namespace bareflow::llama {
namespace {

// A shorter prefix is computed rather than copied from another slot.
constexpr uint32_t kLeastCopied = 8;

// Number of the prompt's leading tokens that the slot has computed. The prompt's last token does
// not count: its logits are needed, so it is always computed anew.
uint32_t shared_tokens(const Slot &slot, std::span<const Token> prompt) {
    const auto most = static_cast<uint32_t>(std::min<uint64_t>(slot.computed, prompt.size() - 1));
    uint32_t count = 0;
    while (count < most && slot.tokens[count] == prompt[count]) {
        ++count;
    }
    return count;
}

}  // namespace

Result<Slots> Slots::create(uint32_t count, uint32_t context) {
    Slots made;
    BF_ASSIGN(made.tokens_, Buffer<Token>::create(uint64_t{count} * context));
    BF_ASSIGN(made.slots_, Buffer<Slot>::create(count));
    for (uint32_t i = 0; i < count; ++i) {
        new (&made.slots_[i]) Slot;
        made.slots_[i].tokens = made.tokens_.data() + uint64_t{i} * context;
    }
    return made;
}

// Batches and copies write keys and values. Copies are made between two batches, in the order of
// the requests. So the prefix that a slot was seen to have is still there when it is copied,
// whatever was started in that slot meanwhile. A copy that is under way is finished even if its
// request is cancelled: it writes what the slot's own tokens stand for.
SlotId Slots::take(std::span<const Token> prompt) {
    SlotId source = kNoSlot;  // shares the longest prefix
    SlotId oldest = kNoSlot;  // of the free ones
    uint32_t source_count = 0;
    uint32_t oldest_count = 0;
    for (SlotId id = 0; id < slots_.size(); ++id) {
        const Slot &slot = slots_[id];
        const uint32_t count = shared_tokens(slot, prompt);
        if (count > source_count || source == kNoSlot ||
            (count == source_count && slots_[source].is_busy() && !slot.is_busy())) {
            source = id;
            source_count = count;
        }
        if (!slot.is_busy() && (oldest == kNoSlot || slot.used < slots_[oldest].used)) {
            oldest = id;
            oldest_count = count;
        }
    }
    if (oldest == kNoSlot) {
        return kNoSlot;
    }
    // The source itself, unless more of its tokens would be lost than are shared.
    SlotId id = oldest;
    uint32_t kept = oldest_count;
    if (!slots_[source].is_busy() && slots_[source].computed - source_count <= source_count) {
        id = source;
        kept = source_count;
    }
    Slot &slot = slots_[id];
    slot.usage = {};
    slot.prompt_done = false;
    slot.phase = Slot::Phase::kComputing;
    slot.computed = kept;
    slot.known = static_cast<uint32_t>(prompt.size());
    std::copy(prompt.begin() + kept, prompt.end(), slot.tokens + kept);
    if (source_count - kept >= kLeastCopied) {
        slot.phase = Slot::Phase::kCopying;
        slot.copy_source = source;
        slot.copy_count = source_count;
        slot.usage.cached_tokens = source_count;
    } else {
        slot.usage.cached_tokens = kept;
    }
    return id;
}

PrefixCopy Slots::next_copy() const {
    PrefixCopy copy;
    for (SlotId id = 0; id < slots_.size(); ++id) {
        const Slot &slot = slots_[id];
        if (slot.phase == Slot::Phase::kCopying && (copy.count == 0 || slot.serial < copy.serial)) {
            copy = {slot.copy_source, id, slot.copy_count, slot.serial};
        }
    }
    return copy;
}

}  // namespace bareflow::llama
