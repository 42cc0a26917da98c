// How fast text was made since the start: tokens per second over the time spent making text, in a
// fixed number of points. When all points are used, each two neighbours become one, so that the
// whole past stays visible.
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

    // The arguments are totals since the start, which only grow. Cheap: it is called after every
    // slice of text.
    void advance(uint64_t busy_us, uint64_t tokens, uint64_t promotions);
    // Finished points, oldest first.
    [[nodiscard]] std::span<const status::TimelinePoint> points() const {
        return std::span(points_).first(count_);
    }
    // Forgets all points. The arguments are the totals now.
    void clear(uint64_t busy_us, uint64_t tokens, uint64_t promotions);

  private:
    void halve();

    std::array<status::TimelinePoint, kMaxPoints> points_{};
    size_t count_ = 0;
    uint64_t step_us_ = kFirstStepUs;
    // Totals at the begin of the point that is not finished yet.
    uint64_t begin_us_ = 0;
    uint64_t begin_tokens_ = 0;
    uint64_t begin_promotions_ = 0;
    uint64_t seen_tokens_ = 0;  // total of tokens at the last advance()
    uint64_t zero_us_ = 0;      // total of time at the begin of the first point
};

}  // namespace bareflow
