// Products with weights that WeightPlacement may have repacked. The seam between the build that
// links kernels of packed weights (hosted) and the one that does not (metal): there weights always
// lie as in the file.
#pragma once

#include <cstdint>

#include "compute/kernels/bindings.h"
#include "compute/kernels/gemv.h"
#include "llama/engine/step_context.h"

namespace bareflow::llama {

// Notes where the product's matrix lies, so that WeightPlacement can move it. False: this build
// moves no weights, and `placed` is unchanged.
[[nodiscard]] bool keep_place(const Product &product, compute::PlacedMatrix &placed);

// The token's row of the embedding as in the file. `scratch`: memory for a row.
[[nodiscard]] const uint8_t *embedding_row(const StepProgram &program, uint32_t token,
                                           uint8_t *scratch);

// Rows [begin, end) of the product, from wherever its weights lie now.
void multiply_placed(const StepContext &context, const compute::KernelBinding &binding,
                     const Product &product, const compute::GemmArgs &all, uint32_t begin,
                     uint32_t end);

}  // namespace bareflow::llama
