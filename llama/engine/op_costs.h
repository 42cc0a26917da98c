// What each operation costs: one entry for all layers. The costs serve three ends. Long operations
// are cut into pieces that end at a deadline. Operations are shared among processors where that was
// faster. And the profile counts an operation that was cut into many pieces as one call of each of
// its parts ("q8_0_gemv 352x128").
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernel_lib/base/result.h"
#include "kernel_lib/jit/profile.h"
#include "kernel_lib/memory/buffer.h"

namespace bareflow::llama {

// A copy of the text that lives as long as the program. Equal texts give the same pointer. There is
// room for a few hundred names; all further names become one, "llama (other)".
[[nodiscard]] const char *intern_name(std::string_view name);

class OpCosts {
  public:
    OpCosts() = default;
    [[nodiscard]] static Result<OpCosts> create(uint32_t capacity);

    // The index of the operation of this name, which is added when it is new. create() must have
    // been given the capacity for it.
    [[nodiscard]] uint32_t find_or_add(std::string_view name);

    // A part of an operation in the profile; its weight says which share of the time it has.
    struct Part {
        std::string_view name;
        uint64_t weight = 0;
    };
    static constexpr uint32_t kMaxParts = 3;
    // An operation over several tokens costs less for each of them than over one. So costs are kept
    // by batch class, the approximate number of tokens.
    static constexpr uint32_t kBatchClasses = 6;
    // The products of a small batch can also be computed singly, one token after the other with the
    // kernels for one vector. These are tuned and may be faster than those for several vectors.
    // Operations that are done singly have entries of their own.
    static constexpr uint32_t kFewTokenClasses = 2;  // 2-3 and 4-7 tokens
    static constexpr uint32_t kEntries = kBatchClasses + kFewTokenClasses;
    // Entries that find_or_add_batched() leaves to find_or_add().
    static constexpr uint32_t kReserved = 8;
    // The index of the first of kEntries entries; add batch_class() to it, or call singly(). Equal
    // parts give the same index. When there is no more room, the index of the operation that was
    // added last.
    [[nodiscard]] uint32_t find_or_add_batched(std::span<const Part> parts);
    // 0: 1 token, 1: 2-3, 2: 4-7 and so on.
    [[nodiscard]] static uint32_t batch_class(uint32_t tokens);
    [[nodiscard]] static bool may_go_singly(uint32_t batch_class) {
        return batch_class - 1 < kFewTokenClasses;
    }
    // The entry of an operation that is done singly; the class is one that may.
    [[nodiscard]] static uint32_t singly(uint32_t op, uint32_t batch_class) {
        return op + kBatchClasses + batch_class - 1;
    }

    [[nodiscard]] uint64_t size_bytes() const { return bytes_for(ops_.size()); }
    [[nodiscard]] static uint64_t bytes_for(uint64_t capacity) { return capacity * sizeof(Op); }

    // How many of `left` units (>= 1) may be started with `budget_ticks` left; at least 1.
    [[nodiscard]] uint32_t units_within(uint32_t op, uint32_t left, uint64_t budget_ticks) const;
    // Whether the processors share an operation or one processor does it. Both ways are measured.
    // kMeasured chooses the faster one; kAlways and kNever are trials that provide measurements. A
    // batch class without measurements uses those of a lesser class. If there are none either, a
    // long operation is shared.
    enum class Sharing : uint8_t { kMeasured, kAlways, kNever };
    // kNever forces one processor, as a trial. Within one batch the trial ends for an operation
    // once it has used this time that way (about 0.4 ms). The remaining layers use the way that was
    // measured to be faster.
    static constexpr uint64_t kTrialTicks = uint64_t{1} << 20;
    // A batch begins, and with it its trials.
    void begin_batch() { ++batch_; }
    // The trial for the `count`-th batch of a class.
    [[nodiscard]] static Sharing trial(uint64_t count, uint32_t batch_class = 0);
    // Whether the `count`-th batch of a class is to try computing products singly.
    [[nodiscard]] static bool tries_singly(uint64_t count, uint32_t batch_class);
    // Whether to do an operation singly: for a trial, or because that was faster.
    [[nodiscard]] bool goes_singly(uint32_t op, uint32_t batch_class, bool trial) const;
    // Whether to share `units` of an operation. One processor does what takes it less than
    // `min_ticks`, whatever `sharing` says.
    [[nodiscard]] bool share(uint32_t op, uint32_t units, uint64_t min_ticks,
                             Sharing sharing) const;
    // The measured share of an operation's last part in its time, in 1 / 65536. The other parts
    // divide the remaining time by their weights.
    void set_last_share(uint32_t op, uint32_t share_q16);
    // Who did an operation. kWaking: it was shared, but the other processors were asleep and came
    // late; such a measurement counts for neither way.
    enum class DoneBy : uint8_t { kOne, kSeveral, kWaking };
    // `units` were done in `ticks` of the clock (not the sum over processors) until `now_ticks`.
    // `finished`: they were the operation's last ones. `tokens`: of the batch, for the profile.
    void record(uint32_t op, uint32_t units, uint64_t ticks, uint64_t now_ticks, bool finished,
                DoneBy by = DoneBy::kOne, uint32_t tokens = 1);
    // The operation was given up: the units recorded since it last finished do not count as a call.
    void abandon(uint32_t op) { ops_[op].open_ticks = 0; }

  private:
    // The average over the measurements of a batch, or that of the batch before where it was
    // better. A processor that came late spoils one batch only; an operation that really takes
    // longer now does so in the next batch, too. The first measurement is of cold code and one
    // unit: it counts until there is another. The pieces of an operation that was cut count by
    // their units.
    struct Average {
        uint64_t ticks_q8;  // of a unit, times 256; 0: not measured yet
        uint64_t before_q8;
        uint64_t sum_q8;
        uint64_t units;
        uint64_t batch;  // of the last measurement
        uint32_t count;
        void add(uint64_t measured_q8, uint64_t of_units, uint64_t in_batch);
    };
    struct Op;
    [[nodiscard]] static uint64_t best_ticks(const Op &entry);
    struct Op {
        std::array<const char *, kMaxParts> names;
        std::array<FunctionId, kMaxParts> functions;  // in the profile
        std::array<uint32_t, kMaxParts> shares_q16;   // of the time
        uint32_t last_share_q16;                      // of the last part, measured; 0: not measured
        uint32_t parts;
        uint64_t ticks_per_unit_q8;  // times 256; 0: not measured yet
        uint64_t open_ticks;         // of the call that is not finished
        Average alone;
        Average shared;
        uint64_t batch;        // the last one in which it was done by one processor or singly
        uint64_t trial_ticks;  // the time that this took in that batch
        uint32_t batch_class;  // the entries before are the lesser classes of the same operation
        bool singly;
    };

    void add(std::span<const Part> parts, uint32_t batch_class, bool singly = false);

    Buffer<Op> ops_;
    uint64_t batch_ = 0;  // number of the present one
    uint32_t count_ = 0;
    uint32_t last_batched_ = 0;
};

}  // namespace bareflow::llama
