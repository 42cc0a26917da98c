// What each kind of operation costs, one entry for all layers. Serves two ends: cutting long
// operations into pieces that end at a deadline, and the profile, where an operation that was cut
// into many pieces counts as one call of each of its parts ("q8_0_gemv 352x128").
#pragma once

#include <array>
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

    // The index of the operation of this name, added when it is new. Room for it is the caller's
    // to have asked for.
    [[nodiscard]] uint32_t find_or_add(std::string_view name);

    // What an operation consists of in the profile, and its share of the time.
    struct Part {
        std::string_view name;
        uint64_t weight = 0;
    };
    static constexpr uint32_t kMaxParts = 3;
    // An operation over several rows of a batch costs less for each of them than over one: its
    // costs are kept by the number of rows, roughly. Index: the result + row_class(rows). With the
    // same parts the same index; when there is no more room, that of the last one.
    static constexpr uint32_t kRowClasses = 6;
    // Few rows can also take turns, each with the kernels for one vector, which are tuned and may
    // be faster than those for several: that has entries of its own.
    static constexpr uint32_t kFewRowClasses = 2;  // 2-3 and 4-7 rows
    static constexpr uint32_t kEntries = kRowClasses + kFewRowClasses;
    // Kept free for find_or_add().
    static constexpr uint32_t kReserved = 8;
    [[nodiscard]] uint32_t find_or_add_batched(std::span<const Part> parts);
    [[nodiscard]] static uint32_t row_class(uint32_t rows);
    [[nodiscard]] static bool has_turns(uint32_t row_class) {
        return row_class - 1 < kFewRowClasses;
    }
    // The entry of an operation whose rows take turns; of a class that has one.
    [[nodiscard]] static uint32_t in_turns(uint32_t op, uint32_t row_class) {
        return op + kRowClasses + row_class - 1;
    }

    [[nodiscard]] uint64_t size_bytes() const { return bytes_for(ops_.size()); }
    [[nodiscard]] static uint64_t bytes_for(uint64_t capacity) { return capacity * sizeof(Op); }

    // How many of `left` units (>= 1) may be started with `budget_ticks` left; at least 1.
    [[nodiscard]] uint32_t units_within(uint32_t op, uint32_t left, uint64_t budget_ticks) const;
    // Whether an operation is shared by the processors or done by one. Both ways are measured;
    // kMeasured takes the one that was faster, the others make sure that there are measurements.
    // Where this number of rows has none, what was found with fewer rows counts; where nothing was,
    // a long operation is shared.
    enum class Sharing : uint8_t { kMeasured, kAlways, kNever };
    // kNever is a trial, which ends for an operation when it has taken one processor so long within
    // a step: the other layers go on as measured. Some 0.4 ms.
    static constexpr uint64_t kTrialTicks = uint64_t{1} << 20;
    // A step begins: so do its trials.
    void begin_step() { ++step_; }
    // The trial that the `count`-th step of a class of rows is due for.
    [[nodiscard]] static Sharing trial(uint64_t count, uint32_t row_class = 0);
    // Whether the rows of an operation are to take turns: what was faster, or for a trial.
    [[nodiscard]] static bool tries_turns(uint64_t count, uint32_t row_class);
    [[nodiscard]] bool takes_turns(uint32_t op, uint32_t row_class, bool trial) const;
    // `min_ticks`: what takes one processor less is done by one, whatever `sharing` says.
    [[nodiscard]] bool share(uint32_t op, uint32_t units, uint64_t min_ticks,
                             Sharing sharing) const;
    // The share of an operation's last part, in 1 / 65536, as it was measured; the others keep
    // theirs among themselves.
    void set_last_share(uint32_t op, uint32_t share_q16);
    // Who did it. kWaking: it was offered to the others, but they were only being woken; that says
    // nothing about either way.
    enum class DoneBy : uint8_t { kOne, kSeveral, kWaking };
    // `units` were done in `ticks`, ending at `now_ticks`; `finished`: they were the last ones; by
    // several processors: ticks is what the clock showed, not their sum; `rows`: of the batch, for
    // the profile.
    void record(uint32_t op, uint32_t units, uint64_t ticks, uint64_t now_ticks, bool finished,
                DoneBy by = DoneBy::kOne, uint32_t rows = 1);
    // The operation was given up: what was recorded of it since it last finished does not count.
    void abandon(uint32_t op) { ops_[op].open_ticks = 0; }

  private:
    // Of the measurements of a step, or of the step before where that was better: a processor that
    // came late spoils one step, and what really takes longer now does so in the next one, too. The
    // first measurement is of a cold operation, and of one unit: it counts until there is another.
    // A long operation is cut where a deadline is: its pieces count by their units.
    struct Average {
        uint64_t ticks_q8;  // of a unit, times 256; 0: not measured yet
        uint64_t before_q8;
        uint64_t sum_q8;
        uint64_t units;
        uint64_t step;  // of the last one
        uint32_t count;
        void add(uint64_t measured_q8, uint64_t of_units, uint64_t in_step);
    };
    struct Op;
    [[nodiscard]] static uint64_t best_ticks(const Op &entry);
    struct Op {
        std::array<const char *, kMaxParts> names;
        std::array<FunctionId, kMaxParts> functions;  // in the profile
        std::array<uint32_t, kMaxParts> shares_q16;   // of the time
        uint32_t last_share_q16;                      // what was measured of it, else 0
        uint32_t parts;
        uint64_t ticks_per_unit_q8;  // times 256; 0: not measured yet
        uint64_t open_ticks;         // spent on the call that is not finished
        Average alone;
        Average shared;
        uint64_t step;         // the last one in which it was done in a way that trials are for,
        uint64_t trial_ticks;  // and the time that took
        uint32_t row_class;    // the entries before are the lesser classes of the same operation
        bool in_turns;
    };

    void add(std::span<const Part> parts, uint32_t row_class, bool in_turns = false);

    Buffer<Op> ops_;
    uint64_t step_ = 0;
    uint32_t count_ = 0;
    uint32_t last_batched_ = 0;
};

}  // namespace bareflow::llama
