// The decisions of the optimiser as pure functions: from counters to what to consider, from timings
// to a verdict. No state, no clock, no machine.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernel_lib/jit/profile.h"

namespace bareflow {

// What may be done. kOff: portable references only; kBaseline: level 1; kFull: all levels.
enum class JitMode : uint8_t { kOff, kBaseline, kFull };

[[nodiscard]] constexpr int max_level(JitMode mode) {
    return mode == JitMode::kOff ? 0 : mode == JitMode::kBaseline ? 1 : kLevelCount - 1;
}

// The level to consider next for a function that was called `calls` times; 0: none now.
// `considered` is the last level that was looked at. Levels are taken one after the other.
[[nodiscard]] int level_to_consider(uint64_t calls, const JitThresholds &thresholds, int considered,
                                    JitMode mode);

// Times of a candidate and of what is in force, in ticks. One run of each makes a pair, so both
// meet the same conditions.
class PairedTimes {
  public:
    static constexpr size_t kMaxPairs = 15;

    // A run that took more than three times the shortest one of its side was interrupted. Its pair
    // is thrown away, but at most kMaxSpoiled pairs are.
    static constexpr uint64_t kSpoiledTimes = 3;
    static constexpr size_t kMaxSpoiled = 8;

    void add(uint64_t current_ticks, uint64_t candidate_ticks);  // ignored when full
    [[nodiscard]] size_t count() const { return count_; }
    [[nodiscard]] size_t spoiled() const { return spoiled_; }
    [[nodiscard]] std::span<const uint64_t> current() const { return {current_.data(), count_}; }
    [[nodiscard]] std::span<const uint64_t> candidate() const {
        return {candidate_.data(), count_};
    }

  private:
    std::array<uint64_t, kMaxPairs> current_{};
    std::array<uint64_t, kMaxPairs> candidate_{};
    size_t count_ = 0;
    size_t spoiled_ = 0;
};

// The middle value in order of size; of an even number of values the lower one; 0: no values.
[[nodiscard]] uint64_t median(std::span<const uint64_t> values);
[[nodiscard]] uint64_t smallest(std::span<const uint64_t> values);  // of at least one

enum class TimingVerdict : uint8_t { kMore, kWon, kLost };

// A win must exceed this in the minimum and in the median: what is smaller is noise.
inline constexpr uint64_t kNoisePerMille = 30;

// kMore while another pair may change the answer. Clear cases are settled after a few pairs; a
// candidate that is not clearly faster in the end has lost.
[[nodiscard]] TimingVerdict judge(const PairedTimes &times);
// Of a candidate that has lost: by more than noise, too.
[[nodiscard]] bool clearly_slower(const PairedTimes &times);

// Notices that a function has become slower than it was: a virtual machine moved to another host, a
// neighbour became busy, a context became longer. observe() takes the function's totals and
// compares the mean of each window of calls with the best mean since restart(). Several slow
// windows in a row are drift; how many it takes doubles each time drift was found.
class DriftWatch {
  public:
    // A window is long enough that one or two interruptions don't show: about 50 ms of calls.
    static constexpr uint64_t kWindowCalls = 64;
    static constexpr uint64_t kWindowCycles = uint64_t{1} << 27;
    static constexpr uint64_t kMarginPerMille = 500;
    static constexpr uint32_t kFirstPatience = 8;  // windows
    static constexpr uint32_t kMostPatience = 256;

    // True: there is drift, and the watch was restarted.
    [[nodiscard]] bool observe(uint64_t calls, uint64_t cycles);
    // Other code is in force now: earlier windows do not count.
    void restart(uint64_t calls, uint64_t cycles);

  private:
    uint64_t window_calls_ = 0;  // totals at the window's beginning
    uint64_t window_cycles_ = 0;
    uint64_t best_ = 0;  // cycles of a call in the best window; 0: none yet
    uint32_t slow_windows_ = 0;
    uint32_t patience_ = 0;  // 0: the first
};

// Whether the optimiser may work now: it has taken at most `per_mille` of the time since its start,
// or nothing else wants the processor (idle).
[[nodiscard]] constexpr bool may_optimize(uint64_t elapsed_ticks, uint64_t spent_ticks,
                                          uint64_t per_mille, bool idle) {
    return idle || spent_ticks <= elapsed_ticks / 1000 * per_mille;
}

}  // namespace bareflow
