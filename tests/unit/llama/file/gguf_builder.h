// Builds GGUF files in memory: well-formed ones, and ones that are wrong at exactly one place.
#pragma once

#include <stdlib.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "compute/numbers/tensor_types.h"
#include "llama/file/gguf.h"

namespace bareflow::llama::testing {

// A file in memory: 32-byte aligned, and exactly as long as it says, so that the sanitizer sees
// every read past the end.
class FileBytes {
  public:
    explicit FileBytes(std::string_view content) : size_(content.size()) {
        void *memory = nullptr;
        if (posix_memalign(&memory, 32, size_ == 0 ? 1 : size_) != 0) {
            abort();
        }
        data_.reset(static_cast<uint8_t *>(memory));
        memcpy(data_.get(), content.data(), size_);
    }
    [[nodiscard]] std::span<const uint8_t> span() const { return {data_.get(), size_}; }

  private:
    struct Free {
        void operator()(uint8_t *memory) const { free(memory); }
    };
    std::unique_ptr<uint8_t, Free> data_;
    size_t size_;
};

// Detail text with its buffer.
struct Detail {
    char text[512];
    TextWriter writer{text};
    [[nodiscard]] std::string str() const { return std::string(writer.view()); }
};

class GgufBuilder {
  public:
    struct Entry {
        std::string key;
        uint32_t type;
        std::string value;
    };
    struct Tensor {
        std::string name;
        std::vector<uint64_t> dims;
        uint32_t type = 0;
        std::string data;
        std::optional<uint64_t> offset;  // nothing: the next free one
    };

    // What the header says if it is not the truth.
    std::string magic = "GGUF";
    uint32_t version = 3;
    std::optional<uint64_t> tensor_count;
    std::optional<uint64_t> key_count;
    uint64_t alignment = 32;  // used for the layout; not written as a key
    std::vector<Entry> entries;
    std::vector<Tensor> tensors;

    template <typename T>
    static std::string raw(T value) {
        return {reinterpret_cast<const char *>(&value), sizeof(T)};
    }
    static std::string text(std::string_view value) {
        return raw(uint64_t{value.size()}) + std::string(value);
    }

    // Replaces the value if there is such a key.
    GgufBuilder &set_raw(std::string_view key, GgufType type, std::string value) {
        for (Entry &entry : entries) {
            if (entry.key == key) {
                entry.type = static_cast<uint32_t>(type);
                entry.value = std::move(value);
                return *this;
            }
        }
        entries.push_back({std::string(key), static_cast<uint32_t>(type), std::move(value)});
        return *this;
    }
    GgufBuilder &set(std::string_view key, uint32_t value) {
        return set_raw(key, GgufType::kUint32, raw(value));
    }
    GgufBuilder &set(std::string_view key, int32_t value) {
        return set_raw(key, GgufType::kInt32, raw(value));
    }
    GgufBuilder &set(std::string_view key, uint64_t value) {
        return set_raw(key, GgufType::kUint64, raw(value));
    }
    GgufBuilder &set(std::string_view key, float value) {
        return set_raw(key, GgufType::kFloat32, raw(value));
    }
    GgufBuilder &set(std::string_view key, bool value) {
        return set_raw(key, GgufType::kBool, raw(static_cast<uint8_t>(value)));
    }
    GgufBuilder &set(std::string_view key, const char *value) {
        return set_raw(key, GgufType::kString, text(value));
    }
    GgufBuilder &set(std::string_view key, const std::vector<std::string> &values) {
        std::string data = array_head(GgufType::kString, values.size());
        for (const std::string &value : values) {
            data += text(value);
        }
        return set_raw(key, GgufType::kArray, data);
    }
    GgufBuilder &set(std::string_view key, const std::vector<float> &values) {
        return set_array(key, GgufType::kFloat32, values);
    }
    GgufBuilder &set(std::string_view key, const std::vector<int32_t> &values) {
        return set_array(key, GgufType::kInt32, values);
    }
    GgufBuilder &remove(std::string_view key) {
        std::erase_if(entries, [&](const Entry &entry) { return entry.key == key; });
        return *this;
    }
    static std::string array_head(GgufType element, uint64_t count) {
        return raw(static_cast<uint32_t>(element)) + raw(count);
    }

    // The data is zeroes, as many as the type needs.
    GgufBuilder &add_tensor(std::string_view name, std::vector<uint64_t> dims,
                            compute::TensorType type = compute::TensorType::kF32) {
        tensors.push_back({std::string(name), dims, static_cast<uint32_t>(type), {}, {}});
        tensors.back().data.assign(data_bytes(tensors.back()), '\0');
        return *this;
    }
    Tensor &tensor(std::string_view name) {
        for (Tensor &tensor : tensors) {
            if (tensor.name == name) {
                return tensor;
            }
        }
        abort();
    }
    GgufBuilder &retype(std::string_view name, compute::TensorType type) {
        Tensor &found = tensor(name);
        found.type = static_cast<uint32_t>(type);
        found.data.assign(data_bytes(found), '\0');
        return *this;
    }
    GgufBuilder &remove_tensor(std::string_view name) {
        std::erase_if(tensors, [&](const Tensor &tensor) { return tensor.name == name; });
        return *this;
    }

