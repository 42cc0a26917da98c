// What each kind of operation costs: a name with its shape ("q8_0_gemv 352x128"), one entry for all
// layers. Serves two ends: cutting long operations into pieces that end at a deadline, and the
// profile, where an operation that was cut into many pieces counts as one call.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "kernel_lib/base/result.h"
#include "kernel_lib/jit/profile.h"
#include "kernel_lib/memory/buffer.h"

namespace bareflow::llama {

// The same text in memory that lives as long as the program; equal texts give the same pointer.
// Room for a few hundred names; when it is full, one name for all the rest.
[[nodiscard]] const char *intern_name(std::string_view name);

class OpCosts {
  public:
    OpCosts() = default;
    [[nodiscard]] static Result<OpCosts> create(uint32_t capacity);

    // The index of the operation of this name, added when it is new.
    [[nodiscard]] uint32_t find_or_add(std::string_view name);

    // How many of `left` units (>= 1) may be started with `budget_ticks` left; at least 1.
    [[nodiscard]] uint32_t units_within(uint32_t op, uint32_t left, uint64_t budget_ticks) const;
    // Whether an operation is shared by the processors or done by one. Both ways are measured;
    // kMeasured takes the one that was faster, the others make sure that there are measurements.
    enum class Sharing : uint8_t { kMeasured, kAlways, kNever };
    // The trial that the `count`-th token is due for.
    [[nodiscard]] static Sharing trial(uint64_t count);
    // `min_ticks`: what takes one processor less is done by one, whatever `sharing` says.
    [[nodiscard]] bool share(uint32_t op, uint32_t units, uint64_t min_ticks,
                             Sharing sharing) const;
    // `units` were done in `ticks`, ending at `now_ticks`; `finished`: they were the last ones;
    // `shared`: by several processors (ticks is what the clock showed, not their sum).
    void record(uint32_t op, uint32_t units, uint64_t ticks, uint64_t now_ticks, bool finished,
                bool shared = false);
    // The operation was given up: what was recorded of it since it last finished does not count.
    void abandon(uint32_t op) { ops_[op].open_ticks = 0; }

  private:
    struct Op {
        const char *name;
        FunctionId function;         // in the profile
        uint64_t ticks_per_unit_q8;  // times 256; 0: not measured yet
        uint64_t open_ticks;         // spent on the call that is not finished
        // Averages, times 256; 0: not measured yet.
        uint64_t alone_q8;
        uint64_t shared_q8;
    };

    Buffer<Op> ops_;
    uint32_t count_ = 0;
};

}  // namespace bareflow::llama
