// Finds the numbers and tensors of a model in a parsed file. What must hold: nothing that would
// change the results is ignored. So a tensor that no part of the model claims, a number outside its
// range, and a feature that the engine does not have are all refused.
#include "llama/model/model.h"

#include <new>

#include "llama/file/refusal.h"

namespace bareflow::llama {

namespace {

constexpr uint64_t kBaseAlignment = 32;

}  // namespace

// Takes the parsed file apart. Each step says what is wrong in `detail` and returns the error.
class ModelBuilder : private Refusals {
  public:
    ModelBuilder(Model &model, TextWriter &detail)
        : Refusals(detail), model_(model), file_(model.file_), hyper_(model.parameters_) {}

    [[nodiscard]] Status build() {
        BF_TRY(check_architecture());
        BF_TRY(read_hyper_parameters());
        BF_TRY(refuse_what_is_not_supported());
        BF_TRY(claim_tensors());
        BF_TRY(refuse_tensors_left_over());
        BF_TRY(check_vocabulary());
        describe();
        return {};
    }

    static Result<Model *> create(GgufFile &&file, TextWriter &detail) {
        void *memory = heap_allocate(sizeof(Model), alignof(Model));
        if (memory == nullptr) {
            return refuse(detail, ErrorCode::kTooLarge, "out of memory");
        }
        auto *model = new (memory) Model(std::move(file));
        if (Status status = ModelBuilder(*model, detail).build(); !status) {
            model->destroy();
            return status;
        }
        return model;
    }

  private:
    // "llama." + suffix; valid until the next call.
    [[nodiscard]] std::string_view key(std::string_view suffix) {
        TextWriter out(key_);
        return out.put(model_.architecture_->name, ".", suffix).view();
    }

    [[nodiscard]] Status check_architecture() {
        BF_ASSIGN(const std::string_view name, file_.text("general.architecture", detail()));
        model_.architecture_ = find_architecture(name);
        if (model_.architecture_ == nullptr) {
            return unsupported("the model's architecture is not supported",
                               "the architecture @ is not supported; supported: %",
                               {name, kSupportedArchitectures});
        }
        return {};
    }

    // Reads a number from `low` to `high`. read_number_or() gives `fallback` if the key is missing.
    [[nodiscard]] Status read_number(std::string_view suffix, uint32_t low, uint32_t high,
                                     uint32_t &out) {
        BF_ASSIGN(out, file_.u32(key(suffix), detail()));
        if (out < low || out > high) {
            return invalid("a number of the model is out of range", "% is %, outside % to %",
                           {key(suffix), out, low, high});
        }
        return {};
    }
    [[nodiscard]] Status read_number_or(std::string_view suffix, uint32_t fallback, uint32_t low,
                                        uint32_t high, uint32_t &out) {
        out = fallback;
        return file_.find(key(suffix)) == nullptr ? Status{} : read_number(suffix, low, high, out);
    }
    [[nodiscard]] Status check_float(std::string_view suffix, float value, float low, float high) {
        if (!(value >= low && value <= high)) {  // a NaN, too
            const Error error = invalid("a number of the model is out of range",
                                        "% is out of range: ", {key(suffix)});
            detail().put(Fixed{static_cast<double>(value), 9});
            return error;
        }
        return {};
    }

    [[nodiscard]] Status read_hyper_parameters() {
        BF_TRY(read_number("embedding_length", 1, Model::kMaxDim, hyper_.dim));
        BF_TRY(read_number("feed_forward_length", 1, Model::kMaxHidden, hyper_.hidden));
        BF_TRY(read_number("block_count", 1, Model::kMaxLayers, hyper_.layers));
        BF_TRY(read_number("context_length", 1, Model::kMaxContext, hyper_.context_length));
        BF_TRY(read_number("attention.head_count", 1, Model::kMaxHeads, hyper_.heads));
        BF_TRY(read_number_or("attention.head_count_kv", hyper_.heads, 1, Model::kMaxHeads,
                              hyper_.kv_heads));
        if (hyper_.heads % hyper_.kv_heads != 0) {
            return invalid("the KV heads do not divide the heads",
                           "% KV heads do not divide % heads", {hyper_.kv_heads, hyper_.heads});
        }
        BF_TRY(read_head_size());
        BF_TRY(read_number_or("rope.dimension_count", hyper_.head_size, 2, hyper_.head_size,
                              hyper_.rope_dim));
        if (hyper_.rope_dim % 2 != 0) {
            return invalid("the rotary dimension is odd", "the rotary dimension % is odd",
                           {hyper_.rope_dim});
        }
        BF_ASSIGN(hyper_.rope_base, file_.f32_or(key("rope.freq_base"), 10000.0f, detail()));
        BF_TRY(check_float("rope.freq_base", hyper_.rope_base, 1.0f, 1e12f));
        BF_TRY(read_rope_scaling());
        BF_ASSIGN(hyper_.rms_epsilon, file_.f32(key("attention.layer_norm_rms_epsilon"), detail()));
        return check_float("attention.layer_norm_rms_epsilon", hyper_.rms_epsilon, 1e-12f, 0.1f);
    }

