// Level 3: a norm or a quantisation done inside the shared product that it feeds, so that the other
// processors are there already, and wait inside the piece of work, when the product begins. The
// same code on the same data in either case; which is faster depends on how processors wake and
// wait. So both are measured on whole tokens being generated, in turns, and fused stays what is
// faster by more than noise. A pair of tokens is one pair of timings of every product.
//
// Of steps of one row that several processors share. Boot processor only.
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

    // A product and what feeds it, by the name of the product's operation, which stays. Returns
    // their number, the same for the same name; kNone when there is no more room.
    [[nodiscard]] uint8_t find_or_add(const char *name);

    // A token begins. `measurable`: nothing else is being tried, and it is hot enough.
    void begin(bool measurable);
    // It is complete.
    void finish();
    [[nodiscard]] bool fuses(uint8_t pair) const;
    // What the two took, together or one of them.
    void add(uint8_t pair, uint64_t ticks) { pairs_[pair - 1].now += measuring_ ? ticks : 0; }

    Fusing fusing = Fusing::kNever;

    // What was decided, in order.
    [[nodiscard]] uint32_t try_count() const { return tried_; }
    [[nodiscard]] const OptimizationTry &try_at(uint32_t index) const { return tries_[index]; }
    [[nodiscard]] uint64_t tries(TryVerdict verdict) const;
    // The list, but not what is in force.
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
    bool fused_now_ = false;  // what is not decided
};

}  // namespace bareflow::llama
