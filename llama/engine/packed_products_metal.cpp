// No kernel of packed weights is linked: weights always lie as in the file.
#include "llama/engine/packed_products.h"

namespace bareflow::llama {

bool keep_place(const Product &, compute::PlacedMatrix &) {
    return false;
}

const uint8_t *embedding_row(const StepProgram &program, uint32_t token, uint8_t *) {
    return program.model().token_embedding().row(token);
}

void multiply_placed(const StepContext &context, const compute::KernelBinding &binding,
                     const Product &, const compute::GemmArgs &all, uint32_t begin, uint32_t end) {
    compute::run_gemm(binding.active, context.batch.singly ? nullptr : binding.matrix, all, begin,
                      end);
}

}  // namespace bareflow::llama
