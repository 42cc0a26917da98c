// Where the weights of a running engine lie, and in which packing. Moves the matrices of a shape
// into another packing when the optimiser wants it, a piece at a time, while text is being made,
// and back again (docs/decisions/0006-placement.md).
//
// Three placements:
//   owned   the file's memory is ours: a matrix is packed beside itself, used from there, and then
//           takes its old place again. More than that one matrix is never taken.
//   mapped  the file's memory cannot be written: a packed matrix is a copy, counted, as long as all
//           copies are less than half of the weights and half of the memory that is free.
//   tight   as owned, and what is packed only to be timed is one matrix at most.
//
// On bare metal there are placements, but no kernel of packed weights was faster than those of the
// file's layout, so none is linked and nothing is ever moved.
//
// A reader between two calls of work() sees each matrix whole, in one packing. Boot processor only,
// between two calls of Engine::advance().
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "compute/kernels/bindings.h"
#include "compute/numbers/packing.h"

namespace bareflow::compute {

enum class WeightMode : uint8_t { kAuto, kOwned, kMapped, kTight };
// "auto", "owned", "mapped", "tight".
[[nodiscard]] std::string_view weight_mode_name(WeightMode mode);

// Pages of memory; released by hand.
struct PagesOwner {
    uint8_t *data = nullptr;
    uint64_t count = 0;

    // At least so many bytes; what was there is lost when there was less. False: no memory, or
    // more than `most`.
    [[nodiscard]] bool take(uint64_t bytes, uint64_t most = ~uint64_t{0});
    void release();
};

class WeightPlacement {
  public:
    // Nothing is moved. `writable`: the file's memory is ours; else any mode is kMapped. kAuto:
    // kOwned, or kTight where less memory is free than the largest matrix takes twice. `weights`
    // must stay until restore() was called.
    void start(const PlaceableWeights &weights, WeightMode mode, bool writable);
    [[nodiscard]] WeightMode mode() const { return mode_; }

    // Whether matrices of this shape can be moved into Packing::kRows16, and there is memory.
    [[nodiscard]] bool may_pack(const KernelBinding &binding) const;
    // Bytes that may be taken to try a packing of these matrices.
    [[nodiscard]] uint64_t trial_bytes(const KernelBinding &binding) const;
    // What lies at `file` in the file, now.
    [[nodiscard]] PlacedWeights now(const uint8_t *file) const;

    // From now on the matrices of `binding` (`binding.packed` serves them) are moved. False: there
    // is no memory for it, and nothing changes.
    [[nodiscard]] bool want(KernelBinding &binding, Packing packing);
    // Moves until there is nothing left to do (false) or the deadline has passed (true).
    bool work(uint64_t deadline_ticks);
    [[nodiscard]] bool has_work() const { return moving_; }
    // Everything as the file has it and where it was, all memory given back.
    void restore();

    // How many of a shape's matrices are packed.
    [[nodiscard]] uint32_t packed_matrices(const KernelBinding &binding) const;
    [[nodiscard]] uint64_t packed_bytes() const { return packed_bytes_; }  // of weights, now
    // Memory beyond the file's that is taken now.
    [[nodiscard]] uint64_t extra_bytes() const;
    [[nodiscard]] uint64_t moved_bytes() const { return moved_bytes_; }  // ever, a counter

  private:
    [[nodiscard]] uint64_t free_bytes() const;
    bool choose();
    void step();
    void arrive(PlacedMatrix &matrix, const KernelBinding &binding);

    PlaceableWeights weights_;
    WeightMode mode_ = WeightMode::kAuto;
    uint64_t weight_bytes_ = 0;
    bool moving_ = false;

    // The matrix that is being moved, into what, and how far; owned: first beside, then back.
    PlacedMatrix *matrix_ = nullptr;
    Packing into_ = Packing::kFile;
    uint32_t row_ = 0;
    PagesOwner beside_;
    PagesOwner unpacked_;        // where matrix kernels have their rows as in the file
    uint64_t copied_bytes_ = 0;  // mapped: taken now

    uint64_t packed_bytes_ = 0;
    uint64_t moved_bytes_ = 0;
};

}  // namespace bareflow::compute
