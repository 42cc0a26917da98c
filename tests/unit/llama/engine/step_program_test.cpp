// The steps that a plan becomes for a model, and the memory that they work in.
#include "llama/engine/step_program.h"

#include <gtest/gtest.h>

#include <vector>

#include "llama/engine/operators.h"
#include "tests/unit/llama/model/random_model.h"

namespace bareflow::llama {
namespace {

using testing::Detail;
using testing::FileBytes;
using testing::GgufBuilder;
using testing::random_model;
using testing::Shape;

// A program of a random model.
class Compiled {
  public:
    explicit Compiled(const GgufBuilder &builder, const TransformerConfig &config)
        : file_(builder.build()) {
        Detail detail;
        auto model = Model::create(file_.span(), detail.writer);
        EXPECT_TRUE(model.ok()) << detail.str();
        model_ = *model;
        const HyperParameters &p = model_->parameters();
        auto costs = OpCosts::create(StepProgram::cost_capacity(p));
        EXPECT_TRUE(costs.ok());
        costs_ = std::move(costs).value();
        auto memory = Buffer<uint8_t>::create(Scratch::at(nullptr, p, config).bytes);
        EXPECT_TRUE(memory.ok());
        memory_ = std::move(memory).value();
        scratch = Scratch::at(memory_.data(), p, config);
        EXPECT_EQ(scratch.bytes, memory_.size());
        program = StepProgram(*model_, config, scratch, costs_, fused_);
    }
    ~Compiled() { model_->destroy(); }
    Compiled(const Compiled &) = delete;
    Compiled &operator=(const Compiled &) = delete;

    [[nodiscard]] std::vector<OperatorId> ops() const {
        std::vector<OperatorId> found;
        for (const Step &step : program.steps()) {
            found.push_back(step.op);
        }
        return found;
    }

    Scratch scratch;
    StepProgram program;

  private:
    FileBytes file_;
    Model *model_ = nullptr;
    OpCosts costs_;
    FusedSteps fused_;
    Buffer<uint8_t> memory_;
};

constexpr TransformerConfig kConfig = {.sequences = 2, .positions = 16, .batch = 4};

TEST(StepProgramTest, ThePlanBecomesStepsForEachLayer) {
    using enum OperatorId;
    const Compiled made(random_model(compute::TensorType::kQ8_0), kConfig);
    EXPECT_EQ(made.ops(),
              (std::vector<OperatorId>{
                  kEmbed,                                                                    //
                  kNorm,       kProducts, kRope,     kAttention,  kQuantize,   kProductAdd,  //
                  kNorm,       kGateUp,   kQuantize, kProductAdd,                            //
                  kNorm,       kProducts, kRope,     kSelect,     kAttention,  kQuantize,
                  kProductAdd, kNorm,     kGateUp,   kQuantize,   kProductAdd,  //
                  kNorm,       kProducts}));
    const std::span<const Step> steps = made.program.steps();
    EXPECT_EQ(steps[made.program.steps_without_logits()].op, kSelect);
    EXPECT_EQ(steps[1].layer, 0u);
    EXPECT_EQ(steps[11].layer, 1u);
    EXPECT_TRUE(steps[1].quantized);
}

TEST(StepProgramTest, FloatWeightsNeedNoQuantizedVectors) {
    const Compiled made(random_model(compute::TensorType::kF32), kConfig);
    for (const Step &step : made.program.steps()) {
        EXPECT_NE(step.op, OperatorId::kQuantize);
        EXPECT_FALSE(step.quantized);
    }
}

TEST(StepProgramTest, LayersOfOneShapeShareBindingsAndCosts) {
    const Compiled made(random_model(compute::TensorType::kQ8_0), kConfig);
    const std::span<const Step> steps = made.program.steps();
    EXPECT_EQ(steps[2].cost, steps[12].cost);
    EXPECT_EQ(steps[2].products[0].binding, steps[12].products[0].binding);
    EXPECT_EQ(steps[1].floats, steps[7].floats);
    uint32_t matrices = 0;
    for (const compute::KernelBinding &binding : made.program.kernel_bindings()) {
        EXPECT_NE(binding.kernel, nullptr);
        matrices += binding.matrices;
    }
    EXPECT_EQ(matrices, 2u * 7 + 1);
    EXPECT_EQ(made.program.matrices().size(), 2u * 7 + 1);
}

TEST(StepProgramTest, ANormAndTheProductsBehindItAreAPair) {
    const Compiled made(random_model(compute::TensorType::kQ8_0), kConfig);
    const std::span<const Step> steps = made.program.steps();
    for (uint32_t i = 0; i < steps.size(); ++i) {
        if (operator_of(steps[i]).fuses) {
            EXPECT_NE(steps[i].fused_pair, FusedSteps::kNone) << i;
            EXPECT_EQ(steps[i].fused_pair, steps[i + 1].fused_pair) << i;
        }
        // With F32 weights the products behind attention have no partner; here all have one.
        EXPECT_EQ(steps[i].product_count != 0 || operator_of(steps[i]).fuses,
                  steps[i].fused_pair != FusedSteps::kNone)
            << i;
    }
}

TEST(StepProgramTest, VectorsDoNotOverlap) {
    const Compiled made(random_model(compute::TensorType::kF32, Shape{.dim = 36, .heads = 6}),
                        kConfig);
    const Buffers &buffers = made.program.buffers();
    for (uint32_t i = 0; i < kOperands; ++i) {
        const auto operand = static_cast<Operand>(i);
        const uint32_t vectors = operand == Operand::kLogits ? kConfig.sequences : kConfig.batch;
        for (uint32_t j = 0; j < kOperands; ++j) {
            const float *const other = buffers[static_cast<Operand>(j)];
            EXPECT_TRUE(i == j || other < buffers[operand] ||
                        other >= buffers[operand] + uint64_t{vectors} * buffers.lengths[i])
                << i << " and " << j;
        }
    }
    EXPECT_NE(buffers.queries, buffers[Operand::kQuery]) << "heads of 6 are padded to 8";
}

}  // namespace
}  // namespace bareflow::llama
