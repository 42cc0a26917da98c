// The model, compiled when it is loaded: a flat list of steps. A step is one operator of the
// operator table (operators.h) applied to given operands: vectors of the batch, weights, kernels.
// The list follows the architecture's plan (llama/model/layer_plan.h).
//
// All memory is taken once, in one piece: Scratch says what lies in it.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "compute/kernels/bindings.h"
#include "compute/kernels/float_ops.h"
#include "compute/numbers/quant.h"
#include "llama/engine/attention_plan.h"
#include "llama/engine/batch.h"
#include "llama/engine/fused_steps.h"
#include "llama/engine/op_costs.h"
#include "llama/model/layer_plan.h"
#include "llama/model/model.h"

namespace bareflow::llama {

// A matrix, and its bias, within a step.
struct Product {
    const Tensor *matrix = nullptr;
    const compute::PlacedMatrix *placed = nullptr;  // nullptr: weights lie as in the file
    const float *bias = nullptr;                    // nullptr: there is none
    float *y = nullptr;                             // [batch][rows]
    uint32_t binding = 0;
};

struct Step {
    OperatorId op = OperatorId::kEmbed;
    bool quantized = false;  // the result is written quantised, too
    // The index in FusedSteps of the pair of steps (norm or quantise, products) that this step
    // belongs to; FusedSteps::kNone: none.
    uint8_t fused_pair = FusedSteps::kNone;
    uint16_t cost = 0;                        // its first entry in OpCosts
    compute::FloatBinding *floats = nullptr;  // operators that use a float operation
    uint32_t layer = 0;
    uint32_t n = 0;            // length of x
    const float *x = nullptr;  // [batch][n]
    float *y = nullptr;        // the operator's result; [batch] vectors
    const float *w = nullptr;  // kNorm: [n]
    uint32_t product_count = 0;
    Product products[StepPlan::kMaxProducts] = {};
};

// The vectors of the batch.
struct Buffers {
    std::array<float *, kOperands> vectors = {};  // by Operand; [batch][length]
    std::array<uint32_t, kOperands> lengths = {};
    // [batch][heads][padded_head]: the queries as attention reads them. The kQuery vectors
    // themselves where these have that layout.
    float *queries = nullptr;
    float *scores = nullptr;                            // [score_floats]
    float *cos_sin = nullptr;                           // [batch][rope_dim]
    double *inv_freq = nullptr;                         // [rope_dim / 2]
    compute::QuantizedActivation *quantized = nullptr;  // [batch]: the x of products
    uint64_t score_floats = 0;

    [[nodiscard]] float *operator[](Operand operand) const {
        return vectors[static_cast<uint32_t>(operand)];
    }
};

// The transformer's memory but for keys and values, as one piece.
struct Scratch {
    BatchToken *tokens = nullptr;  // [batch]
    uint32_t *wanting = nullptr;   // [sequences] indices of tokens that want logits
    Tile *tiles = nullptr;         // [batch]
    Tile *last_tiles = nullptr;    // [batch]
    Step *steps = nullptr;
    compute::KernelBinding *bindings = nullptr;
    compute::PlacedMatrix *matrices = nullptr;
    compute::FloatBinding *float_bindings = nullptr;
    Buffers buffers;
    uint64_t bytes = 0;

    // Where everything lies from `memory` on; nullptr: only `bytes` is of use.
    static Scratch at(uint8_t *memory, const HyperParameters &p, const TransformerConfig &config);
};

class StepProgram {
  public:
    StepProgram() = default;
    // Compiles the plan of the model's architecture. `scratch` and the model must outlive this.
    // The operations are made known to `costs`, which has room for cost_capacity() entries, and the
    // pairs that may be fused to `fused`.
    StepProgram(const Model &model, const TransformerConfig &config, const Scratch &scratch,
                OpCosts &costs, FusedSteps &fused);
    [[nodiscard]] static uint32_t cost_capacity(const HyperParameters &p);

    [[nodiscard]] const Model &model() const { return *model_; }
    [[nodiscard]] const HyperParameters &parameters() const { return parameters_; }
    [[nodiscard]] const TransformerConfig &config() const { return config_; }
    [[nodiscard]] const Buffers &buffers() const { return buffers_; }
    [[nodiscard]] std::span<const Step> steps() const { return {steps_, step_count_}; }
    // A batch whose logits nobody wants needs only the steps before this one.
    [[nodiscard]] uint32_t steps_without_logits() const { return steps_without_logits_; }
    [[nodiscard]] std::span<compute::KernelBinding> kernel_bindings() const {
        return {bindings_, binding_count_};
    }
    [[nodiscard]] std::span<compute::PlacedMatrix> matrices() const {
        return {matrices_, matrix_count_};
    }
    [[nodiscard]] std::span<compute::FloatBinding> float_bindings() const {
        return {float_bindings_, float_binding_count_};
    }
    // Where the embedding lies; nullptr: as in the file. It moves only if it is the output matrix,
    // too.
    [[nodiscard]] const compute::PlacedMatrix *embedding() const { return embedding_; }

  private:
    class Compiler;

    const Model *model_ = nullptr;
    HyperParameters parameters_;
    TransformerConfig config_;
    Buffers buffers_;
    Step *steps_ = nullptr;
    compute::KernelBinding *bindings_ = nullptr;
    compute::PlacedMatrix *matrices_ = nullptr;
    compute::FloatBinding *float_bindings_ = nullptr;
    const compute::PlacedMatrix *embedding_ = nullptr;
    uint32_t step_count_ = 0;
    uint32_t steps_without_logits_ = 0;
    uint32_t binding_count_ = 0;
    uint32_t matrix_count_ = 0;
    uint32_t float_binding_count_ = 0;
};

}  // namespace bareflow::llama