    // Linear unless the file says otherwise; older files state the factor alone.
    [[nodiscard]] Status read_rope_scaling() {
        BF_ASSIGN(const std::string_view type,
                  file_.text_or(key("rope.scaling.type"), "linear", detail()));
        if (type == "none") {
            return {};
        }
        if (type != "linear") {
            return unsupported("scaled rotary positions of this kind are not supported",
                               "rotary positions with scaling @ are not supported; supported: "
                               "linear, none",
                               {type});
        }
        BF_ASSIGN(const float old_factor, file_.f32_or(key("rope.scale_linear"), 1.0f, detail()));
        BF_ASSIGN(hyper_.rope_factor,
                  file_.f32_or(key("rope.scaling.factor"), old_factor, detail()));
        return check_float("rope.scaling.factor", hyper_.rope_factor, 1.0f, 1e6f);
    }

    // The file may state the head size; otherwise the heads share `dim` evenly.
    [[nodiscard]] Status read_head_size() {
        if (file_.find(key("attention.key_length")) != nullptr) {
            BF_TRY(read_number("attention.key_length", 2, Model::kMaxHeadSize, hyper_.head_size));
        } else if (hyper_.dim % hyper_.heads != 0) {
            return invalid("the heads do not divide the dimension",
                           "% heads do not divide the dimension %", {hyper_.heads, hyper_.dim});
        } else {
            hyper_.head_size = hyper_.dim / hyper_.heads;
        }
        if (hyper_.head_size % 2 != 0 || hyper_.head_size > Model::kMaxHeadSize) {
            return invalid("the head size is odd or too large", "the head size % is odd or over %",
                           {hyper_.head_size, Model::kMaxHeadSize});
        }
        uint32_t value_size;
        BF_TRY(read_number_or("attention.value_length", hyper_.head_size, 1, Model::kMaxHeadSize,
                              value_size));
        if (value_size != hyper_.head_size) {
            return unsupported("heads with values of another size are not supported",
                               "heads with keys of % and values of % elements are not supported",
                               {hyper_.head_size, value_size});
        }
        return {};
    }

    // Refuses what would change the results if it were ignored.
    [[nodiscard]] Status refuse_what_is_not_supported() {
        BF_ASSIGN(const uint32_t experts, file_.u32_or(key("expert_count"), 0, detail()));
        if (experts != 0) {
            return unsupported("mixtures of experts are not supported",
                               "a mixture of % experts is not supported", {experts});
        }
        return {};
    }

    [[nodiscard]] Status claim_tensors() {
        if (file_.tensors().empty()) {
            return invalid("the model file has no tensors: it holds a vocabulary only");
        }
        auto tensors = Buffer<Tensor>::create(file_.tensors().size());
        auto layers = Buffer<Layer>::create(hyper_.layers);
        if (!tensors || !layers) {
            return passed_on(detail(), tensors ? layers.error() : tensors.error());
        }
        model_.tensors_ = std::move(tensors).value();
        model_.layers_ = std::move(layers).value();

        BF_TRY(claim_embedding());
        BF_TRY(claim_f32("output_norm.weight", hyper_.dim, model_.output_norm_));
        BF_TRY(claim_rope_divisors());
        if (file_.find_tensor("output.weight") != nullptr) {
            BF_TRY(claim("output.weight", hyper_.vocab, hyper_.dim, model_.output_));
        } else {
            model_.output_ = model_.token_embedding_;
        }
        for (uint32_t i = 0; i < hyper_.layers; ++i) {
            BF_TRY(claim_layer(i, model_.layers_[i]));
        }
        return {};
    }

