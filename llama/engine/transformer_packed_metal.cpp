// The transformer where no kernel of packed weights is linked: weights always lie as in the file.
#include "compute/kernels/bindings.h"
#include "compute/kernels/gemv.h"
#include "llama/engine/transformer.h"

namespace bareflow::llama {

const uint8_t *Transformer::embedding_row(uint32_t token, uint8_t *) const {
    return model_->token_embedding().row(token);
}

void Transformer::place(Product &) {}

void Transformer::multiply_placed(const compute::KernelBinding &binding, const Product &,
                                  const compute::GemmArgs &args, uint32_t begin,
                                  uint32_t end) const {
    compute::run_gemm(binding.active, in_turns_ ? nullptr : binding.matrix, args, begin, end);
}

}  // namespace bareflow::llama
