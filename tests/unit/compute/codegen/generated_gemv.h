// A generated matrix-vector kernel, its operands between pages that cannot be touched, and the
// comparison with its portable twin.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "compute/codegen/generators.h"
#include "compute/kernels/gemv.h"
#include "compute/kernels/registry.h"
#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"
#include "kernel_lib/jit/code_buffer.h"
#include "tests/unit/compute/fenced.h"
#include "tests/unit/compute/random_numbers.h"

namespace bareflow::compute::testing {

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
        const Generator *const generator = generator_for(shape.type, plan);
        EXPECT_NE(generator, nullptr);
        if (generator == nullptr) {
            return;
        }
        const auto region =
            buffer_.open("test", generator->code_room(plan), generator->constant_room);
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

// Compares every row with the reference, computed in two ranges that meet at each row once.
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

// ------------------------------------------------------------------ every kind of generator

using Plans = std::vector<GemvPlan> (*)(const GemvShape &shape);

inline ::testing::Message about(TensorType type, uint32_t rows, uint32_t cols,
                                const GemvPlan &plan) {
    return ::testing::Message() << tensor_type_info(type).name << " " << rows << "x" << cols
                                << " set " << static_cast<int>(plan.set) << " r" << int{plan.rows}
                                << " u" << int{plan.unroll} << " p" << plan.ahead;
}

inline void expect_every_plan(Plans plans, TensorType type, uint32_t rows, uint32_t cols,
                              Random &random) {
    Operands operands(type, rows, cols);
    const auto weights = random_weights(type, rows, cols, random);
    std::copy(weights.begin(), weights.end(), operands.weights.as<uint8_t>());
    operands.quantize(random.floats(cols, 3.0f));
    const GemvShape shape = {type, cols, operands.args.row_bytes};
    for (const GemvPlan &plan : plans(shape)) {
        SCOPED_TRACE(about(type, rows, cols, plan));
        const Generated generated(shape, plan);
        ASSERT_NE(generated.kernel(), nullptr);
        ASSERT_NO_FATAL_FAILURE(expect_twin(generated.kernel(), operands, rows, type));
    }
}

// Weights that start right behind a page that cannot be touched, then `step` bytes further from it,
// and so on up to `most`.
inline void expect_any_alignment(Plans plans, TensorType type, uint32_t step, uint32_t most,
                                 Random &random) {
    const uint32_t cols = tensor_type_info(type).block_elements == 256 ? 512 : 352;
    const uint32_t rows = 6;
    const auto weights = random_weights(type, rows, cols, random);
    Operands operands(type, rows, cols);
    operands.quantize(random.floats(cols));
    const GemvShape shape = {type, cols, operands.args.row_bytes};
    for (const GemvPlan &plan : plans(shape)) {
        const Generated generated(shape, plan);
        for (uint32_t shift = 0; shift <= most; shift += step) {
            SCOPED_TRACE(about(type, rows, cols, plan) << " shift " << shift);
            Fenced memory(weights.size() + shift, true);
            uint8_t *const at = memory.as<uint8_t>() + shift;
            std::copy(weights.begin(), weights.end(), at);
            operands.args.weights = at;
            ASSERT_NO_FATAL_FAILURE(expect_twin(generated.kernel(), operands, rows, type));
        }
    }
}

// Activations at either end of their range, in one of the arrangements of signs that repeat within
// a word or a block.
inline constexpr uint32_t kSignPatterns = 7;
inline std::vector<float> extreme_activations(uint32_t cols, uint32_t signs) {
    std::vector<float> x(cols);
    for (uint32_t i = 0; i < cols; ++i) {
        const bool negative = signs == 0 ? false : signs == 1 ? true : (i >> (signs - 2) & 1) != 0;
        x[i] = negative ? -2.5f : 2.5f;
    }
    return x;
}

// Compares plans of a block type with the reference on these activations, on weights at either end
// of their range, and on scales of every kind.
inline void expect_extremes(Plans plans, TensorType type) {
    constexpr uint8_t kFills[] = {0x80, 0x7f, 0xff, 0x00, 0xf0, 0x0f, 0x88, 0x77};
    constexpr uint32_t kRows = 3;
    const TensorTypeInfo &info = tensor_type_info(type);
    const auto most = static_cast<uint16_t>(info.scale_limit - 1);
    const uint16_t scales[] = {most,  static_cast<uint16_t>(most | 0x8000), 0x0001, 0x83ff, 0x0400,
                               0x0000};
    const uint32_t cols = info.block_elements == 256 ? 512 : 288;
    const GemvShape shape = {type, cols, row_bytes(type, cols)};
    std::vector<std::unique_ptr<Generated>> kernels;
    for (const GemvPlan &plan : plans(shape)) {
        kernels.push_back(std::make_unique<Generated>(shape, plan));
    }
    Operands operands(type, kRows, cols);
    for (const uint16_t scale : scales) {
        for (const uint8_t fill : kFills) {
            std::vector<uint8_t> weights(shape.row_bytes * kRows, fill);
            for (size_t at = 0; at < weights.size(); at += info.block_bytes) {
                for (uint32_t i = 0; i < info.scales; ++i) {
                    put_u16(weights, at + info.scale_offset + 2 * i, scale);
                }
            }
            std::copy(weights.begin(), weights.end(), operands.weights.as<uint8_t>());
            for (uint32_t signs = 0; signs < kSignPatterns; ++signs) {
                operands.quantize(extreme_activations(cols, signs));
                SCOPED_TRACE(::testing::Message() << info.name << " scale " << scale << " fill "
                                                  << int{fill} << " signs " << signs);
                for (const auto &kernel : kernels) {
                    ASSERT_NO_FATAL_FAILURE(expect_twin(kernel->kernel(), operands, kRows, type));
                }
            }
        }
    }
}

// Compares one random plan for a random shape with the reference. Rows lie a random multiple of
// `gap` bytes further apart than they are long. The last one ends at the fence.
inline void expect_random_plan(Plans plans, TensorType type, uint32_t gap, Random &random) {
    const uint32_t step = tensor_type_info(type).block_elements;
    const uint32_t cols = step * (1 + random.below(3072 / step));
    const uint32_t rows = 1 + random.below(20);
    const uint64_t length = row_bytes(type, cols);
    const uint64_t apart = length + random.below(2) * gap * random.below(25);
    const GemvShape shape = {type, cols, apart};
    const auto all = plans(shape);
    if (all.empty()) {
        return;
    }
    const GemvPlan plan = all[random.below(static_cast<uint32_t>(all.size()))];
    SCOPED_TRACE(about(type, rows, cols, plan) << " row bytes " << apart);
    Operands operands(type, rows, cols);
    operands.quantize(random.floats(cols, 5.0f));
    Fenced memory((rows - 1) * apart + length);
    const auto weights = random_weights(type, rows, cols, random);
    for (uint32_t row = 0; row < rows; ++row) {
        std::copy_n(weights.data() + row * length, length, memory.as<uint8_t>() + row * apart);
    }
    operands.args.weights = memory.as<uint8_t>();
    operands.args.row_bytes = apart;
    const Generated generated(shape, plan);
    expect_twin(generated.kernel(), operands, rows, type);
}

}  // namespace bareflow::compute::testing
