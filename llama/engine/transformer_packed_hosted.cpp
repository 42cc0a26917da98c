// What the transformer does with weights that are repacked.
#include "compute/kernels/bindings.h"
#include "compute/kernels/gemv.h"
#include "compute/numbers/packing.h"
#include "kernel_lib/platform/platform.h"
#include "llama/engine/transformer.h"

namespace bareflow::llama {

const uint8_t *Transformer::embedding_row(uint32_t token, uint8_t *scratch) const {
    const Tensor &embedding = model_->token_embedding();
    if (embedding_ == nullptr) {
        return embedding.row(token);
    }
    const compute::PlacedWeights &weights = embedding_->now;
    if (weights.packing == compute::Packing::kFile) {
        return weights.data + token * embedding.row_bytes;
    }
    compute::unpack_row(embedding.type, embedding.cols, embedding.row_bytes, weights, token,
                        scratch);
    return scratch;
}

namespace {

// A strip's weights stay in the first-level cache while the vectors take turns.
void run_packed(compute::GemvKernel kernel, const compute::GemmArgs &args, uint32_t begin,
                uint32_t end) {
    for (uint32_t row = begin; row < end;) {
        const uint32_t next =
            args.batch == 1 ? end : row - row % compute::kStripRows + compute::kStripRows;
        const uint32_t stop = next < end ? next : end;
        for (uint32_t b = 0; b < args.batch; ++b) {
            kernel({.weights = args.weights,
                    .row_bytes = args.row_bytes,
                    .cols = args.cols,
                    .x = args.x + b * args.x_stride,
                    .xq = args.xq[b],
                    .y = args.y + b * args.y_stride},
                   row, stop);
        }
        row = stop;
    }
}

}  // namespace

void Transformer::place(Product &product) {
    compute::PlacedMatrix &placed = s_.matrices[matrix_count_++];
    placed = {
        {product.matrix->data, compute::Packing::kFile}, product.matrix->data, product.binding};
    product.placed = &placed;
    if (placed.file == model_->token_embedding().data) {
        embedding_ = &placed;
    }
}

void Transformer::multiply_placed(const compute::KernelBinding &binding, const Product &product,
                                  const compute::GemmArgs &all, uint32_t begin,
                                  uint32_t end) const {
    const compute::PlacedWeights &weights = product.placed->now;
    compute::GemmArgs args = all;
    args.weights = weights.data;
    if (weights.packing == compute::Packing::kFile) {
        return compute::run_gemm(binding.active, in_turns_ ? nullptr : binding.matrix, args, begin,
                                 end);
    }
    if (args.batch <= compute::KernelBinding::kFewTokens || in_turns_ ||
        binding.matrix == nullptr) {
        return run_packed(binding.packed, args, begin, end);
    }
    // Matrix kernels get rows as in the file, as many at a time as there is room for.
    const uint32_t processor = platform::processor_index();
    if (processor >= unpack_.processors) {
        platform::panic("transformer: no memory to unpack weights");
    }
    uint8_t *const memory = unpack_.data + processor * unpack_.each_bytes;
    const auto room =
        static_cast<uint32_t>(unpack_.each_bytes / (compute::kStripRows * binding.row_bytes)) *
        compute::kStripRows;
    for (uint32_t row = begin; row < end;) {
        const uint32_t first = row - row % compute::kStripRows;
        const uint32_t next = end - first < room ? end : first + room;
        const uint32_t last =
            (next + compute::kStripRows - 1) / compute::kStripRows * compute::kStripRows;
        uint8_t *const base = memory - first * binding.row_bytes;
        compute::repack_rows(binding.type, binding.cols, binding.row_bytes, weights, base,
                             compute::Packing::kFile, first, last);
        args.weights = base;
        compute::run_gemm(binding.active, binding.matrix, args, row, next);
        row = next;
    }
}

}  // namespace bareflow::llama
