#include "compute/kernels/gemv.h"

namespace bareflow::compute {

void run_gemm(GemvKernel kernel, GemmKernel matrix, const GemmArgs &args, uint32_t row_begin,
              uint32_t row_end) {
    if (matrix != nullptr && args.batch > 1) {
        return matrix(args, row_begin, row_end);
    }
    // Bytes of weights that stay in the L1 cache while all vectors are multiplied with them.
    constexpr uint64_t kStripBytes = 16384;
    const uint64_t rows_in_cache = kStripBytes / args.row_bytes;
    const uint32_t strip = rows_in_cache > 1 ? static_cast<uint32_t>(rows_in_cache) : 1;
    for (uint32_t row = row_begin; row < row_end;) {
        const uint32_t end = row_end - row < strip || args.batch == 1 ? row_end : row + strip;
        for (uint32_t b = 0; b < args.batch; ++b) {
            GemvArgs one{.weights = args.weights,
                         .row_bytes = args.row_bytes,
                         .cols = args.cols,
                         .x = args.x + b * args.x_stride,
                         .xq = {},
                         .y = args.y + b * args.y_stride};
            if (args.xq != nullptr) {
                one.xq = args.xq[b];
            }
            kernel(one, row, end);
        }
        row = end;
    }
}

}  // namespace bareflow::compute
