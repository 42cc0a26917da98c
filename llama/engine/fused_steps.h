// Level 3: a norm or a quantisation done inside the shared products that read its result. The other
// processors have joined the job already, and wait inside it, when the products begin. The code and
// the data are the same either way, but which way is faster depends on how processors wake and
// wait. So both ways are measured, on alternating tokens that are being generated. A pair of steps
// is fused from then on if that was faster by more than noise. Each pair of tokens gives every pair
// of steps one pair of timings.
//
// For batches of one token that several processors share. Boot processor only.
#pragma once

#include <cstdint>
#include <span>

#include "kernel_lib/jit/adaptive.h"
#include "kernel_lib/jit/optimize.h"

namespace bareflow::llama {

// kMeasured: see above; kAlways: for tests.
enum class Fusing : uint8_t { kNever, kMeasured, kAlways };

class FusedSteps {
  public:
    static constexpr uint32_t kMaxPairs = 8;
    static constexpr uint32_t kNone = 0;

    // Adds a pair of steps by its name, which must live as long as this. Returns the pair's number,
    // the same for the same name; kNone when there is no more room.
    [[nodiscard]] uint8_t find_or_add(const char *name);

    // A batch begins. `measurable`: it has one token, nothing else is being tried in it, and enough
    // tokens were made before.
    void begin(bool measurable);
    // The batch is complete.
    void finish();
    [[nodiscard]] bool fuses(uint8_t pair) const;
    // Time that the two steps of a pair took, or one of them.
    void add(uint8_t pair, uint64_t ticks) { pairs_[pair - 1].now += measuring_ ? ticks : 0; }

    Fusing fusing = Fusing::kNever;

    // The decisions, in the order in which they were made.
    [[nodiscard]] uint32_t try_count() const { return tried_; }
    [[nodiscard]] const OptimizationTry &try_at(uint32_t index) const { return tries_[index]; }
    [[nodiscard]] uint64_t tries(TryVerdict verdict) const;
    // Empties the list. The decisions stay in force.
    void clear_tries() { tried_ = 0; }

  private:
    struct Pair {
        const char *name = nullptr;
        bool decided = false;
        bool fused = false;
        uint64_t now = 0;     // of this token
        uint64_t before = 0;  // of the token that was measured before
        PairedTimes times;
    };
    void decide(Pair &pair, TryVerdict verdict);

    Pair pairs_[kMaxPairs];
    OptimizationTry tries_[kMaxPairs];
    uint32_t count_ = 0;
    uint32_t decided_ = 0;
    uint32_t tried_ = 0;
    uint32_t tokens_ = 0;  // that were measured
    bool measuring_ = false;
    bool fused_now_ = false;  // pairs without a decision
};

}  // namespace bareflow::llama
