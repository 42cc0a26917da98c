// How fast this machine reads the model's bytes with all processors that compute: the ceiling of
// everything that is bound by memory. Of a model that fits into the caches it is the caches' speed,
// as it is for the kernels. Measured once, in pieces, when nobody waits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace bareflow {

class ReadSpeed {
  public:
    static constexpr size_t kPieceBytes = size_t{1} << 20;
    static constexpr uint32_t kPieces = 48;

    void start(std::span<const uint8_t> bytes) { bytes_ = bytes; }
    // False when there is nothing left to do.
    [[nodiscard]] bool has_work() const { return done_ < kPieces && bytes_.size() >= kLeastBytes; }
    // Reads pieces until the deadline, at least one.
    void work(uint64_t deadline_ticks);
    // The best piece's; 0: not measured yet, or too little to read.
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
