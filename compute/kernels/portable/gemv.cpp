// The portable references of all weight types, and the variants of the common types that need no
// vector instructions. Totals are exact integers; a group's total becomes a float once, so a kernel
// may add up its products in any order and has the same bits.
#include "compute/kernels/portable/gemv.h"

#include <bit>

#include "compute/kernels/portable/swar.h"
#include "compute/numbers/ops.h"
#include "compute/numbers/quant.h"
#include "compute/numbers/vec.h"
#include "compute/numbers/weight_blocks.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow::compute {
namespace {

// ------------------------------------------------------------------ the portable reference
// One plain function per block type: the integer total of one block. All types treat the totals of
// a group in the same way. A block of 32 begins with its f16 scale.

using Q8_0 = FormatFacts<TensorType::kQ8_0>;
using Q4_0 = FormatFacts<TensorType::kQ4_0>;
using Q4_1 = FormatFacts<TensorType::kQ4_1>;

int64_t block_total_q8_0(const uint8_t *block, const int8_t *q, int32_t) {
    int32_t sum = 0;
    for (uint32_t i = 0; i < kBlockElements; ++i) {
        sum += static_cast<int8_t>(block[Q8_0::kLowAt + i]) * q[i];
    }
    return static_cast<int64_t>(f16_mantissa(load_u16(block))) * sum;
}

int64_t block_total_q4_0(const uint8_t *block, const int8_t *q, int32_t) {
    int32_t sum = 0;
    for (uint32_t i = 0; i < kBlockElements / 2; ++i) {
        const uint8_t byte = block[Q4_0::kLowAt + i];
        sum += ((byte & 15) - Q4_0::kOffset) * q[i] + ((byte >> 4) - Q4_0::kOffset) * q[i + 16];
    }
    return static_cast<int64_t>(f16_mantissa(load_u16(block))) * sum;
}

int64_t block_total_q4_1(const uint8_t *block, const int8_t *q, int32_t q_sum) {
    int32_t sum = 0;
    for (uint32_t i = 0; i < kBlockElements / 2; ++i) {
        const uint8_t byte = block[Q4_1::kLowAt + i];
        sum += (byte & 15) * q[i] + (byte >> 4) * q[i + 16];
    }
    return static_cast<int64_t>(f16_mantissa(load_u16(block))) * sum +
           static_cast<int64_t>(f16_mantissa(load_u16(block + Q4_1::kMinimumAt))) * q_sum;
}

template <uint32_t kBlockBytes, int64_t (*kBlockTotal)(const uint8_t *, const int8_t *, int32_t)>
void gemv_blocks(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    constexpr uint32_t kGroupBlocks = kGroupElements / kBlockElements;
    const uint32_t blocks = args.cols / kBlockElements;
    for (uint32_t row = row_begin; row < row_end; ++row) {
        const uint8_t *w = args.weights + row * args.row_bytes;
        float y = 0.0f;
        for (uint32_t group = 0; group * kGroupBlocks < blocks; ++group) {
            const uint32_t begin = group * kGroupBlocks;
            const uint32_t end = begin + kGroupBlocks < blocks ? begin + kGroupBlocks : blocks;
            int64_t total = 0;
            for (uint32_t block = begin; block < end; ++block) {
                total += kBlockTotal(w + block * kBlockBytes, args.xq.q + block * kBlockElements,
                                     args.xq.block_sums[block]);
            }
            y = y + static_cast<float>(total) * args.xq.group_scales[group];
        }
        args.y[row] = y;
    }
}

void gemv_f32(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    for (uint32_t row = row_begin; row < row_end; ++row) {
        const uint8_t *w = args.weights + row * args.row_bytes;
        args.y[row] = dot8(reinterpret_cast<const float *>(w), args.x, args.cols);
    }
}

// dot8 (ops.h) of 16-bit weights that are widened one by one.
template <float (*kWiden)(uint16_t)>
float dot8_halves(const uint8_t *w, const float *x, uint32_t n) {
    float lane[kLanes] = {};
    const uint32_t whole = n - n % kLanes;
    for (uint32_t i = 0; i < whole; i += kLanes) {
        for (uint32_t j = 0; j < kLanes; ++j) {
            lane[j] = lane[j] + kWiden(load_u16(w + 2 * uint64_t{i + j})) * x[i + j];
        }
    }
    for (uint32_t i = whole; i < n; ++i) {
        lane[i - whole] = lane[i - whole] + kWiden(load_u16(w + 2 * uint64_t{i})) * x[i];
    }
    return fold_lanes(lane);
}

template <float (*kWiden)(uint16_t)>
void gemv_halves(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    for (uint32_t row = row_begin; row < row_end; ++row) {
        const uint8_t *const w = args.weights + row * args.row_bytes;
        args.y[row] = dot8_halves<kWiden>(w, args.x, args.cols);
    }
}

// The other block types are unpacked first (UnpackedBlock). The integer total of one block.
int64_t block_total(const UnpackedBlock &block, const int8_t *q, uint32_t elements) {
    int32_t scaled = 0;
    int32_t offset = 0;
    for (uint32_t part = 0; part < elements / kPartElements; ++part) {
        int32_t dot = 0;
        int32_t sum = 0;
        for (uint32_t i = part * kPartElements; i < (part + 1) * kPartElements; ++i) {
            dot += block.weights[i] * q[i];
            sum += q[i];
        }
        scaled += block.scales[part] * dot;
        offset += block.minimums[part] * sum;
    }
    return int64_t{f16_mantissa(block.d)} * scaled - int64_t{f16_mantissa(block.dmin)} * offset;
}

// For the types that have no portable kernel of their own.
template <TensorType kType>
void gemv_portable(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    gemv_unpacked(kType, args, row_begin, row_end);
}

// ------------------------------------------------------------------ SWAR
// Several small products in one 64-bit multiply. A word has two fields of f = 32 bits or four of
// f = 16. A word of activations holds them in the reverse order of the word of weights. So the top
// field of the product is their dot product:
//     (w0 + w1 B)(x1 + x0 B) = w0 x1 + (w0 x0 + w1 x1) B     mod B^2, B = 2^32
// Products are added up as whole words. Weights are taken as unsigned, so a word of them is exact;
// activations are signed, so lower fields borrow from higher ones. Every field's true sum must fit
// into a signed field. Then adding half a field (2^(f-1)) to each lower field makes it
// non-negative, the borrows vanish, and an arithmetic shift leaves the top field's exact sum.
//
// Bounds, |q| <= 127:
//   Q8_0  f = 32, weights + 128: 0..255. A block of 32 is 16 words. Low field: 16 * 255 * 127 =
//         518,160; top field: twice that. Both are far below 2^31, so the top field is read once a
//         block.
//   Q4_x  f = 16, nibbles 0..15. The top field is read after four words (16 nibbles, one u64 load).
//         Fields hold 1, 2, 3 and 4 products a word: at most 4 * 4 * 15 * 127 = 30,480 < 2^15 =
//         32,768. A fifth word would not fit (38,100).
// The block's sum of activations times the offset (128 or 8) is subtracted afterwards. Sums of a
// block stay below 2^21, mantissas below 2^31, and a group has eight blocks: an int64 holds every
// total.

constexpr uint64_t kByteSign = 0x8080808080808080;
constexpr uint64_t kPairMask = 0x000000ff000000ff;
constexpr uint64_t kPairBias = 0x0000000080000000;
constexpr uint64_t kQuadMask = 0x000f000f000f000f;
constexpr uint64_t kQuadBias = 0x0000800080008000;

// The compiler makes one function of all that follows and unrolls a block: calls, spilled words and
// index arithmetic cost more than the multiplications, above all in an emulator.

struct SwarQ8_0 {
    static constexpr uint32_t kBlockBytes = Q8_0::kBytes;
    static constexpr uint32_t kWords = 16;  // of activations for a block
    static const uint64_t *words(const QuantizedActivation &xq) { return xq.pairs; }

