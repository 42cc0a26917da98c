// Repeatable random numbers and random weight blocks for the engine's tests.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"

namespace bareflow::compute::testing {

class Random {
  public:
    explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15 + 1) {}
    uint64_t next() {
        state_ ^= state_ << 13;
        state_ ^= state_ >> 7;
        state_ ^= state_ << 17;
        return state_ * 0x2545f4914f6cdd1d;
    }
    uint32_t below(uint32_t bound) { return static_cast<uint32_t>((next() >> 32) % bound); }
    // In [-1, 1).
    float unit() { return static_cast<float>(static_cast<int64_t>(next()) >> 40) * 0x1p-23f; }
    std::vector<float> floats(uint32_t count, float scale = 1.0f) {
        std::vector<float> out(count);
        for (float &value : out) {
            value = unit() * scale;
        }
        return out;
    }
    // A finite f16 of magnitude below a limit (128), either sign, denormals included.
    uint16_t scale_f16(uint16_t limit = 0x5800) {
        return static_cast<uint16_t>(below(limit) | (next() & 1 ? 0x8000u : 0u));
    }

  private:
    uint64_t state_;
};

inline uint32_t block_bytes(TensorType type) {
    return tensor_type_info(type).block_bytes;
}

inline uint64_t row_bytes(TensorType type, uint32_t cols) {
    return uint64_t{cols} / tensor_type_info(type).block_elements * block_bytes(type);
}

inline void put_u16(std::vector<uint8_t> &bytes, size_t at, uint16_t value) {
    bytes[at] = static_cast<uint8_t>(value);
    bytes[at + 1] = static_cast<uint8_t>(value >> 8);
}

// Weights in the file's layout that the loader would accept.
inline std::vector<uint8_t> random_weights(TensorType type, uint32_t rows, uint32_t cols,
                                           Random &random) {
    std::vector<uint8_t> bytes(row_bytes(type, cols) * rows);
    for (uint8_t &byte : bytes) {
        byte = static_cast<uint8_t>(random.next() >> 56);
    }
    const TensorTypeInfo &info = tensor_type_info(type);
    for (size_t at = 0; at < bytes.size(); at += info.block_bytes) {
        if (type == TensorType::kF32 || type == TensorType::kBF16) {
            const auto bits = std::bit_cast<uint32_t>(random.unit());
            const uint32_t kept = type == TensorType::kF32 ? bits : bits >> 16;
            __builtin_memcpy(bytes.data() + at, &kept, info.block_bytes);
        } else if (type == TensorType::kF16) {
            put_u16(bytes, at, random.scale_f16());
        }
        for (uint32_t i = 0; i < info.scales; ++i) {
            put_u16(bytes, at + info.scale_offset + 2 * i, random.scale_f16(info.scale_limit));
        }
    }
    return bytes;
}

}  // namespace bareflow::compute::testing
