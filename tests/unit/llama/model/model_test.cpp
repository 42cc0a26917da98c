// Models of several shapes, and a catalogue of files that are no model: each is refused with its
// sentence.
#include "llama/model/model.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "compute/numbers/tensor_types.h"
#include "llama/model/value_check.h"
#include "tests/unit/llama/file/gguf_builder.h"
#include "tests/unit/llama/file/refused_file.h"
#include "tests/unit/llama/model/created_model.h"

namespace bareflow::llama {
namespace {

using testing::BadFile;
using testing::create_model;
using testing::Detail;
using testing::FileBytes;
using testing::GgufBuilder;
using testing::model_builder;
using testing::ModelPointer;
using testing::Shape;

TEST(Model, ReadsShapeAndTensors) {
    const FileBytes bytes = model_builder().file();
    const ModelPointer model = create_model(bytes);
    ASSERT_NE(model, nullptr);
    const HyperParameters &h = model->parameters();
    EXPECT_EQ(h.vocab, 265u);
    EXPECT_EQ(h.dim, 32u);
    EXPECT_EQ(h.hidden, 64u);
    EXPECT_EQ(h.layers, 2u);
    EXPECT_EQ(h.heads, 4u);
    EXPECT_EQ(h.kv_heads, 2u);
    EXPECT_EQ(h.head_size, 8u);
    EXPECT_EQ(h.q_dim(), 32u);
    EXPECT_EQ(h.kv_dim(), 16u);
    EXPECT_EQ(h.rope_dim, 8u);
    EXPECT_EQ(h.context_length, 64u);
    EXPECT_EQ(h.rope_base, 10000.0f);
    EXPECT_EQ(h.rms_epsilon, 1e-5f);
    EXPECT_EQ(model->name(), "tiny test");
    EXPECT_EQ(model->weight_type(), "F32");
    EXPECT_FALSE(model->tied_output());
    EXPECT_EQ(model->tensors().size(), 3u + 2 * 9);
    ASSERT_EQ(model->layers().size(), 2u);
    const Tensor &down = model->layers()[1].down;
    EXPECT_EQ(down.name, "blk.1.ffn_down.weight");
    EXPECT_EQ(down.rows, 32u);
    EXPECT_EQ(down.cols, 64u);
    EXPECT_EQ(down.row_bytes, 256u);
    EXPECT_EQ(down.row(3), down.data + 768);
    EXPECT_EQ(down.data, model->file().find_tensor("blk.1.ffn_down.weight")->bytes.data());
    EXPECT_EQ(model->layers()[0].key.rows, 16u);
    EXPECT_EQ(model->output_norm().rows, 1u);
    uint64_t elements = 0;
    for (const Tensor &tensor : model->tensors()) {
        elements += uint64_t{tensor.rows} * tensor.cols;
    }
    EXPECT_EQ(model->parameter_count(), elements);
    EXPECT_EQ(model->weight_bytes(), elements * 4);
    EXPECT_EQ(model->file_bytes(), bytes.span().size());
}

TEST(Model, AMissingOutputMatrixIsTheEmbedding) {
    const FileBytes bytes = model_builder({.tied = true}).file();
    const ModelPointer model = create_model(bytes);
    ASSERT_NE(model, nullptr);
    EXPECT_TRUE(model->tied_output());
    EXPECT_EQ(model->output().data, model->token_embedding().data);
    EXPECT_EQ(model->output().rows, 265u);
    EXPECT_EQ(model->tensors().size(), 2u + 2 * 9);
}

TEST(Model, TypesMayDifferByTensor) {
    GgufBuilder builder = model_builder();
    builder.retype("token_embd.weight", compute::TensorType::kQ4_1);
    builder.retype("output.weight", compute::TensorType::kQ8_0);
    builder.retype("blk.0.attn_q.weight", compute::TensorType::kQ4_0);
    builder.retype("blk.1.ffn_down.weight", compute::TensorType::kF16);
    const FileBytes bytes = builder.file();
    const ModelPointer model = create_model(bytes);
    ASSERT_NE(model, nullptr);
    EXPECT_EQ(model->token_embedding().type, compute::TensorType::kQ4_1);
    EXPECT_EQ(model->token_embedding().row_bytes, 20u);
    EXPECT_EQ(model->output().row_bytes, 34u);
    EXPECT_EQ(model->layers()[0].query.row_bytes, 18u);
    EXPECT_EQ(model->layers()[1].down.row_bytes, 128u);
    EXPECT_EQ(model->weight_type(), "F32");
}

TEST(Model, AShapeThatIsNoMultipleOfAnything) {
    const FileBytes bytes =
        model_builder({.dim = 60, .hidden = 173, .heads = 6, .kv_heads = 3}).file();
    const ModelPointer model = create_model(bytes);
    ASSERT_NE(model, nullptr);
    EXPECT_EQ(model->parameters().head_size, 10u);
    EXPECT_EQ(model->layers()[0].up.rows, 173u);
    Detail detail;
    EXPECT_TRUE(ValueCheck::run(*model, detail.writer)) << detail.str();
}

TEST(Model, OptionalNumbersAreRead) {
    GgufBuilder builder = model_builder();
    builder.set("llama.rope.freq_base", 500000.0f);
    builder.set("llama.rope.dimension_count", 4u);
    builder.set("llama.attention.key_length", 8u);
    builder.set("llama.attention.value_length", 8u);
    builder.set("llama.rope.scaling.type", "linear");
    builder.set("llama.rope.scaling.factor", 4.0f);
    builder.set("llama.rope.scale_linear", 2.0f);  // the newer key wins
    builder.set("llama.expert_count", 0u);
    builder.set("llama.vocab_size", 265u);
    builder.remove("general.name");
    const FileBytes bytes = builder.file();
    const ModelPointer model = create_model(bytes);
    ASSERT_NE(model, nullptr);
    EXPECT_EQ(model->parameters().rope_base, 500000.0f);
    EXPECT_EQ(model->parameters().rope_dim, 4u);
    EXPECT_EQ(model->parameters().rope_factor, 4.0f);
    EXPECT_EQ(model->name(), "unnamed");
}

TEST(Model, OlderFilesStateTheFactorAlone) {
    GgufBuilder builder = model_builder();
    builder.set("llama.rope.scale_linear", 2.0f);
    const FileBytes bytes = builder.file();
    const ModelPointer model = create_model(bytes);
    ASSERT_NE(model, nullptr);
    EXPECT_EQ(model->parameters().rope_factor, 2.0f);
    EXPECT_FALSE(model->rope_divisors().present());
    builder.set("llama.rope.scaling.type", "none");
    const FileBytes unscaled_bytes = builder.file();
    const ModelPointer unscaled = create_model(unscaled_bytes);
    ASSERT_NE(unscaled, nullptr);
    EXPECT_EQ(unscaled->parameters().rope_factor, 1.0f);
}

TEST(Model, BiasesAreFoundWhereTheyAre) {
    GgufBuilder builder = model_builder();
    builder.add_tensor("blk.0.attn_v.bias", {16});
    builder.add_tensor("blk.1.ffn_gate.bias", {64});
    const FileBytes bytes = builder.file();
    const ModelPointer model = create_model(bytes);
    ASSERT_NE(model, nullptr);
    EXPECT_EQ(model->layers()[0].value_bias.cols, 16u);
    EXPECT_EQ(model->layers()[1].gate_bias.name, "blk.1.ffn_gate.bias");
    EXPECT_FALSE(model->layers()[0].gate_bias.present());
    EXPECT_FALSE(model->layers()[1].value_bias.present());
    EXPECT_EQ(model->layers()[1].value_bias.f32(), nullptr);
}

TEST(Model, HeadsMayBeWiderThanTheirShareOfTheDimension) {
    GgufBuilder builder = model_builder({.layers = 1});
    builder.set("llama.attention.key_length", 16u);
    builder.set("llama.attention.value_length", 16u);
    for (const char *name : {"attn_q", "attn_k", "attn_v", "attn_output"}) {
        builder.remove_tensor("blk.0." + std::string(name) + ".weight");
    }
    builder.add_tensor("blk.0.attn_q.weight", {32, 64});
    builder.add_tensor("blk.0.attn_k.weight", {32, 32});
    builder.add_tensor("blk.0.attn_v.weight", {32, 32});
    builder.add_tensor("blk.0.attn_output.weight", {64, 32});
    const FileBytes bytes = builder.file();
    const ModelPointer model = create_model(bytes);
    ASSERT_NE(model, nullptr);
    EXPECT_EQ(model->parameters().head_size, 16u);
    EXPECT_EQ(model->parameters().q_dim(), 64u);
    EXPECT_EQ(model->layers()[0].attention_output.cols, 64u);
}

TEST(Model, MemoryMustBeAligned) {
    const std::string file = model_builder().build();
    std::string shifted = std::string(1, ' ') + file;
    const FileBytes bytes(shifted);
    Detail detail;
    EXPECT_FALSE(Model::create(bytes.span().subspan(1), detail.writer));
    EXPECT_EQ(detail.str(), "the model's memory is not aligned to 32 bytes");
}

// ---------------------------------------------------------------- malformed models

class MalformedModel : public ::testing::TestWithParam<BadFile> {};

TEST_P(MalformedModel, IsRefusedWithItsSentence) {
    testing::expect_refused(GetParam(), model_builder(), Model::create);
}

void rename(GgufBuilder &builder, std::string_view name, std::string_view other) {
    builder.tensor(name).name = other;
}

const BadFile kCatalogue[] = {
    {"NoArchitecture", [](GgufBuilder &b) { b.remove("general.architecture"); },
     "the model file lacks the key \"general.architecture\"", ErrorCode::kNotFound},
    {"OtherArchitecture", [](GgufBuilder &b) { b.set("general.architecture", "qwen2"); },
     "the architecture \"qwen2\" is not supported; supported: llama", ErrorCode::kUnsupported},
    {"ArchitectureIsANumber", [](GgufBuilder &b) { b.set("general.architecture", 1u); },
     "the key \"general.architecture\" has a value of type uint32 instead of a string"},
    {"NoLayerCount", [](GgufBuilder &b) { b.remove("llama.block_count"); },
     "the model file lacks the key \"llama.block_count\"", ErrorCode::kNotFound},
    {"NoLayers", [](GgufBuilder &b) { b.set("llama.block_count", 0u); },
     "llama.block_count is 0, outside 1 to 1024"},
    {"HugeLayerCount", [](GgufBuilder &b) { b.set("llama.block_count", 4000000000u); },
     "llama.block_count is 4000000000, outside 1 to 1024"},
    {"LayerCountIsAFloat", [](GgufBuilder &b) { b.set("llama.block_count", 2.0f); },
     "the key \"llama.block_count\" has a value of type float32 instead of an integer"},
    {"MoreLayersThanTensors", [](GgufBuilder &b) { b.set("llama.block_count", 3u); },
     "the model file lacks the tensor \"blk.2.attn_norm.weight\"", ErrorCode::kNotFound},
    {"FewerLayersThanTensors", [](GgufBuilder &b) { b.set("llama.block_count", 1u); },
     "the tensor \"blk.1.attn_norm.weight\" is not supported", ErrorCode::kUnsupported},
    {"HugeDimension", [](GgufBuilder &b) { b.set("llama.embedding_length", 1u << 20); },
     "llama.embedding_length is 1048576, outside 1 to 65536"},
    {"HugeHidden", [](GgufBuilder &b) { b.set("llama.feed_forward_length", 1u << 30); },
     "llama.feed_forward_length is 1073741824, outside 1 to 262144"},
    {"NoHidden", [](GgufBuilder &b) { b.remove("llama.feed_forward_length"); },
     "the model file lacks the key \"llama.feed_forward_length\"", ErrorCode::kNotFound},
    {"NoContext", [](GgufBuilder &b) { b.set("llama.context_length", 0u); },
     "llama.context_length is 0, outside 1 to 1048576"},
    {"NoHeads", [](GgufBuilder &b) { b.set("llama.attention.head_count", 0u); },
     "llama.attention.head_count is 0, outside 1 to 1024"},
    {"NoKvHeads", [](GgufBuilder &b) { b.set("llama.attention.head_count_kv", 0u); },
     "llama.attention.head_count_kv is 0, outside 1 to 1024"},
    {"KvHeadsDoNotDivide", [](GgufBuilder &b) { b.set("llama.attention.head_count_kv", 3u); },
     "3 KV heads do not divide 4 heads"},
    {"MoreKvHeadsThanHeads", [](GgufBuilder &b) { b.set("llama.attention.head_count_kv", 8u); },
     "8 KV heads do not divide 4 heads"},
    {"HeadsDoNotDivideTheDimension",
     [](GgufBuilder &b) {
         b.set("llama.attention.head_count", 5u);
         b.set("llama.attention.head_count_kv", 5u);
     },
     "5 heads do not divide the dimension 32"},
    {"OddHeadSize",
     [](GgufBuilder &b) {
         b.set("llama.attention.head_count", 32u);
         b.set("llama.attention.head_count_kv", 32u);
     },
     "the head size 1 is odd or over 512"},
    {"KeyAndValueDiffer", [](GgufBuilder &b) { b.set("llama.attention.value_length", 16u); },
     "heads with keys of 8 and values of 16 elements are not supported", ErrorCode::kUnsupported},
    {"RotaryOdd", [](GgufBuilder &b) { b.set("llama.rope.dimension_count", 3u); },
     "the rotary dimension 3 is odd"},
    {"RotaryLargerThanTheHead", [](GgufBuilder &b) { b.set("llama.rope.dimension_count", 16u); },
     "llama.rope.dimension_count is 16, outside 2 to 8"},
    {"RotaryBaseIsNoNumber",
     [](GgufBuilder &b) { b.set("llama.rope.freq_base", __builtin_nanf("")); },
     "llama.rope.freq_base is out of range: nan"},
    {"RotaryBaseZero", [](GgufBuilder &b) { b.set("llama.rope.freq_base", 0.0f); },
     "llama.rope.freq_base is out of range: 0.000000000"},
    {"NoEpsilon", [](GgufBuilder &b) { b.remove("llama.attention.layer_norm_rms_epsilon"); },
     "the model file lacks the key \"llama.attention.layer_norm_rms_epsilon\"",
     ErrorCode::kNotFound},
    {"EpsilonZero", [](GgufBuilder &b) { b.set("llama.attention.layer_norm_rms_epsilon", 0.0f); },
     "llama.attention.layer_norm_rms_epsilon is out of range: 0.000000000"},
    {"EpsilonInfinite",
     [](GgufBuilder &b) { b.set("llama.attention.layer_norm_rms_epsilon", __builtin_inff()); },
     "llama.attention.layer_norm_rms_epsilon is out of range: inf"},
    {"Experts", [](GgufBuilder &b) { b.set("llama.expert_count", 8u); },
     "a mixture of 8 experts is not supported", ErrorCode::kUnsupported},
    {"RotaryScaling", [](GgufBuilder &b) { b.set("llama.rope.scaling.type", "yarn"); },
     "rotary positions with scaling \"yarn\" are not supported; supported: linear, none",
     ErrorCode::kUnsupported},
    {"RotaryFactorZero", [](GgufBuilder &b) { b.set("llama.rope.scaling.factor", 0.0f); },
     "llama.rope.scaling.factor is out of range: 0.000000000"},
    {"RotaryDivisorZero", [](GgufBuilder &b) { b.add_tensor("rope_freqs.weight", {4}); },
     "tensor \"rope_freqs.weight\" has a number that is out of range in column 0"},
    {"RotaryDivisorsTooMany", [](GgufBuilder &b) { b.add_tensor("rope_freqs.weight", {8}); },
     "tensor \"rope_freqs.weight\" has the shape 8 x 1 x 1 x 1 instead of 4 x 1"},
    {"VocabularyOnly", [](GgufBuilder &b) { b.tensors.clear(); },
     "the model file has no tensors: it holds a vocabulary only"},
    {"NoEmbedding", [](GgufBuilder &b) { b.remove_tensor("token_embd.weight"); },
     "the model file lacks the tensor \"token_embd.weight\"", ErrorCode::kNotFound},
    {"NoFinalNorm", [](GgufBuilder &b) { b.remove_tensor("output_norm.weight"); },
     "the model file lacks the tensor \"output_norm.weight\"", ErrorCode::kNotFound},
    {"MatrixMissing", [](GgufBuilder &b) { b.remove_tensor("blk.1.ffn_up.weight"); },
     "the model file lacks the tensor \"blk.1.ffn_up.weight\"", ErrorCode::kNotFound},
    {"MatrixOfWrongShape", [](GgufBuilder &b) { b.tensor("blk.1.ffn_up.weight").dims = {64, 32}; },
     "tensor \"blk.1.ffn_up.weight\" has the shape 64 x 32 x 1 x 1 instead of 32 x 64"},
    {"MatrixOfThreeDimensions",
     [](GgufBuilder &b) { b.tensor("blk.1.ffn_up.weight").dims = {32, 32, 2}; },
     "tensor \"blk.1.ffn_up.weight\" has the shape 32 x 32 x 2 x 1 instead of 32 x 64"},
    {"KvMatrixOfWrongShape",
     [](GgufBuilder &b) {
         b.remove_tensor("blk.0.attn_k.weight");
         b.add_tensor("blk.0.attn_k.weight", {32, 32});
     },
     "tensor \"blk.0.attn_k.weight\" has the shape 32 x 32 x 1 x 1 instead of 32 x 16"},
    {"NormTooShort", [](GgufBuilder &b) { b.tensor("blk.0.ffn_norm.weight").dims = {16}; },
     "tensor \"blk.0.ffn_norm.weight\" has the shape 16 x 1 x 1 x 1 instead of 32 x 1"},
    {"NormInF16", [](GgufBuilder &b) { b.retype("output_norm.weight", compute::TensorType::kF16); },
     "norm weights and biases must be F32, but \"output_norm.weight\" is F16",
     ErrorCode::kUnsupported},
    {"TypeNotSupported",
     [](GgufBuilder &b) { b.retype("blk.0.attn_v.weight", static_cast<compute::TensorType>(39)); },
     "tensor \"blk.0.attn_v.weight\" is MXFP4, which is not supported; supported: F32, F16, BF16, "
     "Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL",
     ErrorCode::kUnsupported},
    {"UnknownTensor", [](GgufBuilder &b) { b.add_tensor("blk.0.attn_q_norm.weight", {8}); },
     "the tensor \"blk.0.attn_q_norm.weight\" is not supported", ErrorCode::kUnsupported},
    {"BiasOfALayerThatIsNotThere", [](GgufBuilder &b) { b.add_tensor("blk.2.attn_q.bias", {32}); },
     "the tensor \"blk.2.attn_q.bias\" is not supported", ErrorCode::kUnsupported},
    {"BiasTooShort", [](GgufBuilder &b) { b.add_tensor("blk.0.attn_k.bias", {32}); },
     "tensor \"blk.0.attn_k.bias\" has the shape 32 x 1 x 1 x 1 instead of 16 x 1"},
    {"BiasInF16",
     [](GgufBuilder &b) {
         b.add_tensor("blk.1.ffn_up.bias", {64});
         b.retype("blk.1.ffn_up.bias", compute::TensorType::kF16);
     },
     "norm weights and biases must be F32, but \"blk.1.ffn_up.bias\" is F16",
     ErrorCode::kUnsupported},
    {"NameWithNul",
     [](GgufBuilder &b) {
         rename(b, "output_norm.weight", std::string_view("output_norm.weight\0", 19));
     },
     "the model file lacks the tensor \"output_norm.weight\"", ErrorCode::kNotFound},
    {"OutputOfAnotherVocabulary",
     [](GgufBuilder &b) {
         b.remove_tensor("output.weight");
         b.add_tensor("output.weight", {32, 264});
     },
     "tensor \"output.weight\" has the shape 32 x 264 x 1 x 1 instead of 32 x 265"},
    {"HugeVocabulary",
     [](GgufBuilder &b) {
         b.remove_tensor("token_embd.weight");
         b.set("llama.embedding_length", 1u);
         b.add_tensor("token_embd.weight", {1, (1u << 20) + 1});
         b.set("llama.attention.head_count", 1u);
         b.set("llama.attention.head_count_kv", 1u);
         b.set("llama.attention.key_length", 2u);
     },
     "a vocabulary of 1048577 tokens is over 1048576"},
    {"TokensAndEmbeddingDiffer", [](GgufBuilder &b) { add_vocabulary(b, {"a", "b"}); },
     "the vocabulary has 261 tokens, but the embedding has 265 rows"},
    {"StatedVocabularyDiffers", [](GgufBuilder &b) { b.set("llama.vocab_size", 32000u); },
     "the vocabulary has 32000 tokens, but the embedding has 265 rows"},
};
INSTANTIATE_TEST_SUITE_P(Catalogue, MalformedModel, ::testing::ValuesIn(kCatalogue),
                         [](const auto &param) { return param.param.name; });

}  // namespace
}  // namespace bareflow::llama
