// The tensor types of GGUF files: their numbers, names and block shapes, for code that learns the
// type from a file. Code that is made for one type reads weight_formats.h. Source: GGUF
// specification ("ggml_type") and the block layouts of the reference implementation
// (ggml-common.h).
#pragma once

#include <cstdint>
#include <string_view>

namespace bareflow::compute {

// Numbers as stored in the file. Only types that the engine computes with have a name here; the
// others are known to find_tensor_type(), so that they can be refused by name.
enum class TensorType : uint32_t {
    kF32 = 0,
    kF16 = 1,
    kQ4_0 = 2,
    kQ4_1 = 3,
    kQ5_0 = 6,
    kQ5_1 = 7,
    kQ8_0 = 8,
    kQ2_K = 10,
    kQ3_K = 11,
    kQ4_K = 12,
    kQ5_K = 13,
    kQ6_K = 14,
    kIQ4_NL = 20,
    kBF16 = 30,
};

struct TensorTypeInfo {
    uint32_t id;
    std::string_view name;    // as llama.cpp prints it: "Q8_0"
    uint32_t block_elements;  // consecutive elements of a row stored together; a power of 2
    uint32_t block_bytes;
    bool supported = false;  // the engine can compute with it
    // Of supported types, as in WeightFormat (weight_formats.h).
    uint8_t scales = 0;        // f16 scales of a block, one behind the other; 0: no block type
    uint8_t scale_offset = 0;  // byte of the first
    uint16_t scale_limit = 0;  // f16 that their magnitudes must be below
};

inline constexpr uint32_t kLastTensorTypeId = 39;
// nullptr: no such type is known.
[[nodiscard]] const TensorTypeInfo *find_tensor_type(uint32_t id);
// Of a supported type.
[[nodiscard]] const TensorTypeInfo &tensor_type_info(TensorType type);
// The names of all supported types, for messages, in the order of kWeightFormats.
inline constexpr std::string_view kSupportedTensorTypes =
    "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL";

// Block types multiply quantised activations, the others floats.
[[nodiscard]] bool takes_quantized(TensorType type);

}  // namespace bareflow::compute
