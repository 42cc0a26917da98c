// The operators with matrix products. Their unit is a matrix row, for all tokens of the batch; they
// are computed panel by panel.
#pragma once

#include <cstdint>

#include "llama/engine/step_context.h"
#include "llama/engine/step_program.h"

namespace bareflow::llama {

// The panels of a step cover the tokens of the batch. They are about equally long.
[[nodiscard]] uint32_t panel_count(const StepContext &context, const Step &step);
[[nodiscard]] Panel panel_of(const StepContext &context, const Step &step, uint32_t index);

// Units: rows of all matrices, one matrix after the other.
[[nodiscard]] uint32_t rows_of_all(const StepContext &context, const Step &step);
// Units: rows of each of the step's matrices, which have equally many.
[[nodiscard]] uint32_t rows_of_each(const StepContext &context, const Step &step);

void run_products(StepContext &context, const Step &step, uint32_t begin, uint32_t end,
                  Panel panel);
void run_product_add(StepContext &context, const Step &step, uint32_t begin, uint32_t end,
                     Panel panel);
void run_gate_up(StepContext &context, const Step &step, uint32_t begin, uint32_t end, Panel panel);

// The share of the SiLU in the time of the gate-up steps, in 1 / 65536. Between two steps.
[[nodiscard]] uint32_t silu_share_q16(StepContext &context);

}  // namespace bareflow::llama
