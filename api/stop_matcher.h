// Finds stop strings in text that comes in pieces, also across their borders. Holds back the end of
// a piece while it may be the beginning of a stop string.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace bareflow::api {

class StopMatcher {
  public:
    static constexpr size_t kMaxStops = 4;
    static constexpr size_t kMaxStopBytes = 64;
    static constexpr size_t kMaxPieceBytes = 2048;

    // Forgets everything. At most kMaxStops, each of 1 to kMaxStopBytes; copied.
    void reset(std::span<const std::string_view> stops);
    // The text that can be shown now; valid until the next call. piece: at most kMaxPieceBytes.
    // After matched(), always empty.
    [[nodiscard]] std::string_view put(std::string_view piece);
    // The text ended: what was held back. Valid until the next call.
    [[nodiscard]] std::string_view finish();
    [[nodiscard]] bool matched() const { return matched_; }

  private:
    struct Stop {
        std::array<char, kMaxStopBytes> bytes;
        size_t len = 0;
        [[nodiscard]] std::string_view view() const { return {bytes.data(), len}; }
    };
    std::array<Stop, kMaxStops> stops_;
    size_t stop_count_ = 0;
    bool matched_ = false;
    size_t shown_ = 0;  // leading bytes of text_ that were returned last time
    size_t len_ = 0;
    std::array<char, kMaxPieceBytes + kMaxStopBytes> text_;
};

}  // namespace bareflow::api
