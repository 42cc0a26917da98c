// Which tokens of which slots are computed in the next batch. A text that goes on has one token in
// it; the prompts share the other places.
//
// The time that batches take decides how large the next one is: a request that arrives waits for
// the end of the present batch.
#pragma once

#include <cstdint>
#include <span>

#include "kernel_lib/base/result.h"
#include "kernel_lib/memory/buffer.h"
#include "llama/engine/batch.h"
#include "llama/engine/slots.h"

namespace bareflow::llama {

class BatchScheduler {
  public:
    // A batch with tokens of texts that go on is no larger than this, so that a long prompt does
    // not hold them up.
    static constexpr uint32_t kTokensBesideTexts = 32;
    static constexpr uint64_t kLongestBatchSeconds = 2;

    // The figures of one batch.
    struct Figures {
        uint32_t tokens = 0;
        uint32_t prompt_tokens = 0;  // of these, tokens of prompts
        uint64_t ticks = 0;          // that computing it took so far
    };

    BatchScheduler() = default;
    // `batch`: tokens of a batch at most.
    [[nodiscard]] static Result<BatchScheduler> create(uint32_t batch);
    [[nodiscard]] static uint64_t bytes_for(uint32_t batch) {
        return uint64_t{batch} * sizeof(BatchToken);
    }

    // Tokens of the next batch of an engine with several slots: `batch`, halved until the batch
    // takes no longer than kLongestBatchSeconds, but no fewer than kTokensBesideTexts.
    // `token_ticks`: time that a token has taken; 0: not known.
    [[nodiscard]] static uint32_t tokens_of_batch(uint32_t batch, bool beside_texts,
                                                  uint64_t token_ticks, uint64_t ticks_per_second);

    // Chooses the next batch and notes each slot's part in it. Empty: no slot has anything to
    // compute. The tokens stay valid until the next call.
    [[nodiscard]] std::span<const BatchToken> next(Slots &slots);
    // The batch took this much more time.
    void add_ticks(uint64_t ticks) { figures_.ticks += ticks; }
    // The batch is complete: its time counts for the size of later ones.
    const Figures &finish();

  private:
    void share_places(Slots &slots, uint32_t places, uint32_t prompts);
    void put(Slot &slot, SlotId id);

    Buffer<BatchToken> tokens_;  // [batch]
    Figures figures_;
    uint64_t token_ticks_ = 0;   // of one token of the last large batch; 0: there was none
    uint32_t first_prompt_ = 0;  // slot whose prompt gets its places first in the next batch
};

}  // namespace bareflow::llama
