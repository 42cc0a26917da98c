// The tensor types of GGUF files: their numbers, names and block shapes. Source: GGUF specification
// ("ggml_type") and the block layouts of the reference implementation (ggml-common.h).
#pragma once

#include <cstdint>
#include <string_view>

namespace bareflow::llama {

// Numbers as stored in the file. Only types that the engine computes with have a name here; the
// others are known to find_tensor_type(), so that they can be refused by name.
enum class TensorType : uint32_t {
    kF32 = 0,
    kF16 = 1,
    kQ4_0 = 2,  // f16 scale, 16 bytes of nibbles (low nibbles: elements 0-15, high: 16-31)
    kQ4_1 = 3,  // f16 scale, f16 minimum, 16 bytes of nibbles
    kQ8_0 = 8,  // f16 scale, 32 int8
};

struct TensorTypeInfo {
    uint32_t id;
    std::string_view name;  // as llama.cpp prints it: "Q8_0"
    uint32_t
        block_elements;  // consecutive elements of a row that are stored together; a power of 2
    uint32_t block_bytes;
    bool supported;  // the engine can compute with it
};

inline constexpr uint32_t kLastTensorTypeId = 39;
// nullptr: no such type is known.
[[nodiscard]] const TensorTypeInfo *find_tensor_type(uint32_t id);
// Of a supported type.
[[nodiscard]] const TensorTypeInfo &tensor_type_info(TensorType type);
// The names of all supported types, for messages: "F32, F16, Q4_0, Q4_1, Q8_0".
inline constexpr std::string_view kSupportedTensorTypes = "F32, F16, Q4_0, Q4_1, Q8_0";

}  // namespace bareflow::llama
