// The operator table: what the engine can compute, one line an operator. The line says what a unit
// of the operator is, how many units a step has, and under which name its cost is kept. It says how
// a range of units is run, and how it is shared among processors. It also names the function of the
// numpy reference (tests/golden/reference.py) that computes the same.
//
// A model is a list of applications of these operators (llama/model/layer_plan.h). The program
// reads the lines and never asks which operator a step is.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "compute/kernels/float_ops.h"
#include "llama/engine/step_context.h"
#include "llama/engine/step_program.h"
#include "llama/model/layer_plan.h"

namespace bareflow::llama {

// A range of units, cut into pieces that one processor does without a pause.
struct Pieces {
    uint32_t begin = 0;  // the range of units
    uint32_t end = 0;
    uint32_t count = 0;
    uint32_t first = 0;      // piece that `begin` lies in, counted from unit 0 (items: an index)
    uint32_t grain = 1;      // units of a piece
    uint32_t per_panel = 0;  // products: pieces of one panel
    bool in_chunks = true;   // a processor takes several neighbouring pieces at once
};

// How a step is shared among processors.
struct SharingRule {
    // How many units behind `done` may be computed before all processors must wait for each other.
    uint32_t (*until_barrier)(const StepContext &context, const Step &step, uint32_t done);
    Pieces (*cut)(const StepContext &context, const Step &step, uint32_t begin, uint32_t end);
    // Runs the pieces [from, to); any processor.
    void (*run)(StepContext &context, const Step &step, const Pieces &pieces, uint32_t from,
                uint32_t to);
};

// Whether an operator writes a quantised copy of its result, if the products behind it read that.
enum class Quantizes : uint8_t {
    kNever,
    kToo,   // beside its result
    kOnly,  // the copy is its result: without a reader there is no step
};

// What stands behind the operator's name in the profile: "rms_norm 288", "attention 6x48".
struct ProfileShape {
    uint32_t length = 0;
    uint32_t head_size = 0;  // 0: not an operation of heads
};

struct Operator {
    OperatorId id;
    // In the profile and in OpCosts, followed by the shape. Products appear there under the names
    // of their kernels; then this is the name of the float operation behind them, or empty.
    std::string_view name = {};
    std::string_view unit;  // what a unit is
    std::string_view twin;  // function of tests/golden/reference.py
    uint32_t (*units)(const StepContext &context, const Step &step);
    const SharingRule *sharing;
    void (*run)(StepContext &context, const Step &step, uint32_t begin, uint32_t end);
    // Operators with matrix products: computes matrix rows for one panel. nullptr: no products.
    void (*run_panel)(StepContext &context, const Step &step, uint32_t begin, uint32_t end,
                      Panel panel) = nullptr;
    ProfileShape (*shape)(const HyperParameters &p, const Step &step) = nullptr;  // with a name
    bool has_floats = false;  // it uses the float operation `floats`
    compute::FloatOp floats = compute::FloatOp::kNorm;
    Quantizes quantizes = Quantizes::kNever;
    bool fuses = false;    // may be done inside the shared products behind it
    bool selects = false;  // the steps behind it compute only the tokens that want logits
    // Products and a float operation in one: its share of the time, measured, in 1 / 65536.
    uint32_t (*measured_share)(StepContext &context) = nullptr;
};

// The table, in the order of OperatorId.
[[nodiscard]] std::span<const Operator, kOperators> operators();
[[nodiscard]] const Operator &operator_of(OperatorId id);
[[nodiscard]] inline const Operator &operator_of(const Step &step) {
    return operator_of(step.op);
}

}  // namespace bareflow::llama
