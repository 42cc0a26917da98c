// What came of every candidate: the last entries in full, and how many there were of each verdict.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernel_lib/jit/optimization_target.h"

namespace bareflow {

enum class TryVerdict : uint8_t { kWon, kLost, kDiffered, kUnavailable, kFaulted, kOverran };
inline constexpr size_t kTryVerdicts = 6;
// "won", "lost", "differed", "unavailable", "faulted", "overran".
[[nodiscard]] std::string_view verdict_name(TryVerdict verdict);

struct OptimizationTry {
    static constexpr size_t kVariantBytes = 32;

    const char *function = nullptr;
    std::array<char, kVariantBytes> variant_text{};
    uint8_t variant_len = 0;
    uint8_t level = 0;
    TryVerdict verdict{};
    uint32_t code_bytes = 0;
    // Medians of the runs that were compared; 0: the candidate was not timed.
    uint64_t candidate_ticks = 0;
    uint64_t current_ticks = 0;
    uint64_t at_ticks = 0;  // when it was decided

    [[nodiscard]] std::string_view variant() const { return {variant_text.data(), variant_len}; }
};

using TickClock = uint64_t (*)();

class TryLog {
  public:
    // `room` has at least one entry.
    TryLog(std::span<OptimizationTry> room, TickClock clock) : room_(room), clock_(clock) {}

    // The new entry, without code size and times: the caller adds these. When the room is full, the
    // oldest entry goes.
    OptimizationTry &add(const Candidate &candidate, TryVerdict verdict);
    void clear();

    [[nodiscard]] size_t count() const { return added_ < room_.size() ? added_ : room_.size(); }
    // The oldest first.
    [[nodiscard]] const OptimizationTry &at(size_t index) const;
    // All since the last clear(), those that are no longer in the log included.
    [[nodiscard]] uint64_t tries(TryVerdict verdict) const {
        return verdicts_[static_cast<size_t>(verdict)];
    }

  private:
    std::span<OptimizationTry> room_;
    TickClock clock_;
    uint64_t added_ = 0;
    std::array<uint64_t, kTryVerdicts> verdicts_{};
};

}  // namespace bareflow
