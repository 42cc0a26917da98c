// Measurements of operations, and the decisions made by them: how many units fit before a deadline,
// whether to share an operation, whether to compute a small batch's products singly.
//
// A way that is not in force must be tried now and then, or nobody would notice that it became
// faster. Trials are therefore spread over batches: often at first, while code is cold, then one in
// kTrialEvery batches, so that they cost little.
#include "llama/engine/op_costs.h"

#include <bit>

namespace bareflow::llama {
namespace {

constexpr size_t kNameArenaBytes = 8192;
constinit char name_arena[kNameArenaBytes] = {};
constinit size_t name_arena_used = 0;
constexpr const char *kOtherName = "llama (other)";

// Units that are started while the cost of one is not known.
constexpr uint32_t kFirstUnits = 1;

// Measurements that an average looks back on.
constexpr uint64_t kAverageOver = 16;
// A measurement counts for at most this many times the average.
constexpr uint64_t kOutlier = 4;
// When trials are due, in batches. During the first kFirstBatches, code is cold and the host may
// not have given every processor its own: there are trials in every kFirstTrials batches.
constexpr uint64_t kFirstBatches = 24;
constexpr uint64_t kFirstTrials = 8;
constexpr uint64_t kTrialEvery = 64;
constexpr uint64_t kSecondTrial = 32;
constexpr uint32_t kManyTokensClass = OpCosts::kFewTokenClasses + 1;

// All of the time, in the unit of shares.
constexpr uint32_t kWhole = 1u << 16;

// The place of a batch among those from one trial to the next.
uint64_t trial_place(uint64_t count) {
    return count % (count < kTrialEvery ? kSecondTrial : kTrialEvery);
}

}  // namespace

const char *intern_name(std::string_view name) {
    size_t at = 0;
    while (at < name_arena_used) {
        const std::string_view known(name_arena + at);
        if (known == name) {
            return name_arena + at;
        }
        at += known.size() + 1;
    }
    if (name.size() + 1 > kNameArenaBytes - name_arena_used) {
        return kOtherName;
    }
    char *copy = name_arena + name_arena_used;
    __builtin_memcpy(copy, name.data(), name.size());
    copy[name.size()] = '\0';
    name_arena_used += name.size() + 1;
    return copy;
}

Result<OpCosts> OpCosts::create(uint32_t capacity) {
    OpCosts costs;
    BF_ASSIGN(costs.ops_, Buffer<Op>::create(capacity));
    return costs;
}

void OpCosts::add(std::span<const Part> parts, uint32_t batch_class, bool singly) {
    Op &entry = ops_[count_++];  // bounds-checked: too small a capacity is our mistake
    entry.batch_class = batch_class;
    entry.singly = singly;
    uint64_t sum = 0;
    for (const Part &part : parts) {
        sum += part.weight;
    }
    for (const Part &part : parts) {
        const char *const known = intern_name(part.name);
        const FunctionId function = profiler().key(known);
        entry.names[entry.parts] = known;
        entry.functions[entry.parts] = function;
        entry.shares_q16[entry.parts] = static_cast<uint32_t>((part.weight << 16) / sum);
        ++entry.parts;
        for (const char *at = known; *at != '\0'; ++at) {
            if (*at == ' ') {
                profiler().set_shape(function, at + 1);
                break;
            }
        }
    }
}

uint32_t OpCosts::find_or_add(std::string_view name) {
    const char *const known = intern_name(name);
    for (uint32_t op = 0; op < count_; ++op) {
        if (ops_[op].parts == 1 && ops_[op].names[0] == known) {
            return op;
        }
    }
    const Part part{name, 1};
    add({&part, 1}, 0);
    return count_ - 1;
}

uint32_t OpCosts::find_or_add_batched(std::span<const Part> parts) {
    for (uint32_t op = 0; op < count_; ++op) {
        bool same = ops_[op].parts == parts.size();
        for (uint32_t i = 0; same && i < parts.size(); ++i) {
            same = ops_[op].names[i] == intern_name(parts[i].name);
        }
        if (same) {
            return op;  // the first of its classes
        }
    }
    if (count_ + kEntries + kReserved <= ops_.size()) {
        last_batched_ = count_;
        for (uint32_t i = 0; i < kBatchClasses; ++i) {
            add(parts, i);
        }
        for (uint32_t i = 0; i < kFewTokenClasses; ++i) {
            add(parts, 0, true);  // no lesser class to look at
        }
    }
    return last_batched_;
}

uint32_t OpCosts::batch_class(uint32_t tokens) {
    const auto width = static_cast<uint32_t>(std::bit_width(tokens));  // 1, 2-3, 4-7, ...
    return width > kBatchClasses ? kBatchClasses - 1 : width - 1;
}

uint32_t OpCosts::units_within(uint32_t op, uint32_t left, uint64_t budget_ticks) const {
    const uint64_t per_unit = ops_[op].ticks_per_unit_q8;
    if (per_unit == 0) {
        return kFirstUnits;
    }
    // A budget above this is no limit. Below it nothing overflows: left < 2^32, per_unit is capped.
    constexpr uint64_t kNoLimit = uint64_t{1} << 48;
    if (budget_ticks >= kNoLimit || per_unit * left <= budget_ticks << 8) {
        return left;
    }
    const uint64_t units = (budget_ticks << 8) / per_unit;
    return units == 0 ? 1 : static_cast<uint32_t>(units);
}

OpCosts::Sharing OpCosts::trial(uint64_t count, uint32_t batch_class) {
    // A batch of many tokens takes long, and sharing mostly pays: one trial early, then few.
    if (batch_class >= kManyTokensClass) {
        return count == 1                               ? Sharing::kAlways
               : count != 0 && count % kTrialEvery == 0 ? Sharing::kNever
                                                        : Sharing::kMeasured;
    }
    // A trial lasts a whole batch, so that the other processors are awake while sharing is tried.
    // It costs at most the time that the better way saves.
    uint64_t place = count < kFirstBatches ? count % kFirstTrials : trial_place(count);
    place = tries_singly(count, batch_class) ? place % 4 : place;
    return place == 1 ? Sharing::kAlways : place == 3 ? Sharing::kNever : Sharing::kMeasured;
}

// Two places: together with trial(), products are tried singly both shared and not.
bool OpCosts::tries_singly(uint64_t count, uint32_t batch_class) {
    const uint64_t place = trial_place(count);
    return may_go_singly(batch_class) && (place == 5 || place == 7);
}

uint64_t OpCosts::best_ticks(const Op &entry) {
    const uint64_t alone = entry.alone.ticks_q8;
    const uint64_t shared = entry.shared.ticks_q8;
    return alone == 0 || (shared != 0 && shared < alone) ? shared : alone;
}

bool OpCosts::goes_singly(uint32_t op, uint32_t batch_class, bool trial) const {
    if (!may_go_singly(batch_class)) {
        return false;
    }
    const Op &alternative = ops_[singly(op, batch_class)];
    if (trial && (alternative.batch != batch_ || alternative.trial_ticks < kTrialTicks)) {
        return true;
    }
    const uint64_t ticks = best_ticks(alternative);
    return ticks != 0 && ticks < best_ticks(ops_[op + batch_class]);
}

void OpCosts::Average::add(uint64_t measured_q8, uint64_t of_units, uint64_t in_batch) {
    // A very long measurement mostly means that another program had the processor. Counted in full,
    // it would keep a way that is seldom tried from being chosen for very long. An operation that
    // really takes longer now shows it again and again.
    const uint64_t most = ticks_q8 * kOutlier;
    measured_q8 = units != 0 && count != 1 && measured_q8 > most ? most : measured_q8;
    if (in_batch != batch) {
        before_q8 = units == 0 ? 0 : sum_q8 / units;
        sum_q8 = units = 0;
    } else if (count == 1) {
        sum_q8 = units = 0;
    } else if (count >= kAverageOver) {
        sum_q8 -= sum_q8 / kAverageOver;
        units -= units / kAverageOver;
    }
    batch = in_batch;
    sum_q8 += measured_q8 * of_units;
    units += of_units;
    const uint64_t now_q8 = sum_q8 / units;
    ticks_q8 = before_q8 != 0 && before_q8 < now_q8 ? before_q8 : now_q8;
    ticks_q8 += ticks_q8 == 0 ? 1 : 0;
    ++count;
}

bool OpCosts::share(uint32_t op, uint32_t units, uint64_t min_ticks, Sharing sharing) const {
    const Op &entry = ops_[op];
    if (sharing == Sharing::kNever) {
        if (entry.batch != batch_ || entry.trial_ticks < kTrialTicks) {
            return false;
        }
        sharing = Sharing::kMeasured;
    }
    // A unit of a lesser class costs about as much: use its time where this class has none.
    const Op *sized = &entry;
    while (sized->alone.ticks_q8 == 0 && sized->batch_class > 0) {
        --sized;
    }
    const uint64_t ticks = (sized->alone.ticks_q8 * units) >> 8;
    if (ticks < min_ticks || sharing == Sharing::kAlways) {
        return ticks >= min_ticks;
    }
    const Op *tried = &entry;
    while ((tried->alone.ticks_q8 == 0 || tried->shared.ticks_q8 == 0) && tried->batch_class > 0) {
        --tried;
    }
    // Share until both ways were measured.
    return tried->alone.ticks_q8 == 0 || tried->shared.ticks_q8 == 0 ||
           tried->shared.ticks_q8 < tried->alone.ticks_q8;
}

void OpCosts::set_last_share(uint32_t op, uint32_t share_q16) {
    ops_[op].last_share_q16 = share_q16 < kWhole ? share_q16 : kWhole;
}

void OpCosts::record(uint32_t op, uint32_t units, uint64_t ticks, uint64_t now_ticks, bool finished,
                     DoneBy by, uint32_t tokens) {
    Op &entry = ops_[op];
    // A higher cost counts at once, a lower one by a quarter at a time. A piece that is too short
    // costs little, but one that is too long misses the deadline.
    constexpr uint64_t kMaxTicks = uint64_t{1} << 23;  // a unit of 2^23 ticks is done one at a time
    const uint64_t measured = (ticks << 8) / units;
    const uint64_t capped = measured < (kMaxTicks << 8) ? measured : kMaxTicks << 8;
    const uint64_t old = entry.ticks_per_unit_q8;
    const uint64_t next = capped >= old ? capped : old - (old - capped) / 4;
    entry.ticks_per_unit_q8 = next == 0 ? 1 : next;
    if (by != DoneBy::kWaking) {
        (by == DoneBy::kSeveral ? entry.shared : entry.alone).add(capped, units, batch_);
    }
    if (by == DoneBy::kOne || entry.singly) {
        entry.trial_ticks = ticks + (entry.batch == batch_ ? entry.trial_ticks : 0);
        entry.batch = batch_;
    }
    entry.open_ticks += ticks;
    if (finished) {
        uint64_t at = now_ticks - entry.open_ticks;
        for (uint32_t i = 0; i < entry.parts; ++i) {
            const bool last = i + 1 == entry.parts;
            const uint64_t share =
                uint64_t{entry.shares_q16[i]} * (kWhole - entry.last_share_q16) >> 16;
            const uint64_t end = last ? now_ticks : at + (entry.open_ticks * share >> 16);
            profiler().begin(entry.functions[i], at);
            profiler().end(entry.functions[i], end, tokens);
            at = end;
        }
        entry.open_ticks = 0;
    }
}

}  // namespace bareflow::llama