    // total[r] += the block's total of row r.
    template <uint32_t kRows>
    [[gnu::always_inline]] static void add_totals(const uint8_t *w, uint64_t row_bytes,
                                                  const uint64_t *x, int32_t q_sum,
                                                  int64_t (&total)[kRows]) {
        uint64_t sum[kRows] = {};
#pragma clang loop unroll(full)
        for (uint32_t k = 0; k < 4; ++k) {
            const uint64_t x0 = x[4 * k];
            const uint64_t x1 = x[4 * k + 1];
            const uint64_t x2 = x[4 * k + 2];
            const uint64_t x3 = x[4 * k + 3];
#pragma clang loop unroll(full)
            for (uint32_t r = 0; r < kRows; ++r) {
                const uint64_t u = load_u64(w + r * row_bytes + Q8_0::kLowAt + 8 * k) ^ kByteSign;
                sum[r] += (u & kPairMask) * x0 + ((u >> 8) & kPairMask) * x1 +
                          ((u >> 16) & kPairMask) * x2 + ((u >> 24) & kPairMask) * x3;
            }
        }
        const int64_t offset = 128 * int64_t{q_sum};
#pragma clang loop unroll(full)
        for (uint32_t r = 0; r < kRows; ++r) {
            const int64_t dot = static_cast<int64_t>(sum[r] + kPairBias) >> 32;
            total[r] += (dot - offset) * f16_mantissa(load_u16(w + r * row_bytes));
        }
    }
};

// The sum of n_i * q_i of a block, for each row, with nibbles from byte `kNibbles` on.
template <uint32_t kNibbles, uint32_t kRows>
[[gnu::always_inline]] inline void quad_dots(const uint8_t *w, uint64_t row_bytes,
                                             const uint64_t *x, int64_t (&dot)[kRows]) {
#pragma clang loop unroll(full)
    for (uint32_t k = 0; k < 2; ++k) {
        const uint64_t x0 = x[4 * k];
        const uint64_t x1 = x[4 * k + 1];
        const uint64_t x2 = x[4 * k + 2];
        const uint64_t x3 = x[4 * k + 3];
#pragma clang loop unroll(full)
        for (uint32_t r = 0; r < kRows; ++r) {
            const uint64_t u = load_u64(w + r * row_bytes + kNibbles + 8 * k);
            const uint64_t sum = (u & kQuadMask) * x0 + ((u >> 4) & kQuadMask) * x1 +
                                 ((u >> 8) & kQuadMask) * x2 + ((u >> 12) & kQuadMask) * x3;
            dot[r] += static_cast<int64_t>(sum + kQuadBias) >> 48;
        }
    }
}

struct SwarQ4_0 {
    static constexpr uint32_t kBlockBytes = Q4_0::kBytes;
    static constexpr uint32_t kWords = 8;
    static const uint64_t *words(const QuantizedActivation &xq) { return xq.quads; }

