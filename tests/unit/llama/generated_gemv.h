// A generated matrix-vector kernel, its operands between pages that cannot be touched, and the
// comparison with its portable twin.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernel_lib/jit/code_buffer.h"
#include "llama/gemv_codegen.h"
#include "tests/unit/llama/fenced.h"
#include "tests/unit/llama/random_numbers.h"

namespace bareflow::llama::testing {

// Operands, each at the very end of its memory.
struct Operands {
    Operands(TensorType type, uint32_t rows, uint32_t cols)
        : weights(row_bytes(type, cols) * rows),
          q(cols),
          sums(cols / 32 * 4),
          scales(uint64_t{group_count(cols)} * 4),
          pairs(cols / 32 * 128),
          quads(cols / 32 * 64),
          y(uint64_t{rows} * 4),
          x(uint64_t{cols} * 4) {
        args.weights = weights.as<uint8_t>();
        args.row_bytes = row_bytes(type, cols);
        args.cols = cols;
        args.xq = {.count = cols,
                   .q = q.as<int8_t>(),
                   .block_sums = sums.as<int32_t>(),
                   .group_scales = scales.as<float>(),
                   .pairs = pairs.as<uint64_t>(),
                   .quads = quads.as<uint64_t>()};
        args.y = y.as<float>();
        args.x = x.as<float>();
    }
    void quantize(const std::vector<float> &from) {
        std::copy(from.begin(), from.end(), x.as<float>());
        if (args.cols % kBlockElements == 0) {
            quantize_activation(from.data(), args.xq, kFormPairs | kFormQuads, 0,
                                group_count(args.cols));
        }
    }

    Fenced weights, q, sums, scales, pairs, quads, y, x;
    GemvArgs args;
};

class Generated {
  public:
    Generated(const GemvShape &shape, const GemvPlan &plan) {
        EXPECT_TRUE(buffer_.create(16).ok());
        const auto region = buffer_.open("test", gemv_code_room(plan), gemv_constant_room(plan));
        EXPECT_TRUE(region.ok());
        const auto bytes = generate_gemv(shape, plan, buffer_.room(region.value()),
                                         buffer_.constants(region.value()));
        EXPECT_TRUE(bytes.ok()) << bytes.error().message;
        if (bytes.ok()) {
            bytes_ = bytes.value();
            const void *const code = buffer_.seal(region.value(), bytes_);
            kernel_ = reinterpret_cast<GemvKernel>(reinterpret_cast<uintptr_t>(code));
        }
    }
    [[nodiscard]] GemvKernel kernel() const { return kernel_; }
    [[nodiscard]] size_t bytes() const { return bytes_; }

  private:
    jit::CodeBuffer buffer_;
    GemvKernel kernel_ = nullptr;
    size_t bytes_ = 0;
};

// Every row, in two ranges that meet at every place.
inline void expect_twin(GemvKernel kernel, const Operands &operands, uint32_t rows,
                        TensorType type) {
    std::vector<float> reference(rows);
    GemvArgs args = operands.args;
    args.y = reference.data();
    gemv_variants(type)[0].kernel(args, 0, rows);
    args.y = operands.args.y;
    for (uint32_t split = 0; split <= rows; ++split) {
        std::fill_n(args.y, rows, 12345.0f);
        kernel(args, 0, split);
        for (uint32_t row = split; row < rows; ++row) {
            ASSERT_EQ(args.y[row], 12345.0f) << "written outside the range: row " << row;
        }
        kernel(args, split, rows);
        ASSERT_EQ(memcmp(args.y, reference.data(), rows * sizeof(float)), 0) << "split " << split;
    }
}

}  // namespace bareflow::llama::testing
