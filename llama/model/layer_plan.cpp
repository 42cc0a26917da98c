#include "llama/model/layer_plan.h"

#include "llama/model/model.h"

namespace bareflow::llama {
namespace {

constexpr StepPlan kBefore[] = {
    {.op = OperatorId::kEmbed, .y = Operand::kResidual},
};

constexpr StepPlan kLlamaLayer[] = {
    {.op = OperatorId::kNorm,
     .x = Operand::kResidual,
     .y = Operand::kNormed,
     .weights = &Layer::attention_norm},
    {.op = OperatorId::kProducts,
     .x = Operand::kNormed,
     .products = {{{&Layer::query, &Layer::query_bias, Operand::kQuery},
                   {&Layer::key, &Layer::key_bias, Operand::kKey},
                   {&Layer::value, &Layer::value_bias, Operand::kValue}}}},
    {.op = OperatorId::kRope, .x = Operand::kQuery},
    // The last layer's keys and values are complete: other tokens are not needed any more.
    {.op = OperatorId::kSelect, .x = Operand::kResidual, .last_layer_only = true},
    {.op = OperatorId::kAttention, .x = Operand::kQuery, .y = Operand::kMixed},
    {.op = OperatorId::kQuantize, .x = Operand::kMixed},
    {.op = OperatorId::kProductAdd,
     .x = Operand::kMixed,
     .y = Operand::kResidual,
     .products = {{{&Layer::attention_output, &Layer::attention_output_bias, Operand::kNormed}}}},
    {.op = OperatorId::kNorm,
     .x = Operand::kResidual,
     .y = Operand::kNormed,
     .weights = &Layer::ffn_norm},
    {.op = OperatorId::kGateUp,
     .x = Operand::kNormed,
     .y = Operand::kGate,
     .products = {{{&Layer::gate, &Layer::gate_bias, Operand::kGate},
                   {&Layer::up, &Layer::up_bias, Operand::kUp}}}},
    {.op = OperatorId::kQuantize, .x = Operand::kGate},
    {.op = OperatorId::kProductAdd,
     .x = Operand::kGate,
     .y = Operand::kResidual,
     .products = {{{&Layer::down, &Layer::down_bias, Operand::kNormed}}}},
};

constexpr StepPlan kAfter[] = {
    {.op = OperatorId::kNorm,
     .x = Operand::kResidual,
     .y = Operand::kNormed,
     .weights = &Model::output_norm},
    {.op = OperatorId::kProducts,
     .x = Operand::kNormed,
     .products = {{{&Model::output, {}, Operand::kLogits}}}},
};

constexpr ModelPlan kLlamaPlan = {.before = kBefore, .layer = kLlamaLayer, .after = kAfter};
static_assert(std::size(kLlamaLayer) <= ModelPlan::kMaxLayerSteps);
static_assert(std::size(kBefore) + std::size(kAfter) <= ModelPlan::kMaxOuterSteps);

}  // namespace

const Tensor *TensorRef::find(const Model &model, const Layer &layer) const {
    return of_layer != nullptr   ? &(layer.*of_layer)
           : of_model != nullptr ? &(model.*of_model)()
                                 : nullptr;
}

const ModelPlan &llama_plan() {
    return kLlamaPlan;
}

}  // namespace bareflow::llama
