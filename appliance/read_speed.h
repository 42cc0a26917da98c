// How fast this machine reads the model's bytes with all processors that compute. No kernel that is
// limited by memory can be faster. If the model fits into the caches, this is the speed of the
// caches, as it is for the kernels. It is measured once, in pieces, while no request is waiting.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace bareflow {

class ReadSpeed {
  public:
    static constexpr size_t kPieceBytes = size_t{1} << 20;
    static constexpr uint32_t kPieces = 48;

    // `bytes` must stay until there is no more work.
    void start(std::span<const uint8_t> bytes) { bytes_ = bytes; }
    // False: measured, or `bytes` are too few to say anything.
    [[nodiscard]] bool has_work() const { return done_ < kPieces && bytes_.size() >= kLeastBytes; }
    // Reads at least one piece, and more until the deadline.
    void work(uint64_t deadline_ticks);
    // The speed of the fastest piece; 0: not measured yet, or too few bytes.
    [[nodiscard]] uint64_t bytes_per_second() const { return has_work() ? 0 : best_; }

  private:
    static constexpr size_t kLeastBytes = 64 * 1024;
    [[nodiscard]] uint64_t read_once(std::span<const uint8_t> piece);

    std::span<const uint8_t> bytes_;
    size_t at_ = 0;
    uint32_t done_ = 0;
    uint64_t best_ = 0;
};

}  // namespace bareflow
