#include "llama/kernels.h"

#include <bit>

#include "kernel_lib/platform/platform.h"
#include "llama/ops.h"
#include "llama/vec.h"

namespace bareflow::llama {
namespace {

// ------------------------------------------------------------------ the portable reference
// One obvious function per block type: the integer total of one block. What a group of 256 does
// with the totals is the same for all.

int64_t block_total_q8_0(const uint8_t *block, const int8_t *q, int32_t) {
    int32_t sum = 0;
    for (uint32_t i = 0; i < kBlockElements; ++i) {
        sum += static_cast<int8_t>(block[2 + i]) * q[i];
    }
    return static_cast<int64_t>(f16_mantissa(load_u16(block))) * sum;
}

int64_t block_total_q4_0(const uint8_t *block, const int8_t *q, int32_t) {
    int32_t sum = 0;
    for (uint32_t i = 0; i < kBlockElements / 2; ++i) {
        sum += ((block[2 + i] & 15) - 8) * q[i] + ((block[2 + i] >> 4) - 8) * q[i + 16];
    }
    return static_cast<int64_t>(f16_mantissa(load_u16(block))) * sum;
}

int64_t block_total_q4_1(const uint8_t *block, const int8_t *q, int32_t q_sum) {
    int32_t sum = 0;
    for (uint32_t i = 0; i < kBlockElements / 2; ++i) {
        sum += (block[4 + i] & 15) * q[i] + (block[4 + i] >> 4) * q[i + 16];
    }
    return static_cast<int64_t>(f16_mantissa(load_u16(block))) * sum +
           static_cast<int64_t>(f16_mantissa(load_u16(block + 2))) * q_sum;
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

void gemv_f16(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    for (uint32_t row = row_begin; row < row_end; ++row) {
        args.y[row] = dot8_f16(args.weights + row * args.row_bytes, args.x, args.cols);
    }
}

// ------------------------------------------------------------------ SWAR
// Several small products in one 64-bit multiply. A word of activations holds them in the reverse
// order of the word of weights, in fields of f bits (f = 32 for two, 16 for four), so that field
// number (count - 1) of the product, the top one, is their dot product:
//     (w0 + w1 B)(x1 + x0 B) = w0 x1 + (w0 x0 + w1 x1) B     mod B^2, B = 2^32
// Products are added up as whole words. Weights are taken as unsigned, so a word of them is exact;
// activations are signed, so lower fields borrow from higher ones. As long as every field's true
// sum fits into a signed field, adding half a field (2^(f-1)) to each lower field makes them all
// non-negative, the borrows vanish, and an arithmetic shift leaves the top field's exact sum.
//
// Bounds, |q| <= 127:
//   Q8_0  f = 32, weights + 128: 0..255. A block of 32 is 16 words. Low field: 16 * 255 * 127 =
//         518,160; top field: twice that. Both far below 2^31: one flush a block.
//   Q4_x  f = 16, nibbles 0..15. Four words (16 nibbles, one u64 load) a flush. Fields hold
//         1, 2, 3 and 4 products a word: at most 4 * 4 * 15 * 127 = 30,480 < 2^15 = 32,768. A fifth
//         word would not fit (38,100).
// What the offsets (128 and 8) add is taken off with the block's sum of activations. Sums of a
// block stay below 2^21, mantissas below 2^31, eight blocks: an int64 holds every total.

constexpr uint64_t kByteSign = 0x8080808080808080;
constexpr uint64_t kPairMask = 0x000000ff000000ff;
constexpr uint64_t kPairBias = 0x0000000080000000;
constexpr uint64_t kQuadMask = 0x000f000f000f000f;
constexpr uint64_t kQuadBias = 0x0000800080008000;

inline uint64_t pair_words(uint64_t u, const uint64_t *x) {
    return (u & kPairMask) * x[0] + ((u >> 8) & kPairMask) * x[1] + ((u >> 16) & kPairMask) * x[2] +
           ((u >> 24) & kPairMask) * x[3];
}

inline int64_t quad_words(uint64_t u, const uint64_t *x) {
    const uint64_t sum = (u & kQuadMask) * x[0] + ((u >> 4) & kQuadMask) * x[1] +
                         ((u >> 8) & kQuadMask) * x[2] + ((u >> 12) & kQuadMask) * x[3];
    return static_cast<int64_t>(sum + kQuadBias) >> 48;
}

inline int64_t swar_total_q8_0(const uint8_t *block, const QuantizedActivation &xq,
                               uint32_t index) {
    const uint64_t *x = xq.pairs + index * 16;
    uint64_t sum = pair_words(load_u64(block + 2) ^ kByteSign, x);
    sum += pair_words(load_u64(block + 10) ^ kByteSign, x + 4);
    sum += pair_words(load_u64(block + 18) ^ kByteSign, x + 8);
    sum += pair_words(load_u64(block + 26) ^ kByteSign, x + 12);
    const int64_t dot = static_cast<int64_t>(sum + kPairBias) >> 32;
    return (dot - 128 * static_cast<int64_t>(xq.block_sums[index])) * f16_mantissa(load_u16(block));
}

inline int64_t swar_total_q4_0(const uint8_t *block, const QuantizedActivation &xq,
                               uint32_t index) {
    const uint64_t *x = xq.quads + index * 8;
    const int64_t dot =
        quad_words(load_u64(block + 2), x) + quad_words(load_u64(block + 10), x + 4);
    return (dot - 8 * static_cast<int64_t>(xq.block_sums[index])) * f16_mantissa(load_u16(block));
}

inline int64_t swar_total_q4_1(const uint8_t *block, const QuantizedActivation &xq,
                               uint32_t index) {
    const uint64_t *x = xq.quads + index * 8;
    const int64_t dot =
        quad_words(load_u64(block + 4), x) + quad_words(load_u64(block + 12), x + 4);
    return dot * f16_mantissa(load_u16(block)) +
           static_cast<int64_t>(xq.block_sums[index]) * f16_mantissa(load_u16(block + 2));
}

// kRows rows side by side, so that a loaded activation word serves them all.
template <uint32_t kRows, uint32_t kBlockBytes,
          int64_t (*kBlockTotal)(const uint8_t *, const QuantizedActivation &, uint32_t)>
inline void swar_rows(const GemvArgs &args, uint32_t row) {
    constexpr uint32_t kGroupBlocks = kGroupElements / kBlockElements;
    const uint32_t blocks = args.cols / kBlockElements;
    const uint8_t *w = args.weights + row * args.row_bytes;
    float y[kRows] = {};
    uint32_t block = 0;
    for (uint32_t group = 0; block < blocks; ++group) {
        const uint32_t end = block + kGroupBlocks < blocks ? block + kGroupBlocks : blocks;
        int64_t total[kRows] = {};
        for (; block < end; ++block, w += kBlockBytes) {
            for (uint32_t r = 0; r < kRows; ++r) {
                total[r] += kBlockTotal(w + r * args.row_bytes, args.xq, block);
            }
        }
        for (uint32_t r = 0; r < kRows; ++r) {
            y[r] = y[r] + static_cast<float>(total[r]) * args.xq.group_scales[group];
        }
    }
    for (uint32_t r = 0; r < kRows; ++r) {
        args.y[row + r] = y[r];
    }
}

template <uint32_t kRows, uint32_t kBlockBytes,
          int64_t (*kBlockTotal)(const uint8_t *, const QuantizedActivation &, uint32_t)>
void gemv_swar(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    uint32_t row = row_begin;
    for (; row + kRows <= row_end; row += kRows) {
        swar_rows<kRows, kBlockBytes, kBlockTotal>(args, row);
    }
    for (; row < row_end; ++row) {
        swar_rows<1, kBlockBytes, kBlockTotal>(args, row);
    }
}

// ------------------------------------------------------------------ F16, eight at a time
// A normal f16 is widened by moving its exponent and fraction and adding to the exponent: no branch
// for each of eight when a look at them all has shown that none is zero, denormal or special.

// Whether all four halves of a word are normal: exponent + 1 has a bit above the lowest one (and
// within five) for exponents 1..30, and none for 0 and 31. Fields don't carry into one another.
inline bool all_normal(uint64_t halves) {
    const uint64_t next = (halves & 0x7c007c007c007c00) + 0x0400040004000400;
    const uint64_t high = next & 0x7800780078007800;
    // Each field is 0 or at least 0x0800, at most 0x7800: adding 0x7800 sets its top bit unless 0.
    return ((high + 0x7800780078007800) & 0x8000800080008000) == 0x8000800080008000;
}

void gemv_f16_by_8(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    const uint32_t whole = args.cols - args.cols % kLanes;
    for (uint32_t row = row_begin; row < row_end; ++row) {
        const uint8_t *w = args.weights + row * args.row_bytes;
        Lanes lanes;
        for (uint32_t i = 0; i < whole; i += kLanes) {
            float wide[kLanes];
            const uint8_t *const at = w + 2 * uint64_t{i};
            if (all_normal(load_u64(at)) && all_normal(load_u64(at + 8))) {
                uint16_t half[kLanes];
                __builtin_memcpy(half, at, sizeof(half));
                for (uint32_t j = 0; j < kLanes; ++j) {
                    const uint32_t h = half[j];
                    wide[j] = std::bit_cast<float>(((h & 0x8000u) << 16) + ((h & 0x7fffu) << 13) +
                                                   (112u << 23));
                }
            } else {
                for (uint32_t j = 0; j < kLanes; ++j) {
                    wide[j] = f16_to_f32(load_u16(at + 2 * j));
                }
            }
            lanes.add_product(wide, args.x + i);
        }
        for (uint32_t i = whole; i < args.cols; ++i) {
            lanes.add_at(i - whole, f16_to_f32(load_u16(w + 2 * uint64_t{i})) * args.x[i]);
        }
        args.y[row] = lanes.fold();
    }
}

// ------------------------------------------------------------------ which there are

constexpr GemvVariant kF32[] = {{"portable", gemv_f32, 0}};
constexpr GemvVariant kF16[] = {{"portable", gemv_f16, 0}, {"by 8", gemv_f16_by_8, 0}};
constexpr GemvVariant kQ8_0[] = {
    {"portable", gemv_blocks<kQ8_0BlockBytes, block_total_q8_0>, 0},
    {"swar2", gemv_swar<1, kQ8_0BlockBytes, swar_total_q8_0>, kFormPairs},
    {"swar2 r2", gemv_swar<2, kQ8_0BlockBytes, swar_total_q8_0>, kFormPairs},
};
constexpr GemvVariant kQ4_0[] = {
    {"portable", gemv_blocks<kQ4_0BlockBytes, block_total_q4_0>, 0},
    {"swar4", gemv_swar<1, kQ4_0BlockBytes, swar_total_q4_0>, kFormQuads},
    {"swar4 r2", gemv_swar<2, kQ4_0BlockBytes, swar_total_q4_0>, kFormQuads},
};
constexpr GemvVariant kQ4_1[] = {
    {"portable", gemv_blocks<kQ4_1BlockBytes, block_total_q4_1>, 0},
    {"swar4", gemv_swar<1, kQ4_1BlockBytes, swar_total_q4_1>, kFormQuads},
    {"swar4 r2", gemv_swar<2, kQ4_1BlockBytes, swar_total_q4_1>, kFormQuads},
};

}  // namespace

float dot8_f16(const uint8_t *w, const float *x, uint32_t n) {
    float lane[kLanes] = {};
    const uint32_t whole = n - n % kLanes;
    for (uint32_t i = 0; i < whole; i += kLanes) {
        for (uint32_t j = 0; j < kLanes; ++j) {
            lane[j] = lane[j] + f16_to_f32(load_u16(w + 2 * uint64_t{i + j})) * x[i + j];
        }
    }
    for (uint32_t i = whole; i < n; ++i) {
        lane[i - whole] = lane[i - whole] + f16_to_f32(load_u16(w + 2 * uint64_t{i})) * x[i];
    }
    return fold_lanes(lane);
}

std::span<const GemvVariant> gemv_variants(TensorType type) {
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
    }
    platform::panic("gemv of an unknown tensor type");
}

const GemvVariant &kernel_for(TensorType type) {
    const std::span<const GemvVariant> variants = gemv_variants(type);
    return variants[variants.size() - 1];
}

bool takes_quantized(TensorType type) {
    return type != TensorType::kF32 && type != TensorType::kF16;
}

}  // namespace bareflow::llama
