// Where the weights of a running engine lie, and in which packing. When the optimiser wants another
// packing for a shape, its matrices are moved into it a piece at a time, while text is being made.
// They can be moved back the same way (docs/decisions/0006-placement.md).
//
// Three placements:
//   owned   The file's memory is ours. A matrix is packed beside itself, used from there, and then
//           moved to its old place. Additional memory is that of one matrix at most.
//   mapped  The file's memory cannot be written, so a packed matrix is a copy. All copies together
//           take less than half of the weights' size and less than half of the free memory.
//   tight   As owned, and the copies that are made only for timing are one matrix at most.
//
// On bare metal there are placements, but nothing is ever moved: no kernel of packed weights was
// faster than those of the file's layout, so none is linked.
//
// Between two calls of work() every matrix is whole and in one packing. Boot processor only,
// between two calls of Engine::advance().
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "compute/kernels/bindings.h"
#include "compute/numbers/packing.h"
#include "compute/tuning/pages_owner.h"

namespace bareflow::compute {

enum class WeightMode : uint8_t { kAuto, kOwned, kMapped, kTight };
// "auto", "owned", "mapped", "tight".
[[nodiscard]] std::string_view weight_mode_name(WeightMode mode);

class WeightPlacement {
  public:
    // Chooses the placement and moves nothing. `writable`: the file's memory is ours; otherwise the
    // mode is kMapped, whatever `mode` says. kAuto becomes kTight where the free memory is less
    // than twice the largest matrix, and kOwned elsewhere. `weights` must stay until restore() was
    // called.
    void start(const PlaceableWeights &weights, WeightMode mode, bool writable);
    [[nodiscard]] WeightMode mode() const { return mode_; }

    // Matrices of this shape can be moved into Packing::kRows16, and there is memory for it.
    [[nodiscard]] bool may_pack(const KernelBinding &binding) const;
    // Bytes that may be taken to try a packing of these matrices.
    [[nodiscard]] uint64_t trial_bytes(const KernelBinding &binding) const;
    // Where the matrix that lies at `file` in the file is now, and in which packing.
    [[nodiscard]] PlacedWeights now(const uint8_t *file) const;

    // From now on work() moves the matrices of `binding`; `binding.packed` is the kernel that
    // serves packed ones. False: there is no memory for it, and nothing changes.
    [[nodiscard]] bool want(KernelBinding &binding, Packing packing);
    // Moves matrices until all are where they should be (false) or the deadline has passed (true).
    bool work(uint64_t deadline_ticks);
    [[nodiscard]] bool has_work() const { return moving_; }
    // Moves every matrix back to its place and packing in the file and releases all memory.
    void restore();

    // How many of a shape's matrices are packed.
    [[nodiscard]] uint32_t packed_matrices(const KernelBinding &binding) const;
    [[nodiscard]] uint64_t packed_bytes() const { return packed_bytes_; }  // weights packed now
    // Memory taken now beside the file's.
    [[nodiscard]] uint64_t extra_bytes() const;
    [[nodiscard]] uint64_t moved_bytes() const { return moved_bytes_; }  // a counter, never reset

  private:
    [[nodiscard]] uint64_t free_bytes() const;
    bool choose();
    void step();
    void arrive(PlacedMatrix &matrix, const KernelBinding &binding);

    PlaceableWeights weights_;
    WeightMode mode_ = WeightMode::kAuto;
    uint64_t weight_bytes_ = 0;
    bool moving_ = false;

    PlacedMatrix *matrix_ = nullptr;  // the matrix that is being moved; nullptr: none
    Packing into_ = Packing::kFile;   // its new packing
    uint32_t row_ = 0;                // its first row that was not moved yet
    PagesOwner beside_;               // its new place; owned: only until it is moved back
    PagesOwner unpacked_;             // where kernels for several vectors get rows as in the file
    uint64_t copied_bytes_ = 0;       // mapped: memory of all copies now

    uint64_t packed_bytes_ = 0;
    uint64_t moved_bytes_ = 0;
};

}  // namespace bareflow::compute
