#include "llama/model/layer_plan.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "llama/model/model.h"
#include "tests/unit/llama/model/random_model.h"

namespace bareflow::llama {
namespace {

using testing::Detail;
using testing::FileBytes;
using testing::random_model;

TEST(LayerPlanTest, EveryArchitectureHasAPlanThatFits) {
    for (const Architecture &architecture : kArchitectures) {
        ASSERT_NE(architecture.plan, nullptr) << architecture.name;
        const ModelPlan &plan = architecture.plan();
        EXPECT_LE(plan.layer.size(), ModelPlan::kMaxLayerSteps) << architecture.name;
        EXPECT_LE(plan.before.size() + plan.after.size(), ModelPlan::kMaxOuterSteps);
    }
}

TEST(LayerPlanTest, EveryTensorOfALayerIsUsedOnce) {
    const FileBytes file(random_model(compute::TensorType::kF32).build());
    Detail detail;
    auto made = Model::create(file.span(), detail.writer);
    ASSERT_TRUE(made.ok()) << detail.str();
    Model &model = **made;
    const Layer &layer = model.layers()[1];
    std::multiset<const Tensor *> used;
    const auto note = [&](const TensorRef &ref) {
        if (const Tensor *const tensor = ref.find(model, layer)) {
            used.insert(tensor);
        }
    };
    uint32_t products = 0;
    for (const StepPlan &step : llama_plan().layer) {
        note(step.weights);
        for (const ProductPlan &product : step.products) {
            note(product.matrix);
            note(product.bias);
            products += product.matrix.find(model, layer) != nullptr;
        }
    }
    EXPECT_LE(products, ModelPlan::kMaxLayerProducts);
    const std::vector<const Tensor *> all = {&layer.attention_norm,
                                             &layer.query,
                                             &layer.key,
                                             &layer.value,
                                             &layer.attention_output,
                                             &layer.ffn_norm,
                                             &layer.gate,
                                             &layer.up,
                                             &layer.down,
                                             &layer.query_bias,
                                             &layer.key_bias,
                                             &layer.value_bias,
                                             &layer.attention_output_bias,
                                             &layer.gate_bias,
                                             &layer.up_bias,
                                             &layer.down_bias};
    EXPECT_EQ(sizeof(Layer), all.size() * sizeof(Tensor)) << "a tensor that this test forgets";
    EXPECT_EQ(used, std::multiset<const Tensor *>(all.begin(), all.end()));
    model.destroy();
}

TEST(LayerPlanTest, AReferenceFindsItsTensor) {
    const FileBytes file(random_model(compute::TensorType::kF32).build());
    Detail detail;
    auto made = Model::create(file.span(), detail.writer);
    ASSERT_TRUE(made.ok()) << detail.str();
    Model &model = **made;
    const Layer &layer = model.layers()[0];
    EXPECT_EQ(TensorRef().find(model, layer), nullptr);
    EXPECT_EQ(TensorRef(&Layer::down).find(model, layer), &layer.down);
    EXPECT_EQ(TensorRef(&Model::output_norm).find(model, layer), &model.output_norm());
    model.destroy();
}

}  // namespace
}  // namespace bareflow::llama