    template <uint32_t kRows>
    [[gnu::always_inline]] static void add_totals(const uint8_t *w, uint64_t row_bytes,
                                                  const uint64_t *x, int32_t q_sum,
                                                  int64_t (&total)[kRows]) {
        int64_t dot[kRows];
        for (uint32_t r = 0; r < kRows; ++r) {
            dot[r] = -Q4_0::kOffset * int64_t{q_sum};
        }
        quad_dots<Q4_0::kLowAt>(w, row_bytes, x, dot);
#pragma clang loop unroll(full)
        for (uint32_t r = 0; r < kRows; ++r) {
            total[r] += dot[r] * f16_mantissa(load_u16(w + r * row_bytes));
        }
    }
};

struct SwarQ4_1 {
    static constexpr uint32_t kBlockBytes = Q4_1::kBytes;
    static constexpr uint32_t kWords = 8;
    static const uint64_t *words(const QuantizedActivation &xq) { return xq.quads; }

    template <uint32_t kRows>
    [[gnu::always_inline]] static void add_totals(const uint8_t *w, uint64_t row_bytes,
                                                  const uint64_t *x, int32_t q_sum,
                                                  int64_t (&total)[kRows]) {
        int64_t dot[kRows] = {};
        quad_dots<Q4_1::kLowAt>(w, row_bytes, x, dot);
#pragma clang loop unroll(full)
        for (uint32_t r = 0; r < kRows; ++r) {
            const uint8_t *const block = w + r * row_bytes;
            total[r] += dot[r] * f16_mantissa(load_u16(block)) +
                        int64_t{q_sum} * f16_mantissa(load_u16(block + Q4_1::kMinimumAt));
        }
    }
};

// Computes kRows rows together, so that an activation word is loaded once for all of them.
template <typename Format, uint32_t kRows>
[[gnu::always_inline]] inline void swar_rows(const GemvArgs &args, uint32_t row) {
    constexpr uint32_t kGroupBlocks = kGroupElements / kBlockElements;
    const uint64_t row_bytes = args.row_bytes;
    const uint8_t *w = args.weights + row * row_bytes;
    const uint64_t *x = Format::words(args.xq);
    const int32_t *q_sum = args.xq.block_sums;
    const float *scale = args.xq.group_scales;
    float y[kRows] = {};
    for (uint32_t left = args.cols / kBlockElements; left != 0;) {
        uint32_t blocks = left < kGroupBlocks ? left : kGroupBlocks;
        left -= blocks;
        int64_t total[kRows] = {};
        for (; blocks != 0; --blocks) {
            Format::template add_totals<kRows>(w, row_bytes, x, *q_sum, total);
            w += Format::kBlockBytes;
            x += Format::kWords;
            ++q_sum;
        }
        for (uint32_t r = 0; r < kRows; ++r) {
            y[r] = y[r] + static_cast<float>(total[r]) * *scale;
        }
        ++scale;
    }
    for (uint32_t r = 0; r < kRows; ++r) {
        args.y[row + r] = y[r];
    }
}

// It begins at a cache line. Where it lies changes its speed under QEMU by up to a sixth, for a
// reason that was not found (docs/measured/2026-11-emulation.md); this place was the better one.
template <typename Format, uint32_t kRows>
[[gnu::aligned(64)]] void gemv_swar(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    uint32_t row = row_begin;
    for (; row_end - row >= kRows; row += kRows) {
        swar_rows<Format, kRows>(args, row);
    }
    if constexpr (kRows > 1) {
        for (; row < row_end; ++row) {
            swar_rows<Format, 1>(args, row);
        }
    }
}

// ------------------------------------------------------------------ F16 and BF16, eight at a time
// A normal f16 is widened by moving its exponent and fraction and adding to the exponent. One test
// of eight numbers shows whether all are normal; then none of them needs a branch.

void widen_8_f16(const uint8_t *from, float *wide) {
    if (all_normal_f16(load_u64(from)) && all_normal_f16(load_u64(from + 8))) {
        uint16_t half[kLanes];
        __builtin_memcpy(half, from, sizeof(half));
        for (uint32_t j = 0; j < kLanes; ++j) {
            const uint32_t h = half[j];
            wide[j] =
                std::bit_cast<float>(((h & 0x8000u) << 16) + ((h & 0x7fffu) << 13) + (112u << 23));
        }
    } else {
        for (uint32_t j = 0; j < kLanes; ++j) {
            wide[j] = f16_to_f32(load_u16(from + 2 * j));
        }
    }
}

void widen_8_bf16(const uint8_t *from, float *wide) {
    for (uint32_t j = 0; j < kLanes; ++j) {
        wide[j] = bf16_to_f32(load_u16(from + 2 * j));
    }
}

template <void (*kWiden8)(const uint8_t *, float *), float (*kWiden)(uint16_t)>
void gemv_by_8(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    const uint32_t whole = args.cols - args.cols % kLanes;
    for (uint32_t row = row_begin; row < row_end; ++row) {
        const uint8_t *w = args.weights + row * args.row_bytes;
        Lanes lanes;
        for (uint32_t i = 0; i < whole; i += kLanes) {
            float wide[kLanes];
            kWiden8(w + 2 * uint64_t{i}, wide);
            lanes.add_product(wide, args.x + i);
        }
        for (uint32_t i = whole; i < args.cols; ++i) {
            lanes.add_at(i - whole, kWiden(load_u16(w + 2 * uint64_t{i})) * args.x[i]);
        }
        args.y[row] = lanes.fold();
    }
}

// ------------------------------------------------------------------ the lists

constexpr GemvVariant kF32[] = {{"portable", gemv_f32, 0}};
constexpr GemvVariant kF16[] = {
    {"portable", gemv_halves<f16_to_f32>, 0},
    {"by 8", gemv_by_8<widen_8_f16, f16_to_f32>, 0},
};
constexpr GemvVariant kBF16[] = {
    {"portable", gemv_halves<bf16_to_f32>, 0},
    {"by 8", gemv_by_8<widen_8_bf16, bf16_to_f32>, 0},
};
constexpr GemvVariant kQ8_0[] = {
    {"portable", gemv_blocks<Q8_0::kBytes, block_total_q8_0>, 0},
    {"swar2", gemv_swar<SwarQ8_0, 1>, kFormPairs},
};
constexpr GemvVariant kQ4_0[] = {
    {"portable", gemv_blocks<Q4_0::kBytes, block_total_q4_0>, 0},
    {"swar4", gemv_swar<SwarQ4_0, 2>, kFormQuads},
};
constexpr GemvVariant kQ4_1[] = {
    {"portable", gemv_blocks<Q4_1::kBytes, block_total_q4_1>, 0},
    {"swar4", gemv_swar<SwarQ4_1, 1>, kFormQuads},
};
template <TensorType kType, GemvKernel kSwar>
constexpr GemvVariant kRare[] = {
    {"portable", gemv_portable<kType>, 0},
    {"swar4", kSwar, kFormQuads},
};
constexpr GemvVariant kIQ4_NL[] = {
    {"portable", gemv_portable<TensorType::kIQ4_NL>, 0},
    {"direct", gemv_direct_iq4_nl, 0},
};

}  // namespace

