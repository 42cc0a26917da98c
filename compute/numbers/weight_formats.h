// The table of weight formats: for each supported weight type how a block is stored. It is the only
// place in C++ where these numbers stand. tools/gguf/gguf_format.py has a table for Python;
// tests/golden/test_weight_formats.py compares the two with each other and with the package `gguf`.
//
// A block begins at any address. Its fields have no padding between them and are little endian.
// The stored weight i is an unsigned integer of low_bits + high_bits bits. The comments of the
// fields say where its bits lie; weight_blocks.cpp reads it in the plainest way.
//
// A new weight type needs:
//   1. its number in TensorType, its name in kSupportedTensorTypes (tensor_types.h) and its line in
//      kTypes (tensor_types.cpp),
//   2. an entry in this table,
//   3. a decoder: weight_blocks.cpp, which serves the reference, the embedding and the loader's
//      checks. A decoder for each instruction set makes it fast: kernels/portable/swar.cpp,
//      kernels/avx2/gemv_inl.h and kernels/avx512/formats_inl.h, whose names stand in
//      kernels/per_target/formats_table_inl.h. The matrix kernels and AMX use these decoders. The
//      kernel without vectors stands in scalar_variants() (kernels/portable/gemv.cpp).
//   4. tests: tests/golden/test_dequantize.py and the lists of types in tests/unit/compute.
// A generator (compute/codegen) is optional. docs/HOWTO.md has the whole list with the commands.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "compute/numbers/tensor_types.h"

namespace bareflow::compute {

// Weights of a block that is no super-block.
inline constexpr uint32_t kBlockElements = 32;
// Weights of a super-block.
inline constexpr uint32_t kSuperBlockElements = 256;
// Weights of the smallest part of a super-block that has a scale of its own.
inline constexpr uint32_t kPartElements = 16;

// What a stored weight stands for.
enum class Stored : uint8_t {
    kUnsigned,  // stored - offset
    kSigned,    // an int8
    kTable,     // kNonLinear[stored] (weight_blocks.h)
    kFloat,     // a number of its own
};

// How a super-block stores the small integer scales of its parts, and their minimums.
enum class PartScales : uint8_t {
    kNone,         // no super-block
    kBytes,        // an int8 for each part
    kNibbles,      // a byte for each part: scale in the low half, minimum in the high half
    kSixBits,      // eight scales and eight minimums of six bits in twelve bytes
    kSigned6Bits,  // sixteen scales of six bits in twelve bytes, stored as scale + 32
};

struct WeightFormat {
    TensorType type;
    std::string_view name;    // as llama.cpp prints it
    uint16_t block_elements;  // consecutive columns of a row that are stored together; power of 2
    uint16_t block_bytes;
    Stored stored;

    // The f16 scales. 0: a float type. 1: the scale d. 2: the scale, and behind it the minimum (of
    // a super-block dmin, the scale of the minimums).
    uint8_t scales = 0;
    uint8_t scale_at = 0;      // byte of the first
    uint16_t scale_limit = 0;  // f16 that their magnitudes are below (numeric contract, "Bounds")

    // The low bits: 8, 4 or 2 of each weight. Byte j of a run of low_run bytes holds weights j,
    // j + low_run, j + 2 * low_run ... from its lowest bit upwards; runs follow one another.
    uint8_t low_bits = 0;
    uint8_t low_at = 0;   // byte of the first
    uint8_t low_run = 0;  // bytes

    // The high bits: 0, 1 or 2 of each weight. A block of 32 stores that of weight i in bit i. A
    // super-block stores them as it does low bits, in runs of 32 bytes.
    uint8_t high_bits = 0;
    uint8_t high_at = 0;

    uint8_t offset = 0;  // the stored weight that means 0

    // Weights that share a scale (of a super-block, a small one).
    uint16_t part_elements = 0;
    PartScales part_scales = PartScales::kNone;
    uint8_t part_scales_at = 0;