    [[nodiscard]] Status claim_embedding() {
        const GgufTensor *embedding = file_.find_tensor("token_embd.weight");
        if (embedding != nullptr) {  // otherwise claim() refuses
            const uint64_t rows = embedding->dims[1];
            if (rows > Model::kMaxVocab) {
                return invalid("the vocabulary is too large", "a vocabulary of % tokens is over %",
                               {rows, Model::kMaxVocab});
            }
            hyper_.vocab = static_cast<uint32_t>(rows);
        }
        return claim("token_embd.weight", hyper_.vocab, hyper_.dim, model_.token_embedding_);
    }

    [[nodiscard]] Status claim_layer(uint32_t index, Layer &layer) {
        const HyperParameters &h = hyper_;
        BF_TRY(claim_f32(layer_name(index, "attn_norm"), h.dim, layer.attention_norm));
        BF_TRY(claim(layer_name(index, "attn_q"), h.q_dim(), h.dim, layer.query));
        BF_TRY(claim(layer_name(index, "attn_k"), h.kv_dim(), h.dim, layer.key));
        BF_TRY(claim(layer_name(index, "attn_v"), h.kv_dim(), h.dim, layer.value));
        BF_TRY(claim(layer_name(index, "attn_output"), h.dim, h.q_dim(), layer.attention_output));
        BF_TRY(claim_f32(layer_name(index, "ffn_norm"), h.dim, layer.ffn_norm));
        BF_TRY(claim(layer_name(index, "ffn_gate"), h.hidden, h.dim, layer.gate));
        BF_TRY(claim(layer_name(index, "ffn_up"), h.hidden, h.dim, layer.up));
        BF_TRY(claim(layer_name(index, "ffn_down"), h.dim, h.hidden, layer.down));
        if (model_.architecture_->attention_biases == Biases::kOptional) {
            BF_TRY(claim_bias(index, "attn_q", h.q_dim(), layer.query_bias));
            BF_TRY(claim_bias(index, "attn_k", h.kv_dim(), layer.key_bias));
            BF_TRY(claim_bias(index, "attn_v", h.kv_dim(), layer.value_bias));
            BF_TRY(claim_bias(index, "attn_output", h.dim, layer.attention_output_bias));
        }
        if (model_.architecture_->ffn_biases == Biases::kOptional) {
            BF_TRY(claim_bias(index, "ffn_gate", h.hidden, layer.gate_bias));
            BF_TRY(claim_bias(index, "ffn_up", h.hidden, layer.up_bias));
            BF_TRY(claim_bias(index, "ffn_down", h.dim, layer.down_bias));
        }
        return {};
    }

    [[nodiscard]] Status claim_bias(uint32_t index, std::string_view part, uint32_t count,
                                    Tensor &out) {
        const std::string_view name = layer_name(index, part, ".bias");
        return file_.find_tensor(name) == nullptr ? Status{} : claim_f32(name, count, out);
    }

    // How Llama 3 scales rotary positions.
    [[nodiscard]] Status claim_rope_divisors() {
        constexpr std::string_view kName = "rope_freqs.weight";
        if (file_.find_tensor(kName) == nullptr) {
            return {};
        }
        BF_TRY(claim_f32(kName, hyper_.rope_dim / 2, model_.rope_divisors_));
        for (uint32_t i = 0; i < hyper_.rope_dim / 2; ++i) {
            const float divisor = model_.rope_divisors_.f32()[i];
            if (!(divisor >= 1.0f && divisor <= 1e6f)) {  // a NaN, too
                return invalid("a number of the model is out of range",
                               "tensor @ has a number that is out of range in column %",
                               {kName, i});
            }
        }
        return {};
    }

    // "blk.3.attn_q.weight"; valid until the next call.
    [[nodiscard]] std::string_view layer_name(uint32_t index, std::string_view part,
                                              std::string_view kind = ".weight") {
        TextWriter out(name_);
        return out.put("blk.", index, ".", part, kind).view();
    }

    // Claims a vector: the weights of a norm, or a bias.
    [[nodiscard]] Status claim_f32(std::string_view name, uint32_t count, Tensor &out) {
        BF_TRY(claim(name, 1, count, out));
        if (out.type != compute::TensorType::kF32) {
            return unsupported("norm weights and biases must be F32",
                               "norm weights and biases must be F32, but @ is %",
                               {name, compute::tensor_type_info(out.type).name});
        }
        return {};
    }

