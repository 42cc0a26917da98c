// The plainest reading of every block type, one weight at a time. Every other decoder is compared
// with this one; the facts come from weight_formats.h.
#include "compute/numbers/weight_blocks.h"

#include "compute/numbers/tensor_types.h"
#include "compute/numbers/weight_formats.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow::compute {
namespace {

constexpr uint32_t kHalf = kBlockElements / 2;

const WeightFormat &format_of(TensorType type) {
    for (const WeightFormat &format : kWeightFormats) {
        if (format.type == type) {
            return format;
        }
    }
    platform::panic("unpack_block: no such type");
}

void unpack_32(const WeightFormat &format, const uint8_t *block, UnpackedBlock &out) {
    const bool has_minimum = format.has_minimum();
    out.d = load_u16(block + format.scale_at);
    out.dmin = has_minimum ? load_u16(block + format.minimum_at()) : uint16_t{0};
    for (uint32_t part = 0; part < kBlockElements / kPartElements; ++part) {
        out.scales[part] = 1;
        out.minimums[part] = has_minimum ? -1 : 0;
    }
    const uint8_t *const low = block + format.low_at;
    uint32_t high = 0;
    if (format.high_bits != 0) {
        __builtin_memcpy(&high, block + format.high_at, sizeof(high));
    }
    for (uint32_t i = 0; i < kBlockElements; ++i) {
        if (format.stored == Stored::kSigned) {
            out.weights[i] = static_cast<int8_t>(low[i]);
            continue;
        }
        const int nibble = i < kHalf ? low[i] & 15 : low[i - kHalf] >> 4;
        if (format.stored == Stored::kTable) {
            out.weights[i] = kNonLinear[nibble];
        } else {
            const int fifth = static_cast<int>(high >> i & 1) << 4;
            out.weights[i] = static_cast<int8_t>((nibble | fifth) - format.offset);
        }
    }
}

// PartScales::kSixBits: eight scales and eight minimums of six bits in twelve bytes. Scales 0-3 are
// the low six bits of bytes 0-3, minimums 0-3 those of bytes 4-7. Scales 4-7 have their low four
// bits in the low halves of bytes 8-11 and their high two bits on top of bytes 0-3. Minimums 4-7
// have theirs in the high halves of bytes 8-11 and on top of bytes 4-7.
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

// PartScales::kSigned6Bits. The low four bits of scales 0-7 are the low halves of bytes 0-7. The
// low four bits of scales 8-15 are the high halves. The high two bits of scale i lie in byte
// 8 + i % 4.
int8_t q3_k_scale(const uint8_t *s, uint32_t part) {
    const int low = s[part % 8] >> (4 * (part / 8)) & 15;
    const int high = s[8 + part % 4] >> (2 * (part / 4)) & 3;
    return static_cast<int8_t>((low | high << 4) - 32);
}

void unpack_part_scales(const WeightFormat &format, const uint8_t *block, UnpackedBlock &out) {
    const uint8_t *const from = block + format.part_scales_at;
    if (format.part_scales == PartScales::kSixBits) {
        return unpack_six_bits(from, out);
    }
    for (uint32_t part = 0; part < kSuperBlockElements / kPartElements; ++part) {
        out.minimums[part] = 0;
        if (format.part_scales == PartScales::kNibbles) {
            out.scales[part] = from[part] & 15;
            out.minimums[part] = static_cast<int8_t>(from[part] >> 4);
        } else if (format.part_scales == PartScales::kSigned6Bits) {
            out.scales[part] = q3_k_scale(from, part);
        } else {
            out.scales[part] = static_cast<int8_t>(from[part]);
        }
    }
}

// The field of kBits bits that belongs to weight i (see WeightFormat::low_bits).
template <uint32_t kBits, uint32_t kRun>
int field(const uint8_t *bytes, uint32_t i) {
    constexpr uint32_t kFields = 8 / kBits;
    const uint32_t run = i / (kRun * kFields);
    return bytes[kRun * run + i % kRun] >> (kBits * (i / kRun % kFields)) & ((1 << kBits) - 1);
}

template <TensorType kType>
void unpack_weights(const uint8_t *block, UnpackedBlock &out) {
    constexpr WeightFormat kFormat = weight_format(kType);
    constexpr uint32_t kHighRun = 32;
    for (uint32_t i = 0; i < kSuperBlockElements; ++i) {
        int weight = field<kFormat.low_bits, kFormat.low_run>(block + kFormat.low_at, i);
        if constexpr (kFormat.high_bits != 0) {
            weight |= field<kFormat.high_bits, kHighRun>(block + kFormat.high_at, i)
                      << kFormat.low_bits;
        }
        out.weights[i] = static_cast<int8_t>(weight - kFormat.offset);
    }
}

void unpack_256(const WeightFormat &format, const uint8_t *block, UnpackedBlock &out) {
    out.d = load_u16(block + format.scale_at);
    out.dmin = format.has_minimum() ? load_u16(block + format.minimum_at()) : uint16_t{0};
    unpack_part_scales(format, block, out);
    switch (format.type) {
        case TensorType::kQ2_K:
            return unpack_weights<TensorType::kQ2_K>(block, out);
        case TensorType::kQ3_K:
            return unpack_weights<TensorType::kQ3_K>(block, out);
        case TensorType::kQ4_K:
            return unpack_weights<TensorType::kQ4_K>(block, out);
        case TensorType::kQ5_K:
            return unpack_weights<TensorType::kQ5_K>(block, out);
        case TensorType::kQ6_K:
            return unpack_weights<TensorType::kQ6_K>(block, out);
        default:
            platform::panic("unpack_block: no super-block");
    }
}

}  // namespace

void unpack_block(TensorType type, const uint8_t *block, UnpackedBlock &out) {
    const WeightFormat &format = format_of(type);
    if (!format.is_block()) {
        platform::panic("unpack_block: no block type");
    }
    format.is_super() ? unpack_256(format, block, out) : unpack_32(format, block, out);
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
