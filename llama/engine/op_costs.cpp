#include "llama/engine/op_costs.h"

#include <bit>

namespace bareflow::llama {
namespace {

constexpr size_t kNameArenaBytes = 8192;
constinit char name_arena[kNameArenaBytes] = {};
constinit size_t name_arena_used = 0;
constexpr const char *kOtherName = "llama (other)";

// How many units are tried before the cost of one is known.
constexpr uint32_t kFirstUnits = 1;

// Sharing: how many measurements an average looks back on, and when trials are due (in tokens): at
// first often, when code is cold and the host has not given every processor its own, then seldom.
constexpr uint64_t kAverageOver = 16;
// A measurement counts for so many times the average at most.
constexpr uint64_t kOutlier = 4;
constexpr uint64_t kFirstTokens = 24;
constexpr uint64_t kFirstTrials = 8;
constexpr uint64_t kTrialEvery = 64;
constexpr uint64_t kSecondTrial = 32;
constexpr uint32_t kManyRowsClass = OpCosts::kFewRowClasses + 1;

// All of the time, in the unit of shares.
constexpr uint32_t kWhole = 1u << 16;

// Among the tokens between two trials.
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

void OpCosts::add(std::span<const Part> parts, uint32_t row_class, bool in_turns) {
    Op &entry = ops_[count_++];  // bounds-checked: a capacity that is too small is our mistake
    entry.row_class = row_class;
    entry.in_turns = in_turns;
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
        for (uint32_t i = 0; i < kRowClasses; ++i) {
            add(parts, i);
        }
        for (uint32_t i = 0; i < kFewRowClasses; ++i) {
            add(parts, 0, true);  // no other class tells of it
        }
    }
    return last_batched_;
}

uint32_t OpCosts::row_class(uint32_t rows) {
    const auto width = static_cast<uint32_t>(std::bit_width(rows));  // 1, 2-3, 4-7, ...
    return width > kRowClasses ? kRowClasses - 1 : width - 1;
}

uint32_t OpCosts::units_within(uint32_t op, uint32_t left, uint64_t budget_ticks) const {
    const uint64_t per_unit = ops_[op].ticks_per_unit_q8;
    if (per_unit == 0) {
        return kFirstUnits;
    }
    // Budgets above this are no limit; below it nothing overflows (left < 2^32, per_unit capped).
    constexpr uint64_t kNoLimit = uint64_t{1} << 48;
    if (budget_ticks >= kNoLimit || per_unit * left <= budget_ticks << 8) {
        return left;
    }
    const uint64_t units = (budget_ticks << 8) / per_unit;
    return units == 0 ? 1 : static_cast<uint32_t>(units);
}

OpCosts::Sharing OpCosts::trial(uint64_t count, uint32_t row_class) {
    // A step of many rows takes long and sharing mostly pays: one each way, then seldom.
    if (row_class >= kManyRowsClass) {
        return count == 1                               ? Sharing::kAlways
               : count != 0 && count % kTrialEvery == 0 ? Sharing::kNever
                                                        : Sharing::kMeasured;
    }
    // Whole tokens, so that the other processors are awake while sharing is tried. Often at first,
    // then seldom: a trial costs at most what the better way saves.
    uint64_t place = count < kFirstTokens ? count % kFirstTrials : trial_place(count);
    place = tries_turns(count, row_class) ? place % 4 : place;
    return place == 1 ? Sharing::kAlways : place == 3 ? Sharing::kNever : Sharing::kMeasured;
}

// Both ways of sharing, too.
bool OpCosts::tries_turns(uint64_t count, uint32_t row_class) {
    const uint64_t place = trial_place(count);
    return has_turns(row_class) && (place == 5 || place == 7);
}

uint64_t OpCosts::best_ticks(const Op &entry) {
    const uint64_t alone = entry.alone.ticks_q8;
    const uint64_t shared = entry.shared.ticks_q8;
    return alone == 0 || (shared != 0 && shared < alone) ? shared : alone;
}

bool OpCosts::takes_turns(uint32_t op, uint32_t row_class, bool trial) const {
    if (!has_turns(row_class)) {
        return false;
    }
    const Op &turns = ops_[in_turns(op, row_class)];
    if (trial && (turns.step != step_ || turns.trial_ticks < kTrialTicks)) {
        return true;
    }
    const uint64_t ticks = best_ticks(turns);
    return ticks != 0 && ticks < best_ticks(ops_[op + row_class]);
}

void OpCosts::Average::add(uint64_t measured_q8, uint64_t of_units, uint64_t in_step) {
    // Somebody else had the processor meanwhile: a way that is seldom tried would be thought slow
    // for very long. What really takes longer now says so again and again.
    const uint64_t most = ticks_q8 * kOutlier;
    measured_q8 = units != 0 && count != 1 && measured_q8 > most ? most : measured_q8;
    if (in_step != step) {
        before_q8 = units == 0 ? 0 : sum_q8 / units;
        sum_q8 = units = 0;
    } else if (count == 1) {
        sum_q8 = units = 0;
    } else if (count >= kAverageOver) {
        sum_q8 -= sum_q8 / kAverageOver;
        units -= units / kAverageOver;
    }
    step = in_step;
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
        if (entry.step != step_ || entry.trial_ticks < kTrialTicks) {
            return false;
        }
        sharing = Sharing::kMeasured;
    }
    // A unit costs about as much whatever the number of rows, so the lesser classes tell of it.
    const Op *sized = &entry;
    while (sized->alone.ticks_q8 == 0 && sized->row_class > 0) {
        --sized;
    }
    const uint64_t ticks = (sized->alone.ticks_q8 * units) >> 8;
    if (ticks < min_ticks || sharing == Sharing::kAlways) {
        return ticks >= min_ticks;
    }
    const Op *tried = &entry;
    while ((tried->alone.ticks_q8 == 0 || tried->shared.ticks_q8 == 0) && tried->row_class > 0) {
        --tried;
    }
    // While nobody has measured both it is worth the try.
    return tried->alone.ticks_q8 == 0 || tried->shared.ticks_q8 == 0 ||
           tried->shared.ticks_q8 < tried->alone.ticks_q8;
}

void OpCosts::set_last_share(uint32_t op, uint32_t share_q16) {
    ops_[op].last_share_q16 = share_q16 < kWhole ? share_q16 : kWhole;
}

void OpCosts::record(uint32_t op, uint32_t units, uint64_t ticks, uint64_t now_ticks, bool finished,
                     DoneBy by, uint32_t rows) {
    Op &entry = ops_[op];
    // A cost that grew is believed at once, one that fell by and by: a piece that is too short
    // costs a little, one that is too long breaks a promise.
    constexpr uint64_t kMaxTicks = uint64_t{1} << 23;  // a unit of 2^23 ticks is done one at a time
    const uint64_t measured = (ticks << 8) / units;
    const uint64_t capped = measured < (kMaxTicks << 8) ? measured : kMaxTicks << 8;
    const uint64_t old = entry.ticks_per_unit_q8;
    const uint64_t next = capped >= old ? capped : old - (old - capped) / 4;
    entry.ticks_per_unit_q8 = next == 0 ? 1 : next;
    if (by != DoneBy::kWaking) {
        (by == DoneBy::kSeveral ? entry.shared : entry.alone).add(capped, units, step_);
    }
    if (by == DoneBy::kOne || entry.in_turns) {
        entry.trial_ticks = ticks + (entry.step == step_ ? entry.trial_ticks : 0);
        entry.step = step_;
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
            profiler().end(entry.functions[i], end, rows);
            at = end;
        }
        entry.open_ticks = 0;
    }
}

}  // namespace bareflow::llama
