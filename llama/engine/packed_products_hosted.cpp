// Products with weights that may be repacked. A kernel that reads packed rows takes one vector at a
// time. A matrix kernel takes several, after the rows were unpacked into the processor's own
// memory.
#include "llama/engine/packed_products.h"

#include "compute/numbers/packing.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow::llama {

bool keep_place(const Product &product, compute::PlacedMatrix &placed) {
    placed = {
        {product.matrix->data, compute::Packing::kFile}, product.matrix->data, product.binding};
    return true;
}

const uint8_t *embedding_row(const StepProgram &program, uint32_t token, uint8_t *scratch) {
    const Tensor &embedding = program.model().token_embedding();
    if (program.embedding() == nullptr) {
        return embedding.row(token);
    }
    const compute::PlacedWeights &weights = program.embedding()->now;
    if (weights.packing == compute::Packing::kFile) {
        return weights.data + token * embedding.row_bytes;
    }
    compute::unpack_row(embedding.type, embedding.cols, embedding.row_bytes, weights, token,
                        scratch);
    return scratch;
}

namespace {

// A strip's weights stay in the L1 cache while one vector after the other is multiplied with them.
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

void multiply_placed(const StepContext &context, const compute::KernelBinding &binding,
                     const Product &product, const compute::GemmArgs &all, uint32_t begin,
                     uint32_t end) {
    const bool singly = context.batch.singly;
    const compute::PlacedWeights &weights = product.placed->now;
    compute::GemmArgs args = all;
    args.weights = weights.data;
    if (weights.packing == compute::Packing::kFile) {
        return compute::run_gemm(binding.active, singly ? nullptr : binding.matrix, args, begin,
                                 end);
    }
    if (args.batch <= compute::KernelBinding::kFewTokens || singly || binding.matrix == nullptr) {
        return run_packed(binding.packed, args, begin, end);
    }
    // Matrix kernels read rows as in the file. As many are unpacked at a time as there is memory.
    const compute::UnpackMemory &unpack = context.unpack;
    const uint32_t processor = platform::processor_index();
    if (processor >= unpack.processors) {
        platform::panic("transformer: no memory to unpack weights");
    }
    uint8_t *const memory = unpack.data + processor * unpack.each_bytes;
    const auto room =
        static_cast<uint32_t>(unpack.each_bytes / (compute::kStripRows * binding.row_bytes)) *
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
