#include "api/stop_matcher.h"

#include <algorithm>
#include <cstring>

namespace bareflow::api {

void StopMatcher::reset(std::span<const std::string_view> stops) {
    stop_count_ = 0;
    matched_ = false;
    shown_ = 0;
    len_ = 0;
    for (const std::string_view stop : stops.first(std::min(stops.size(), kMaxStops))) {
        Stop &to = stops_[stop_count_++];
        to.len = std::min(stop.size(), kMaxStopBytes);
        std::memcpy(to.bytes.data(), stop.data(), to.len);
    }
}

std::string_view StopMatcher::put(std::string_view piece) {
    std::memmove(text_.data(), text_.data() + shown_, len_ - shown_);
    len_ -= shown_;
    shown_ = 0;
    if (matched_) {
        return {};
    }
    // The text held back is shorter than a stop string, so a piece within its limit always fits.
    const size_t taken = std::min(piece.size(), text_.size() - len_);
    if (taken > 0) {
        std::memcpy(text_.data() + len_, piece.data(), taken);
    }
    len_ += taken;

    const std::string_view text(text_.data(), len_);
    // The stop that is complete first wins, and among those the longest. So the result does not
    // depend on how the text was cut into pieces.
    size_t match_begin = 0;
    size_t match_end = std::string_view::npos;
    size_t held = 0;
    for (size_t i = 0; i < stop_count_; ++i) {
        const std::string_view stop = stops_[i].view();
        const size_t at = text.find(stop);
        if (at != std::string_view::npos) {
            const size_t end = at + stop.size();
            if (end < match_end || (end == match_end && at < match_begin)) {
                match_begin = at;
                match_end = end;
            }
        }
        for (size_t len = std::min(stop.size() - 1, text.size()); len > held; --len) {
            if (text.ends_with(stop.substr(0, len))) {
                held = len;
            }
        }
    }
    if (match_end != std::string_view::npos) {
        matched_ = true;
        len_ = match_begin;
        held = 0;
    }
    shown_ = len_ - held;
    return {text_.data(), shown_};
}

std::string_view StopMatcher::finish() {
    const std::string_view rest = {text_.data() + shown_, len_ - shown_};
    shown_ = len_;
    return rest;
}

}  // namespace bareflow::api
