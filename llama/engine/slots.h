// The engine's slots: what each of them holds of its text, which free slot a new prompt gets, and
// which keys and values are copied from one slot to another.
//
// A slot whose text is finished keeps its tokens, and the transformer keeps their keys and values.
// A new prompt with the same prefix starts behind it.
#pragma once

#include <cstdint>
#include <span>

#include "kernel_lib/base/result.h"
#include "kernel_lib/memory/buffer.h"
#include "llama/engine/request.h"
#include "llama/engine/sampler.h"

namespace bareflow::llama {

inline constexpr SlotId kNoSlot = 0xffffffff;

struct Slot {
    enum class Phase : uint8_t {
        kFree,     // tokens[0, computed) of its last text are still there
        kCopying,  // waits for the prefix of its prompt, which another slot has
        kComputing,
    };

    Phase phase = Phase::kFree;
    bool paused = false;
    TokenSink *sink = nullptr;
    uint64_t serial = 0;      // number of the request
    uint64_t used = 0;        // Slots' clock when a request last started or ended here
    Token *tokens = nullptr;  // [context]: the prompt, then the tokens that were made
    uint32_t known = 0;       // number of valid tokens
    uint32_t computed = 0;    // number of leading tokens that have their keys and values
    uint32_t in_batch = 0;    // number of its tokens in the present batch
    uint32_t last_index = 0;  // of its last token within that batch, where its logits are
    bool prompt_done = false;
    bool has_logits = false;     // the batch is done, its next token is not chosen yet
    SlotId copy_source = 0;      // kCopying: the slot that has the prefix
    uint32_t copy_count = 0;     // kCopying: length of the prefix
    uint32_t max_tokens = 0;     // of the request
    Token also_ends = kNoToken;  // of the request
    uint64_t worked_before = 0;  // ticks in advance() before this phase of the request
    Usage usage;
    SampledText text;

    [[nodiscard]] bool is_busy() const { return phase != Phase::kFree; }
    // Tokens that can be computed now.
    [[nodiscard]] uint32_t pending() const {
        return phase == Phase::kComputing && !paused ? known - computed : 0;
    }
};

// Keys and values of the first `count` positions that one slot copies from another.
struct PrefixCopy {
    SlotId from = 0;
    SlotId to = 0;
    uint32_t count = 0;   // 0: there is nothing to copy
    uint64_t serial = 0;  // of the request that waits for it
};

class Slots {
  public:
    Slots() = default;
    // `count` free slots of `context` tokens each.
    [[nodiscard]] static Result<Slots> create(uint32_t count, uint32_t context);
    [[nodiscard]] static uint64_t bytes_for(uint32_t count, uint32_t context) {
        return count * (uint64_t{context} * sizeof(Token) + sizeof(Slot));
    }

    [[nodiscard]] uint32_t size() const { return static_cast<uint32_t>(slots_.size()); }
    [[nodiscard]] Slot &operator[](SlotId id) { return slots_[id]; }
    [[nodiscard]] const Slot &operator[](SlotId id) const { return slots_[id]; }
    [[nodiscard]] std::span<Slot> span() { return slots_.span(); }
    [[nodiscard]] std::span<const Slot> span() const { return slots_.span(); }

    // Makes a free slot hold the prompt, and sets what is computed or copied of it. kNoSlot: there
    // is no free slot.
    [[nodiscard]] SlotId take(std::span<const Token> prompt);
    // The free slot that was used least recently is taken first; this one was used now.
    void touch(Slot &slot) { slot.used = ++clock_; }
    // The copy that the oldest waiting request needs; between two batches.
    [[nodiscard]] PrefixCopy next_copy() const;

  private:
    Buffer<Token> tokens_;  // [slots][context]
    Buffer<Slot> slots_;
    uint64_t clock_ = 0;  // for Slot::used
};

}  // namespace bareflow::llama
