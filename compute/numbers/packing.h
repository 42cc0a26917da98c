// Packings: orders of a weight matrix's bytes, that of the file and others. A packing has as many
// bytes as the file's layout and can be undone, for a whole matrix, a strip or one row
// (docs/decisions/0006-placement.md).
//
// Hosted only, like the kernels of packed weights (compute/tuning/weight_placement.h says why).
// No allocation, no errors: shapes are the caller's.
#pragma once

#include <cstdint>

#include "compute/numbers/tensor_types.h"

namespace bareflow::compute {

enum class Packing : uint8_t {
    kFile,  // rows one after the other, as GGUF has them
    // Strips of 16 rows, so that each lane of a vector is a row. A strip has two pieces. First the
    // weights, block by block: four bytes of row 0, the same four of row 1, and so on, then the
    // next four bytes of the block. Then the f16 scales, block by block: that of row 0, of row 1,
    // and so on (Q4_1: then the minimums in the same way). Weights of Q8_0 are stored as w + 128.
    kRows16,
};
inline constexpr uint32_t kStripRows = 16;

// Where a matrix lies now, and in which packing.
struct PlacedWeights {
    const uint8_t *data = nullptr;
    Packing packing = Packing::kFile;
};

// Q8_0, Q4_0 and Q4_1 in whole strips.
[[nodiscard]] bool can_pack(TensorType type, uint32_t rows);

// Copies the rows [begin, end), whole strips, of the matrix `from` into the matrix whose row 0 is
// at `to`, in the packing `as`. The two must not overlap.
void repack_rows(TensorType type, uint32_t cols, uint64_t row_bytes, const PlacedWeights &from,
                 uint8_t *to, Packing as, uint32_t begin, uint32_t end);

// Writes one row to out[row_bytes] as the file has it.
void unpack_row(TensorType type, uint32_t cols, uint64_t row_bytes, const PlacedWeights &from,
                uint32_t row, uint8_t *out);

}  // namespace bareflow::compute
