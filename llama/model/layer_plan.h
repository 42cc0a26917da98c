// What a model computes, as data: lists of operator applications that the engine compiles into its
// step program. An application names an operator, the vectors that it reads and writes, and the
// tensors that it needs. Another architecture is another plan and, at most, new operators.
//
// The operators themselves, with their units and costs and how they are run, are the engine's
// operator table (llama/engine/operators.h). Products of quantised weights read the quantised copy
// that the step directly before them wrote: a kNorm or a kQuantize of their x.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace bareflow::llama {

struct Layer;   // llama/model/model.h
struct Tensor;  // the same
class Model;    // the same

// An index into the operator table.
enum class OperatorId : uint8_t {
    kEmbed,       // y = the token's embedding; also computes the cosines and sines for kRope
    kNorm,        // y = rms_norm(x, weights), and its quantised copy if the next products read it
    kQuantize,    // the quantised copy of x; left out if the next products do not read it
    kProducts,    // each product: its y = W x + bias
    kProductAdd,  // the only product: y += W x + bias. The product's own y holds W x meanwhile.
    kGateUp,      // two products; y = silu(first) * second
    kRope,        // rotates kQuery and kKey, and stores kKey and kValue in the KV cache
    kSelect,      // the later steps compute only the tokens that want logits
    kAttention,   // y = attention of kQuery over the KV cache
};
inline constexpr uint32_t kOperators = 9;

// The vectors of a batch: one for each token.
enum class Operand : uint8_t {
    kResidual,  // [dim] the residual stream
    kNormed,    // [dim]
    kQuery,     // [heads * head_size]
    kKey,       // [kv_heads * head_size]
    kValue,     // [kv_heads * head_size]
    kMixed,     // [heads * head_size] the result of attention
    kGate,      // [hidden]
    kUp,        // [hidden]
    kLogits,    // [vocab], of the tokens that want them
    kNone,
};
inline constexpr uint32_t kOperands = static_cast<uint32_t>(Operand::kNone);

// Names a tensor of a layer, a tensor of the whole model, or none.
struct TensorRef {
    Tensor Layer::*of_layer = nullptr;
    const Tensor &(Model::*of_model)() const = nullptr;

    constexpr TensorRef() = default;
    constexpr TensorRef(Tensor Layer::*tensor) : of_layer(tensor) {}
    constexpr TensorRef(const Tensor &(Model::*tensor)() const) : of_model(tensor) {}

    // nullptr: names none.
    [[nodiscard]] const Tensor *find(const Model &model, const Layer &layer) const;
};

struct ProductPlan {
    TensorRef matrix;
    TensorRef bias;
    Operand y = Operand::kNone;
};

// One application of an operator.
struct StepPlan {
    static constexpr uint32_t kMaxProducts = 3;

    OperatorId op = OperatorId::kEmbed;
    Operand x = Operand::kNone;
    Operand y = Operand::kNone;
    bool last_layer_only = false;
    TensorRef weights = {};  // kNorm
    // Operators with products: those that name a matrix.
    std::array<ProductPlan, kMaxProducts> products = {};
};

struct ModelPlan {
    // What the engine reserves memory for.
    static constexpr uint32_t kMaxLayerSteps = 11;
    static constexpr uint32_t kMaxOuterSteps = 4;
    static constexpr uint32_t kMaxLayerProducts = 7;

    std::span<const StepPlan> before;  // once, before the first layer
    std::span<const StepPlan> layer;   // for each layer
    std::span<const StepPlan> after;   // once, after the last layer
};

[[nodiscard]] const ModelPlan &llama_plan();

}  // namespace bareflow::llama
