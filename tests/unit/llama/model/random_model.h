// Models with random weights, for tests that compute with them.
#pragma once

#include <bit>
#include <cmath>

#include "compute/numbers/tensor_types.h"
#include "tests/unit/compute/random_numbers.h"
#include "tests/unit/llama/file/gguf_builder.h"

namespace bareflow::llama::testing {

// Weights of about the size that keeps activations near one.
inline void fill_tensor(GgufBuilder::Tensor &tensor, compute::testing::Random &random) {
    const auto type = static_cast<compute::TensorType>(tensor.type);
    const auto cols = static_cast<uint32_t>(tensor.dims[0]);
    const float scale = 1.5f / std::sqrt(static_cast<float>(cols));
    std::vector<uint8_t> bytes(tensor.data.size());
    if (type == compute::TensorType::kF32) {
        const bool norm = tensor.dims.size() == 1;
        for (size_t at = 0; at < bytes.size(); at += 4) {
            const float value = norm ? 1.0f + 0.2f * random.unit() : random.unit() * scale;
            memcpy(bytes.data() + at, &value, 4);
        }
    } else if (type == compute::TensorType::kF16) {
        for (size_t at = 0; at < bytes.size(); at += 2) {
            const uint32_t sign = static_cast<uint32_t>(random.next() & 1) << 15;
            compute::testing::put_u16(bytes, at,
                                      static_cast<uint16_t>(sign | (0x2400 + random.below(0xc00))));
        }
    } else if (type == compute::TensorType::kBF16) {
        for (size_t at = 0; at < bytes.size(); at += 2) {
            const auto bits = std::bit_cast<uint32_t>(random.unit() * scale);
            compute::testing::put_u16(bytes, at, static_cast<uint16_t>(bits >> 16));
        }
    } else {
        for (uint8_t &byte : bytes) {
            byte = static_cast<uint8_t>(random.next() >> 56);
        }
        const compute::TensorTypeInfo &info = compute::tensor_type_info(type);
        const bool super_block = info.block_elements == 256;
        const uint16_t unit = super_block                          ? 0x0800
                              : type == compute::TensorType::kQ8_0 ? 0x1400
                                                                   : 0x2400;
        const uint16_t minimum_unit = super_block ? 0x1000 : 0xb000;
        for (size_t at = info.scale_offset; at < bytes.size(); at += info.block_bytes) {
            compute::testing::put_u16(bytes, at, static_cast<uint16_t>(unit + random.below(0x400)));
            if (info.scales == 2) {
                compute::testing::put_u16(
                    bytes, at + 2, static_cast<uint16_t>(minimum_unit + random.below(0x400)));
            }
        }
    }
    tensor.data.assign(reinterpret_cast<const char *>(bytes.data()), bytes.size());
}

inline GgufBuilder random_model(compute::TensorType type, const Shape &shape = {},
                                uint64_t seed = 1) {
    GgufBuilder builder = model_builder(shape);
    compute::testing::Random random(seed);
    for (GgufBuilder::Tensor &tensor : builder.tensors) {
        if (tensor.dims.size() == 2) {
            builder.retype(tensor.name, type);
        }
        fill_tensor(tensor, random);
    }
    return builder;
}

inline constexpr compute::TensorType kAllTypes[] = {
    compute::TensorType::kF32,  compute::TensorType::kF16,  compute::TensorType::kBF16,
    compute::TensorType::kQ8_0, compute::TensorType::kQ4_0, compute::TensorType::kQ4_1,
    compute::TensorType::kQ5_0, compute::TensorType::kQ5_1, compute::TensorType::kIQ4_NL,
    compute::TensorType::kQ2_K, compute::TensorType::kQ3_K, compute::TensorType::kQ4_K,
    compute::TensorType::kQ5_K, compute::TensorType::kQ6_K};

// Rows are whole numbers of blocks.
inline Shape shape_for(compute::TensorType type) {
    return compute::tensor_type_info(type).block_elements == 256
               ? Shape{.dim = 256, .hidden = 512, .layers = 1}
               : Shape{};
}

}  // namespace bareflow::llama::testing
