#include "llama/engine/batch_scheduler.h"

#include <algorithm>

#include "kernel_lib/platform/platform.h"

namespace bareflow::llama {

Result<BatchScheduler> BatchScheduler::create(uint32_t batch) {
    BatchScheduler made;
    BF_ASSIGN(made.tokens_, Buffer<BatchToken>::create(batch));
    return made;
}

uint32_t BatchScheduler::tokens_of_batch(uint32_t batch, bool beside_texts, uint64_t token_ticks,
                                         uint64_t ticks_per_second) {
    while (batch > kTokensBesideTexts &&
           (beside_texts || batch * token_ticks > kLongestBatchSeconds * ticks_per_second)) {
        batch = std::max(batch / 2, kTokensBesideTexts);
    }
    return batch;
}

std::span<const BatchToken> BatchScheduler::next(Slots &slots) {
    uint32_t texts = 0;
    uint32_t prompts = 0;
    for (Slot &slot : slots.span()) {
        slot.in_batch = slot.pending() == 1 ? 1 : 0;
        texts += slot.in_batch;
        prompts += slot.pending() > 1 ? 1 : 0;
    }
    // Nobody waits for the end of a batch where there is one slot: it may be a large one.
    const auto batch = static_cast<uint32_t>(tokens_.size());
    const uint32_t most = slots.size() == 1 ? batch
                                            : tokens_of_batch(batch, texts != 0, token_ticks_,
                                                              platform::ticks_per_second());
    share_places(slots, most - texts, prompts);
    figures_ = {};
    for (SlotId id = 0; id < slots.size(); ++id) {
        put(slots[id], id);
    }
    return tokens_.span().first(figures_.tokens);
}

// Prompts share the places evenly. The places that a short prompt does not use go to the others, in
// a second round.
void BatchScheduler::share_places(Slots &slots, uint32_t places, uint32_t prompts) {
    const uint32_t count = slots.size();
    uint32_t share = prompts == 0 ? 0 : places / prompts;
    while (prompts > 0 && slots[first_prompt_ % count].pending() <= 1) {
        ++first_prompt_;
    }
    for (int round = 0; round < 2 && prompts > 0; ++round) {
        for (uint32_t i = 0; i < count; ++i) {
            Slot &slot = slots[(first_prompt_ + i) % count];
            if (slot.pending() > 1) {
                const uint32_t more = std::min({slot.pending() - slot.in_batch, share, places});
                slot.in_batch += more;
                places -= more;
            }
        }
        share = places;
    }
    first_prompt_ = first_prompt_ % count + 1;
}

void BatchScheduler::put(Slot &slot, SlotId id) {
    for (uint32_t i = 0; i < slot.in_batch; ++i) {
        const uint32_t position = slot.computed + i;
        slot.last_index = figures_.tokens;
        figures_.prompt_tokens += position < slot.usage.prompt_tokens ? 1 : 0;
        tokens_[figures_.tokens++] = {.sequence = id,
                                      .token = slot.tokens[position],
                                      .position = position,
                                      .want_logits = position + 1 == slot.known};
    }
}

const BatchScheduler::Figures &BatchScheduler::finish() {
    if (figures_.tokens >= kTokensBesideTexts) {
        token_ticks_ = figures_.ticks / figures_.tokens;
    }
    return figures_;
}

}  // namespace bareflow::llama
