// Other orders of a weight matrix's bytes than the file's. A packing takes as many bytes as the
// file's layout and can be undone, so any reader of rows can have them back: all of a matrix, a
// strip, or one row (docs/decisions/0006-placement.md).
//
// Hosted only, as the kernels of packed weights are (compute/tuning/weight_placement.h says why).
// No allocation, no errors: shapes are the caller's.
#pragma once

#include <cstdint>

#include "compute/numbers/tensor_types.h"

namespace bareflow::compute {

enum class Packing : uint8_t {
    kFile,  // rows one after the other, as GGUF has them
    // Strips of 16 rows, each lane of a vector being one row. Of a strip first the weights: for
    // each block of 32 columns, for each four bytes of a block's weights, those of row 0, of row
    // 1, ... Behind them the f16 scales: for each block those of row 0, of row 1, ... (Q4_1: then
    // the minimums). Weights of Q8_0 are stored as w + 128.
    kRows16,
};
inline constexpr uint32_t kStripRows = 16;

// Where a matrix lies now, and how; in whole strips.
struct PlacedWeights {
    const uint8_t *data = nullptr;
    Packing packing = Packing::kFile;
};

// Q8_0, Q4_0 and Q4_1 in whole strips.
[[nodiscard]] bool can_pack(TensorType type, uint32_t rows);

// Rows [begin, end), whole strips, of a matrix that lies at `from` (its row 0) in the packing
// `as`, to where row 0 of the matrix in the packing `to` is; they must not overlap.
void repack_rows(TensorType type, uint32_t cols, uint64_t row_bytes, const PlacedWeights &from,
                 uint8_t *to, Packing as, uint32_t begin, uint32_t end);

// One row as in the file, row_bytes long.
void unpack_row(TensorType type, uint32_t cols, uint64_t row_bytes, const PlacedWeights &from,
                uint32_t row, uint8_t *out);

}  // namespace bareflow::compute