    [[nodiscard]] constexpr bool is_block() const { return scales != 0; }
    [[nodiscard]] constexpr bool is_super() const { return part_scales != PartScales::kNone; }
    [[nodiscard]] constexpr bool has_minimum() const { return scales == 2; }
    // Byte of the f16 behind the scale; has_minimum() holds.
    [[nodiscard]] constexpr uint32_t minimum_at() const { return scale_at + 2u; }
    [[nodiscard]] constexpr uint32_t bits() const { return uint32_t{low_bits} + high_bits; }
    // The greatest stored weight.
    [[nodiscard]] constexpr uint32_t most() const { return (1u << bits()) - 1; }
    // The greatest small scale, and minimum, of types that have minimums.
    [[nodiscard]] constexpr uint32_t most_part_scale() const {
        return part_scales == PartScales::kNibbles ? 15 : 63;
    }
    // Of a file, scales included.
    [[nodiscard]] constexpr double bits_per_weight() const {
        return 8.0 * block_bytes / block_elements;
    }
};

// In the order of kSupportedTensorTypes.
inline constexpr auto kWeightFormats = [] {
    constexpr uint16_t k128 = 0x5800;  // f16
    constexpr uint16_t k16 = 0x4c00;
    constexpr uint16_t k8 = 0x4800;
    constexpr uint16_t k4 = 0x4400;
    return std::to_array<WeightFormat>({
        {.type = TensorType::kF32,
         .name = "F32",
         .block_elements = 1,
         .block_bytes = 4,
         .stored = Stored::kFloat},
        {.type = TensorType::kF16,
         .name = "F16",
         .block_elements = 1,
         .block_bytes = 2,
         .stored = Stored::kFloat},
        {.type = TensorType::kBF16,
         .name = "BF16",
         .block_elements = 1,
         .block_bytes = 2,
         .stored = Stored::kFloat},

        {.type = TensorType::kQ4_0,
         .name = "Q4_0",
         .block_elements = kBlockElements,
         .block_bytes = 18,
         .stored = Stored::kUnsigned,
         .scales = 1,
         .scale_at = 0,
         .scale_limit = k128,
         .low_bits = 4,
         .low_at = 2,
         .low_run = 16,
         .offset = 8,
         .part_elements = kBlockElements},
        {.type = TensorType::kQ4_1,
         .name = "Q4_1",
         .block_elements = kBlockElements,
         .block_bytes = 20,
         .stored = Stored::kUnsigned,
         .scales = 2,
         .scale_at = 0,
         .scale_limit = k128,
         .low_bits = 4,
         .low_at = 4,
         .low_run = 16,
         .part_elements = kBlockElements},
        {.type = TensorType::kQ5_0,
         .name = "Q5_0",
         .block_elements = kBlockElements,
         .block_bytes = 22,
         .stored = Stored::kUnsigned,
         .scales = 1,
         .scale_at = 0,
         .scale_limit = k128,
         .low_bits = 4,
         .low_at = 6,
         .low_run = 16,
         .high_bits = 1,
         .high_at = 2,
         .offset = 16,
         .part_elements = kBlockElements},
        {.type = TensorType::kQ5_1,
         .name = "Q5_1",
         .block_elements = kBlockElements,
         .block_bytes = 24,
         .stored = Stored::kUnsigned,
         .scales = 2,
         .scale_at = 0,
         .scale_limit = k128,
         .low_bits = 4,
         .low_at = 8,
         .low_run = 16,
         .high_bits = 1,
         .high_at = 4,
         .part_elements = kBlockElements},
        {.type = TensorType::kQ8_0,
         .name = "Q8_0",
         .block_elements = kBlockElements,
         .block_bytes = 34,
         .stored = Stored::kSigned,
         .scales = 1,
         .scale_at = 0,
         .scale_limit = k128,
         .low_bits = 8,
         .low_at = 2,
         .low_run = 32,
         .part_elements = kBlockElements},

        {.type = TensorType::kQ2_K,
         .name = "Q2_K",
         .block_elements = kSuperBlockElements,
         .block_bytes = 84,
         .stored = Stored::kUnsigned,
         .scales = 2,
         .scale_at = 80,
         .scale_limit = k128,
         .low_bits = 2,
         .low_at = 16,
         .low_run = 32,
         .part_elements = 16,
         .part_scales = PartScales::kNibbles,
         .part_scales_at = 0},
        {.type = TensorType::kQ3_K,
         .name = "Q3_K",
         .block_elements = kSuperBlockElements,
         .block_bytes = 110,
         .stored = Stored::kUnsigned,
         .scales = 1,
         .scale_at = 108,
         .scale_limit = k128,
         .low_bits = 2,
         .low_at = 32,
         .low_run = 32,
         .high_bits = 1,
         .high_at = 0,
         .offset = 4,
         .part_elements = 16,
         .part_scales = PartScales::kSigned6Bits,
         .part_scales_at = 96},
        {.type = TensorType::kQ4_K,
         .name = "Q4_K",
         .block_elements = kSuperBlockElements,
         .block_bytes = 144,
         .stored = Stored::kUnsigned,
         .scales = 2,
         .scale_at = 0,
         .scale_limit = k16,
         .low_bits = 4,
         .low_at = 16,
         .low_run = 32,
         .part_elements = 32,
         .part_scales = PartScales::kSixBits,
         .part_scales_at = 4},
        {.type = TensorType::kQ5_K,
         .name = "Q5_K",
         .block_elements = kSuperBlockElements,
         .block_bytes = 176,
         .stored = Stored::kUnsigned,
         .scales = 2,
         .scale_at = 0,
         .scale_limit = k8,
         .low_bits = 4,
         .low_at = 48,
         .low_run = 32,
         .high_bits = 1,
         .high_at = 16,
         .part_elements = 32,
         .part_scales = PartScales::kSixBits,
         .part_scales_at = 4},
        {.type = TensorType::kQ6_K,
         .name = "Q6_K",
         .block_elements = kSuperBlockElements,
         .block_bytes = 210,
         .stored = Stored::kUnsigned,
         .scales = 1,
         .scale_at = 208,
         .scale_limit = k4,
         .low_bits = 4,
         .low_at = 0,
         .low_run = 64,
         .high_bits = 2,
         .high_at = 128,
         .offset = 32,
         .part_elements = 16,
         .part_scales = PartScales::kBytes,
         .part_scales_at = 192},

        {.type = TensorType::kIQ4_NL,
         .name = "IQ4_NL",
         .block_elements = kBlockElements,
         .block_bytes = 18,
         .stored = Stored::kTable,
         .scales = 1,
         .scale_at = 0,
         .scale_limit = k128,
         .low_bits = 4,
         .low_at = 2,
         .low_run = 16,
         .part_elements = kBlockElements},
    });
}();

// A type that is not in the table does not compile.
consteval const WeightFormat &weight_format(TensorType type) {
    size_t i = 0;
    while (kWeightFormats[i].type != type) {
        ++i;
    }
    return kWeightFormats[i];
}

// One format's facts as constants, for decoders to inherit. A decoder whose instructions want other
// bytes than the stored ones hides kOffset and kMost with its own.
template <TensorType kType>
struct FormatFacts {
    static constexpr WeightFormat kFormat = weight_format(kType);
    static constexpr bool kSuper = kFormat.is_super();
    static constexpr bool kMinimum = kFormat.has_minimum();
    static constexpr uint32_t kBytes = kFormat.block_bytes;
    static constexpr uint32_t kScaleAt = kFormat.scale_at;
    static constexpr uint32_t kMinimumAt = kFormat.minimum_at();  // where kMinimum
    static constexpr uint32_t kLowAt = kFormat.low_at;
    static constexpr uint32_t kHighAt = kFormat.high_at;
    static constexpr uint32_t kPartScalesAt = kFormat.part_scales_at;
    static constexpr uint32_t kPartColumns = kFormat.part_elements;
    static constexpr int kOffset = kFormat.offset;
    static constexpr int kMost = kFormat.most();
    static constexpr int kMostPart = kFormat.most_part_scale();
};

// Every byte of a block has one use, and the decoders rely on these places.
constexpr bool is_sound(const WeightFormat &format) {
    if (!format.is_block()) {
        return format.block_elements == 1;
    }
    const uint32_t scale_bytes = 2u * format.scales;
    const uint32_t low_bytes = format.block_elements * format.low_bits / 8u;
    const uint32_t high_bytes = format.block_elements * format.high_bits / 8u;
    const uint32_t part_bytes = !format.is_super()                           ? 0
                                : format.part_scales == PartScales::kBytes   ? 16
                                : format.part_scales == PartScales::kNibbles ? 16
                                                                             : 12;
    const bool elements = format.is_super() ? format.block_elements == kSuperBlockElements
                                            : format.block_elements == kBlockElements;
    // Blocks of 32: scale, minimum, fifth bits, weights, in this order.
    const bool in_order =
        format.is_super() || (format.scale_at == 0 && format.low_at == scale_bytes + high_bytes &&
                              (format.high_bits == 0 || format.high_at == scale_bytes));
    return elements && in_order && low_bytes % format.low_run == 0 &&
           format.block_bytes == scale_bytes + low_bytes + high_bytes + part_bytes &&
           format.scale_at + scale_bytes <= format.block_bytes &&
           format.low_at + low_bytes <= format.block_bytes &&
           format.high_at + high_bytes <= format.block_bytes &&
           format.part_scales_at + part_bytes <= format.block_bytes &&
           (format.offset == 0 || format.offset == 1u << (format.bits() - 1));
}
static_assert([] {
    for (const WeightFormat &format : kWeightFormats) {
        if (!is_sound(format)) {
            return false;
        }
    }
    return true;
}());
static_assert(weight_format(TensorType::kQ8_0).bits_per_weight() == 8.5);
static_assert(weight_format(TensorType::kQ4_K).bits_per_weight() == 4.5);
static_assert(weight_format(TensorType::kQ6_K).bits_per_weight() == 6.5625);

}  // namespace bareflow::compute
