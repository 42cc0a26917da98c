#include "llama/engine/products.h"

#include <gtest/gtest.h>

namespace bareflow::llama {
namespace {

TEST(ProductsTest, PanelsCoverTheBatch) {
    for (const compute::TensorType type : {compute::TensorType::kF32, compute::TensorType::kQ8_0}) {
        for (const uint32_t rows : {100u, 5000u}) {
            const Tensor matrix = {.name = "matrix", .type = type, .rows = rows};
            Step step = {.op = OperatorId::kProducts, .product_count = 1};
            step.products[0].matrix = &matrix;
            for (const bool alone : {false, true}) {
                StepContext context;
                context.batch.alone = alone;
                for (uint32_t count = 1; count <= 512; ++count) {
                    context.batch.count = count;
                    const uint32_t panels = panel_count(context, step);
                    uint32_t at = 0;
                    for (uint32_t i = 0; i < panels; ++i) {
                        const Panel panel = panel_of(context, step, i);
                        ASSERT_EQ(panel.first, at);
                        ASSERT_TRUE(panel.tokens % 16 == 0 || i + 1 == panels) << count;
                        // Only quantised weights in large matrices, or alone, have large panels.
                        const bool large =
                            type == compute::TensorType::kQ8_0 && (alone || rows >= 2048);
                        ASSERT_LE(panel.tokens, large ? 128u : 64u);
                        ASSERT_GT(panel.tokens, 0u);
                        at += panel.tokens;
                    }
                    ASSERT_EQ(at, count);
                }
            }
        }
    }
}

TEST(ProductsTest, UnitsAreMatrixRows) {
    const Tensor first = {.name = "first", .rows = 5};
    const Tensor second = {.name = "second", .rows = 7};
    Step step = {.op = OperatorId::kProducts, .product_count = 2};
    step.products[0].matrix = &first;
    step.products[1].matrix = &second;
    EXPECT_EQ(rows_of_all({}, step), 12u);
    EXPECT_EQ(rows_of_each({}, step), 5u);
}

TEST(ProductsTest, OldTimesCountForLess) {
    StepContext context;
    EXPECT_EQ(silu_share_q16(context), 0u);
    context.gate_up = {.ticks = 1000, .silu_ticks = 250};
    EXPECT_EQ(silu_share_q16(context), 65536u / 4);
    context.gate_up = {.ticks = uint64_t{1} << 33, .silu_ticks = uint64_t{1} << 32};
    EXPECT_EQ(silu_share_q16(context), 65536u / 2);
    EXPECT_EQ(context.gate_up.ticks, uint64_t{1} << 32);
}

}  // namespace
}  // namespace bareflow::llama