    [[nodiscard]] Status claim(std::string_view name, uint32_t rows, uint32_t cols, Tensor &out) {
        const GgufTensor *found = file_.find_tensor(name);
        if (found == nullptr) {
            return not_found("the model file lacks a tensor", "the model file lacks the tensor @",
                             {name});
        }
        if (!found->type->supported) {
            return unsupported("tensor type not supported",
                               "tensor @ is %, which is not supported; supported: %",
                               {name, found->type->name, compute::kSupportedTensorTypes});
        }
        const uint64_t *dims = found->dims;
        if (dims[0] != cols || dims[1] != rows || dims[2] != 1 || dims[3] != 1) {
            return invalid("a tensor has another shape than the model's numbers imply",
                           "tensor @ has the shape % x % x % x % instead of % x %",
                           {name, dims[0], dims[1], dims[2], dims[3], cols, rows});
        }
        out = {.name = found->name,
               .type = static_cast<compute::TensorType>(found->type->id),
               .rows = rows,
               .cols = cols,
               .row_bytes = uint64_t{cols} / found->type->block_elements * found->type->block_bytes,
               .data = found->bytes.data()};
        model_.tensors_[static_cast<size_t>(found - file_.tensors().data())] = out;
        return {};
    }

    // A tensor that no part claimed (an expert, an adapter) would change the results.
    [[nodiscard]] Status refuse_tensors_left_over() {
        for (size_t i = 0; i < model_.tensors_.size(); ++i) {
            if (!model_.tensors_[i].present()) {
                return unsupported("the model has a tensor that is not supported",
                                   "the tensor @ is not supported", {file_.tensors()[i].name});
            }
        }
        return {};
    }

    // If the file states the number of tokens, it must be that of the matrices.
    [[nodiscard]] Status check_vocabulary() {
        BF_ASSIGN(const uint32_t stated, file_.u32_or(key("vocab_size"), hyper_.vocab, detail()));
        uint64_t listed = hyper_.vocab;
        if (file_.find("tokenizer.ggml.tokens") != nullptr) {
            BF_ASSIGN(const GgufArray tokens,
                      file_.array("tokenizer.ggml.tokens", GgufType::kString, detail()));
            listed = tokens.count;
        }
        if (stated != hyper_.vocab || listed != hyper_.vocab) {
            return invalid("the vocabulary and the embedding differ in size",
                           "the vocabulary has % tokens, but the embedding has % rows",
                           {stated != hyper_.vocab ? uint64_t{stated} : listed, hyper_.vocab});
        }
        return {};
    }

    void describe() {
        Result<std::string_view> name = file_.text("general.name", detail());
        model_.name_ = name && !name->empty() ? *name : "unnamed";
        for (const Tensor &tensor : model_.tensors()) {
            model_.parameter_count_ += uint64_t{tensor.rows} * tensor.cols;
            model_.weight_bytes_ += tensor.bytes();
        }
        uint64_t most = 0;
        for (uint32_t id = 0; id <= compute::kLastTensorTypeId; ++id) {
            uint64_t elements = 0;
            for (const Tensor &tensor : model_.tensors()) {
                const bool same = static_cast<uint32_t>(tensor.type) == id;
                elements += same ? uint64_t{tensor.rows} * tensor.cols : 0;
            }
            if (elements > most) {
                most = elements;
                model_.weight_type_ = compute::find_tensor_type(id)->name;
            }
        }
        detail().clear();
    }

    Model &model_;
    const GgufFile &file_;
    HyperParameters &hyper_;
    char key_[64] = {};
    char name_[64] = {};
};

Result<Model *> Model::create(std::span<const uint8_t> file, TextWriter &detail) {
    if (reinterpret_cast<uintptr_t>(file.data()) % kBaseAlignment != 0) {
        return refuse(detail, ErrorCode::kInvalid, "the model's memory is not aligned to 32 bytes");
    }
    BF_ASSIGN(GgufFile parsed, GgufFile::parse(file, detail));
    return ModelBuilder::create(std::move(parsed), detail);
}

void Model::destroy() {
    this->~Model();
    heap_release(this);
}

}  // namespace bareflow::llama
