// How fast text was made since the start: tokens a second against the time spent making text, in a
// fixed number of points. When they run out, neighbours are joined, so that all of the past stays.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "status/system_snapshot.h"

namespace bareflow {

class Timeline {
  public:
    static constexpr size_t kMaxPoints = status::SnapshotSource::kMaxTimelinePoints;
    static constexpr uint64_t kFirstStepUs = 100'000;

    // Totals since the start; they only grow. Cheap: called after every slice of work.
    void advance(uint64_t busy_us, uint64_t tokens, uint64_t promotions);
    // Finished points, oldest first.
    [[nodiscard]] std::span<const status::TimelinePoint> points() const {
        return std::span(points_).first(count_);
    }
    // Everything so far is forgotten; totals go on from these.
    void clear(uint64_t busy_us, uint64_t tokens, uint64_t promotions);

  private:
    void halve();

    std::array<status::TimelinePoint, kMaxPoints> points_{};
    size_t count_ = 0;
    uint64_t step_us_ = kFirstStepUs;
    uint64_t begun_us_ = 0;  // totals when the present point began
    uint64_t begun_tokens_ = 0;
    uint64_t begun_promotions_ = 0;
    uint64_t seen_tokens_ = 0;  // at the last advance()
    uint64_t zero_us_ = 0;      // when the first one began
};

}  // namespace bareflow