void gemv_unpacked(TensorType type, const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    const TensorTypeInfo &info = tensor_type_info(type);
    UnpackedBlock block;
    for (uint32_t row = row_begin; row < row_end; ++row) {
        const uint8_t *w = args.weights + row * args.row_bytes;
        float y = 0.0f;
        for (uint32_t at = 0; at < args.cols;) {
            const uint32_t group = at / kGroupElements;
            int64_t total = 0;
            for (; at < args.cols && at / kGroupElements == group; at += info.block_elements) {
                unpack_block(type, w, block);
                total += block_total(block, args.xq.q + at, info.block_elements);
                w += info.block_bytes;
            }
            y = y + static_cast<float>(total) * args.xq.group_scales[group];
        }
        args.y[row] = y;
    }
}

float dot8_f16(const uint8_t *w, const float *x, uint32_t n) {
    return dot8_halves<f16_to_f32>(w, x, n);
}

std::span<const GemvVariant> scalar_variants(TensorType type) {
    switch (type) {
        case TensorType::kF32:
            return kF32;
        case TensorType::kF16:
            return kF16;
        case TensorType::kQ8_0:
            return kQ8_0;
        case TensorType::kQ4_0:
            return kQ4_0;
        case TensorType::kQ4_1:
            return kQ4_1;
        case TensorType::kQ5_0:
            return kRare<TensorType::kQ5_0, gemv_swar_q5_0>;
        case TensorType::kQ5_1:
            return kRare<TensorType::kQ5_1, gemv_swar_q5_1>;
        case TensorType::kQ2_K:
            return kRare<TensorType::kQ2_K, gemv_swar_q2_k>;
        case TensorType::kQ3_K:
            return kRare<TensorType::kQ3_K, gemv_swar_q3_k>;
        case TensorType::kQ4_K:
            return kRare<TensorType::kQ4_K, gemv_swar_q4_k>;
        case TensorType::kQ5_K:
            return kRare<TensorType::kQ5_K, gemv_swar_q5_k>;
        case TensorType::kQ6_K:
            return kRare<TensorType::kQ6_K, gemv_swar_q6_k>;
        case TensorType::kIQ4_NL:
            return kIQ4_NL;
        case TensorType::kBF16:
            return kBF16;
    }
    platform::panic("gemv of an unknown tensor type");
}

}  // namespace bareflow::compute