    [[nodiscard]] std::string build() const {
        std::string out = magic + raw(version) + raw(tensor_count.value_or(tensors.size())) +
                          raw(key_count.value_or(entries.size()));
        for (const Entry &entry : entries) {
            out += text(entry.key) + raw(entry.type) + entry.value;
        }
        uint64_t offset = 0;
        std::vector<uint64_t> offsets;
        for (const Tensor &tensor : tensors) {
            out += text(tensor.name) + raw(static_cast<uint32_t>(tensor.dims.size()));
            for (const uint64_t dim : tensor.dims) {
                out += raw(dim);
            }
            offsets.push_back(tensor.offset.value_or(offset));
            out += raw(tensor.type) + raw(offsets.back());
            offset += (tensor.data.size() + alignment - 1) / alignment * alignment;
        }
        if (tensors.empty()) {
            return out;
        }
        out.resize((out.size() + alignment - 1) / alignment * alignment);
        const size_t data_begin = out.size();
        for (const Tensor &tensor : tensors) {  // an explicit offset changes only the description
            out += tensor.data;
            out.resize(data_begin +
                       (out.size() - data_begin + alignment - 1) / alignment * alignment);
        }
        return out;
    }
    [[nodiscard]] FileBytes file() const { return FileBytes(build()); }

  private:
    template <typename T>
    GgufBuilder &set_array(std::string_view key, GgufType element, const std::vector<T> &values) {
        std::string data = array_head(element, values.size());
        data.append(reinterpret_cast<const char *>(values.data()), values.size() * sizeof(T));
        return set_raw(key, GgufType::kArray, data);
    }
    static size_t data_bytes(const Tensor &tensor) {
        const compute::TensorTypeInfo &type = *compute::find_tensor_type(tensor.type);
        uint64_t elements = 1;
        for (const uint64_t dim : tensor.dims) {
            elements *= dim;
        }
        return elements / type.block_elements * type.block_bytes;
    }
};

// The texts, scores and kinds of a vocabulary: <unk>, <s>, </s>, the 256 bytes, then `pieces`, each
// with the score minus its place.
inline void add_vocabulary(GgufBuilder &builder, const std::vector<std::string> &pieces,
                           bool bytes = true) {
    std::vector<std::string> texts = {"<unk>", "<s>", "</s>"};
    std::vector<int32_t> kinds = {2, 3, 3};
    if (bytes) {
        for (int byte = 0; byte < 256; ++byte) {
            char text[8];
            snprintf(text, sizeof text, "<0x%02X>", byte);
            texts.emplace_back(text);
            kinds.push_back(6);
        }
    }
    std::vector<float> scores(texts.size(), 0.0f);
    for (const std::string &piece : pieces) {
        scores.push_back(-static_cast<float>(texts.size()));
        texts.push_back(piece);
        kinds.push_back(1);
    }
    builder.set("tokenizer.ggml.model", "llama");
    builder.set("tokenizer.ggml.tokens", texts);
    builder.set("tokenizer.ggml.scores", scores);
    builder.set("tokenizer.ggml.token_type", kinds);
    builder.set("tokenizer.ggml.bos_token_id", 1u);
    builder.set("tokenizer.ggml.eos_token_id", 2u);
    builder.set("tokenizer.ggml.unknown_token_id", 0u);
}

struct Shape {
    uint32_t dim = 32;
    uint32_t hidden = 64;
    uint32_t layers = 2;
    uint32_t heads = 4;
    uint32_t kv_heads = 2;
    uint32_t vocab = 265;  // add_vocabulary() with 6 pieces
    bool tied = false;
};

// A whole model, all F32 zeroes.
inline GgufBuilder model_builder(const Shape &shape = {}) {
    GgufBuilder builder;
    builder.set("general.name", "tiny test");
    add_vocabulary(builder, {"a", "b", "c", "\xE2\x96\x81", "ab",
                             "\xE2\x96\x81"
                             "ab"});
    builder.set("general.architecture", "llama");
    builder.set("llama.block_count", shape.layers);
    builder.set("llama.context_length", 64u);
    builder.set("llama.embedding_length", shape.dim);
    builder.set("llama.feed_forward_length", shape.hidden);
    builder.set("llama.attention.head_count", shape.heads);
    builder.set("llama.attention.head_count_kv", shape.kv_heads);
    builder.set("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    const uint64_t dim = shape.dim;
    const uint64_t kv_dim = dim / shape.heads * shape.kv_heads;
    builder.add_tensor("token_embd.weight", {dim, shape.vocab});
    builder.add_tensor("output_norm.weight", {dim});
    if (!shape.tied) {
        builder.add_tensor("output.weight", {dim, shape.vocab});
    }
    for (uint32_t i = 0; i < shape.layers; ++i) {
        const std::string layer = "blk." + std::to_string(i) + ".";
        builder.add_tensor(layer + "attn_norm.weight", {dim});
        builder.add_tensor(layer + "attn_q.weight", {dim, dim});
        builder.add_tensor(layer + "attn_k.weight", {dim, kv_dim});
        builder.add_tensor(layer + "attn_v.weight", {dim, kv_dim});
        builder.add_tensor(layer + "attn_output.weight", {dim, dim});
        builder.add_tensor(layer + "ffn_norm.weight", {dim});
        builder.add_tensor(layer + "ffn_gate.weight", {dim, shape.hidden});
        builder.add_tensor(layer + "ffn_up.weight", {dim, shape.hidden});
        builder.add_tensor(layer + "ffn_down.weight", {shape.hidden, dim});
    }
    return builder;
}

// One entry of a catalogue of malformed files.
struct BadFile {
    const char *name;
    std::function<void(GgufBuilder &)> spoil;
    const char *sentence;
    ErrorCode code = ErrorCode::kInvalid;
};
inline void PrintTo(const BadFile &bad, std::ostream *out) {
    *out << bad.name;
}

}  // namespace bareflow::llama::testing
