#include "compute/numbers/weight_blocks.h"

#include "kernel_lib/platform/platform.h"

namespace bareflow::compute {
namespace {

constexpr uint32_t kHalf = kBlockElements / 2;

// Element i of a block of 32 nibbles: low halves first.
int nibble(const uint8_t *nibbles, uint32_t i) {
    return i < kHalf ? nibbles[i] & 15 : nibbles[i - kHalf] >> 4;
}

// Element i of a super-block of `bits` wide fields: a run of 32 bytes holds its lowest fields
// first, then the next ones, and so on.
int field(const uint8_t *bytes, uint32_t bits, uint32_t i) {
    const uint32_t fields = 8 / bits;
    const uint32_t run = i / (32 * fields);
    return bytes[32 * run + i % 32] >> (bits * (i / 32 % fields)) & ((1 << bits) - 1);
}

void unpack_32(TensorType type, const uint8_t *block, UnpackedBlock &out) {
    const bool has_minimum = type == TensorType::kQ4_1 || type == TensorType::kQ5_1;
    const bool five_bits = type == TensorType::kQ5_0 || type == TensorType::kQ5_1;
    const uint8_t *at = block + 2;
    out.d = load_u16(block);
    out.dmin = 0;
    if (has_minimum) {
        out.dmin = load_u16(at);
        at += 2;
    }
    uint32_t high = 0;
    if (five_bits) {
        __builtin_memcpy(&high, at, sizeof(high));
        at += sizeof(high);
    }
    for (uint32_t part = 0; part < kBlockElements / kPartElements; ++part) {
        out.scales[part] = 1;
        out.minimums[part] = has_minimum ? -1 : 0;
    }
    const int offset = type == TensorType::kQ4_0 ? 8 : type == TensorType::kQ5_0 ? 16 : 0;
    for (uint32_t i = 0; i < kBlockElements; ++i) {
        if (type == TensorType::kQ8_0) {
            out.weights[i] = static_cast<int8_t>(at[i]);
        } else if (type == TensorType::kIQ4_NL) {
            out.weights[i] = kNonLinear[nibble(at, i)];
        } else {
            const int fifth = five_bits ? static_cast<int>(high >> i & 1) << 4 : 0;
            out.weights[i] = static_cast<int8_t>((nibble(at, i) | fifth) - offset);
        }
    }
}

// The eight scales and minimums of Q4_K and Q5_K, six bits each in twelve bytes: the first four of
// both in the low bits of bytes 0-3 and 4-7; of the last four, four bits in the halves of bytes
// 8-11 and two in the high bits of the others.
void unpack_six_bits(const uint8_t *s, UnpackedBlock &out) {
    for (uint32_t j = 0; j < 8; ++j) {
        const int scale = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | s[j - 4] >> 6 << 4;
        const int minimum = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | s[j] >> 6 << 4;
        for (uint32_t part = 2 * j; part < 2 * j + 2; ++part) {
            out.scales[part] = static_cast<int8_t>(scale);
            out.minimums[part] = static_cast<int8_t>(minimum);
        }
    }
}

void unpack_256(TensorType type, const uint8_t *block, UnpackedBlock &out) {
    const TensorTypeInfo &info = tensor_type_info(type);
    out.d = load_u16(block + info.scale_offset);
    out.dmin = info.scales == 2 ? load_u16(block + info.scale_offset + 2) : uint16_t{0};
    if (type == TensorType::kQ4_K || type == TensorType::kQ5_K) {
        unpack_six_bits(block + 4, out);
    } else {
        for (uint32_t part = 0; part < kSuperBlockElements / kPartElements; ++part) {
            int scale;
            int minimum = 0;
            if (type == TensorType::kQ2_K) {
                scale = block[part] & 15;
                minimum = block[part] >> 4;
            } else if (type == TensorType::kQ3_K) {
                const uint8_t *const s = block + 96;
                const int low = s[part % 8] >> (4 * (part / 8)) & 15;
                const int high = s[8 + part % 4] >> (2 * (part / 4)) & 3;
                scale = (low | high << 4) - 32;
            } else {
                scale = static_cast<int8_t>(block[192 + part]);
            }
            out.scales[part] = static_cast<int8_t>(scale);
            out.minimums[part] = static_cast<int8_t>(minimum);
        }
    }
    for (uint32_t i = 0; i < kSuperBlockElements; ++i) {
        int weight;
        switch (type) {
            case TensorType::kQ2_K:
                weight = field(block + 16, 2, i);
                break;
            case TensorType::kQ3_K:  // the high bit is stored inverted
                weight = (field(block + 32, 2, i) | field(block, 1, i) << 2) - 4;
                break;
            case TensorType::kQ4_K:
                weight = field(block + 16, 4, i);
                break;
            case TensorType::kQ5_K:
                weight = field(block + 48, 4, i) | field(block + 16, 1, i) << 4;
                break;
            default: {  // Q6_K; its nibbles come in runs of 64 bytes
                const uint8_t low = block[i / 128 * 64 + i % 64];
                weight =
                    ((i % 128 < 64 ? low & 15 : low >> 4) | field(block + 128, 2, i) << 4) - 32;
                break;
            }
        }
        out.weights[i] = static_cast<int8_t>(weight);
    }
}

uint32_t block_elements(TensorType type) {
    return tensor_type_info(type).block_elements;
}

}  // namespace

void unpack_block(TensorType type, const uint8_t *block, UnpackedBlock &out) {
    switch (block_elements(type)) {
        case kBlockElements:
            return unpack_32(type, block, out);
        case kSuperBlockElements:
            return unpack_256(type, block, out);
        default:
            platform::panic("unpack_block: no block type");
    }
}

void dequantize_row(TensorType type, const uint8_t *row, uint32_t cols, float *y) {
    const TensorTypeInfo &info = tensor_type_info(type);
    if (info.block_elements == 1) {
        for (uint32_t i = 0; i < cols; ++i, row += info.block_bytes) {
            y[i] = type == TensorType::kF32   ? load_f32(row)
                   : type == TensorType::kF16 ? f16_to_f32(load_u16(row))
                                              : bf16_to_f32(load_u16(row));
        }
        return;
    }
    UnpackedBlock block;
    for (uint32_t begin = 0; begin < cols; begin += info.block_elements, row += info.block_bytes) {
        unpack_block(type, row, block);
        const float d = f16_to_f32(block.d);
        const float dmin = f16_to_f32(block.dmin);
        for (uint32_t i = 0; i < info.block_elements; ++i) {
            const uint32_t part = i / kPartElements;
            const float scale = d * static_cast<float>(block.scales[part]);
            const float minimum = dmin * static_cast<float>(block.minimums[part]);
            y[begin + i] = scale * static_cast<float>(block.weights[i]) - minimum;
        }
    }
}

}  // namespace bareflow::compute
