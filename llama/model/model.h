// A model file that was checked and can be computed with: its hyper-parameters, and where each
// weight matrix lies in the file. Knows the architectures of architecture.h; any other is refused
// by name.
//
// create() checks the structure: every key, every tensor's type and shape. ValueCheck
// (value_check.h) then reads the numbers. A model must have passed both before the engine runs it.
// The file's bytes are used in place: they must outlive the model, be changed by nobody but
// WeightPlacement, and start at an address that is a multiple of 32.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "compute/numbers/tensor_types.h"
#include "kernel_lib/base/result.h"
#include "kernel_lib/base/text_writer.h"
#include "kernel_lib/memory/buffer.h"
#include "llama/file/gguf.h"
#include "llama/model/architecture.h"

namespace bareflow::llama {

// A weight matrix in the file: `rows` rows of `cols` elements; y = W x takes cols elements and
// gives rows. A vector (norm weights) is one row. cols is a whole number of blocks of the type.
struct Tensor {
    std::string_view name;  // as in the file: "blk.0.attn_q.weight"
    compute::TensorType type = compute::TensorType::kF32;
    uint32_t rows = 0;
    uint32_t cols = 0;
    uint64_t row_bytes = 0;
    const uint8_t *data = nullptr;  // 8-byte aligned; nullptr: this model has no such tensor

    [[nodiscard]] bool present() const { return data != nullptr; }
    [[nodiscard]] uint64_t bytes() const { return row_bytes * rows; }
    [[nodiscard]] const uint8_t *row(uint32_t index) const { return data + row_bytes * index; }
    // For F32 tensors only.
    [[nodiscard]] const float *f32() const { return reinterpret_cast<const float *>(data); }
};

struct HyperParameters {
    uint32_t vocab = 0;   // tokens; rows of the embedding and of the output matrix
    uint32_t dim = 0;     // length of the residual stream
    uint32_t hidden = 0;  // of the feed-forward part
    uint32_t layers = 0;
    uint32_t heads = 0;      // query heads
    uint32_t kv_heads = 0;   // divides heads; head h reads KV head h / (heads / kv_heads)
    uint32_t head_size = 0;  // even
    uint32_t rope_dim = 0;   // leading elements of each head that are rotated; even, <= head_size
    uint32_t context_length = 0;  // positions the model was trained for
    float rope_base = 10000.0f;
    float rope_factor = 1.0f;  // positions are divided by it (linear scaling)
    float rms_epsilon = 1e-5f;

    [[nodiscard]] uint32_t q_dim() const { return heads * head_size; }  // usually, not always, dim
    [[nodiscard]] uint32_t kv_dim() const { return kv_heads * head_size; }
};

struct Layer {
    Tensor attention_norm;    // [dim] F32
    Tensor query;             // q_dim x dim
    Tensor key;               // kv_dim x dim
    Tensor value;             // kv_dim x dim
    Tensor attention_output;  // dim x q_dim
    Tensor ffn_norm;          // [dim] F32
    Tensor gate;              // hidden x dim
    Tensor up;                // hidden x dim
    Tensor down;              // dim x hidden
    // F32, one number for each row of the matrix. Most models have none.
    Tensor query_bias;
    Tensor key_bias;
    Tensor value_bias;
    Tensor attention_output_bias;
    Tensor gate_bias;
    Tensor up_bias;
    Tensor down_bias;
};

class Model {
  public:
    static constexpr uint32_t kMaxLayers = 1024;
    static constexpr uint32_t kMaxDim = 65536;
    static constexpr uint32_t kMaxHidden = 1u << 18;
    static constexpr uint32_t kMaxHeads = 1024;
    static constexpr uint32_t kMaxHeadSize = 512;
    static constexpr uint32_t kMaxVocab = 1u << 20;
    // In positions. Frequencies are 1 at most, so no rotary angle is greater. Up to here musl's
    // sine and cosine reduce angles without the tables for huge numbers.
    static constexpr uint32_t kMaxContext = 1u << 20;

    // `detail` as in llama/file/gguf.h: after a failure it holds the sentence to show.
    [[nodiscard]] static Result<Model *> create(std::span<const uint8_t> file, TextWriter &detail);
    void destroy();

    [[nodiscard]] const GgufFile &file() const { return file_; }
    [[nodiscard]] const HyperParameters &parameters() const { return parameters_; }
    [[nodiscard]] const Tensor &token_embedding() const { return token_embedding_; }  // vocab x dim
    [[nodiscard]] const Tensor &output_norm() const { return output_norm_; }          // [dim] F32
    // [rope_dim / 2] F32, what the frequencies are divided by. Most models have none.
    [[nodiscard]] const Tensor &rope_divisors() const { return rope_divisors_; }
    [[nodiscard]] const Architecture &architecture() const { return *architecture_; }
    // vocab x dim; the embedding itself when the two are tied.
    [[nodiscard]] const Tensor &output() const { return output_; }
    [[nodiscard]] bool tied_output() const { return output_.data == token_embedding_.data; }
    [[nodiscard]] std::span<const Layer> layers() const { return layers_.span(); }
    // Each tensor once, in file order.
    [[nodiscard]] std::span<const Tensor> tensors() const { return tensors_.span(); }

    [[nodiscard]] std::string_view name() const { return name_; }  // general.name, or "unnamed"
    // The type that most weights have: "Q8_0".
    [[nodiscard]] std::string_view weight_type() const { return weight_type_; }
    [[nodiscard]] uint64_t parameter_count() const { return parameter_count_; }
    [[nodiscard]] uint64_t weight_bytes() const { return weight_bytes_; }
    [[nodiscard]] uint64_t file_bytes() const { return file_.bytes().size(); }

  private:
    friend class ModelBuilder;
    explicit Model(GgufFile &&file) : file_(std::move(file)) {}
    ~Model() = default;

    GgufFile file_;
    HyperParameters parameters_;
    Tensor token_embedding_;
    Tensor output_norm_;
    Tensor output_;
    Tensor rope_divisors_;
    const Architecture *architecture_ = nullptr;
    Buffer<Layer> layers_;
    Buffer<Tensor> tensors_;
    std::string_view name_;
    std::string_view weight_type_;
    uint64_t parameter_count_ = 0;
    uint64_t weight_bytes_ = 0;
};

}  // namespace bareflow::llama
