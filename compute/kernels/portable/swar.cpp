// SWAR kernels of the rarer block types, and the direct one of IQ4_NL. A block is decoded into
// bytes of 64-bit words; part_dot() multiplies sixteen of them with four multiplications.
#include "compute/kernels/portable/swar.h"

#include "compute/numbers/quant.h"
#include "compute/numbers/weight_blocks.h"

namespace bareflow::compute {
namespace {

// A word has eight stored weights in its bytes, in order. Its even bytes are one factor of four
// fields, its odd bytes another. They are multiplied with the `quads` of the activation. Word
// (4k + 2 * odd + half) of a block belongs to the even or odd elements of the eight that begin at
// 16 * half + 8 * k. The offset of a type is subtracted from the fields of the factor; borrows
// between fields vanish like those of the activations (gemv.cpp, "SWAR").
//
// A field of a 64-bit product holds up to four products of a weight and an activation. With weights
// of at most 32 in magnitude the sum of two words fits (2 * 4 * 32 * 127 = 32,512 < 2^15), with at
// most 16 the sum of four.

using Q5_0 = FormatFacts<TensorType::kQ5_0>;
using Q5_1 = FormatFacts<TensorType::kQ5_1>;
using IQ4_NL = FormatFacts<TensorType::kIQ4_NL>;
using Q2_K = FormatFacts<TensorType::kQ2_K>;
using Q3_K = FormatFacts<TensorType::kQ3_K>;
using Q4_K = FormatFacts<TensorType::kQ4_K>;
using Q5_K = FormatFacts<TensorType::kQ5_K>;
using Q6_K = FormatFacts<TensorType::kQ6_K>;

constexpr uint64_t kNibbles = 0x0f0f0f0f0f0f0f0f;
constexpr uint64_t kTwoBits = 0x0303030303030303;
constexpr uint64_t kOnes = 0x0101010101010101;
constexpr uint64_t kEven = 0x00ff00ff00ff00ff;
constexpr uint64_t kBias = 0x0000800080008000;
constexpr uint64_t kFields = 0x0001000100010001;

constexpr uint32_t kBlockWords = 8;  // of quads
constexpr uint32_t kSuperBlockBlocks = kSuperBlockElements / kBlockElements;

inline int64_t top_field(uint64_t sum) {
    return static_cast<int64_t>(sum + kBias) >> 48;
}

// The sum of (w_i - kOffset) * q_i over sixteen weights of at most kMost: the first eight are in
// `low`, the others in `high`. `x` points at word `half` of the block's quads.
template <uint32_t kMost, uint32_t kOffset = 0>
[[gnu::always_inline]] inline int64_t part_dot(uint64_t low, uint64_t high, const uint64_t *x) {
    constexpr uint64_t kTakenOff = kOffset * kFields;
    constexpr uint32_t kMagnitude = kMost - kOffset > kOffset ? kMost - kOffset : kOffset;
    const uint64_t a = ((low & kEven) - kTakenOff) * x[0];
    const uint64_t b = ((low >> 8 & kEven) - kTakenOff) * x[2];
    const uint64_t c = ((high & kEven) - kTakenOff) * x[4];
    const uint64_t d = ((high >> 8 & kEven) - kTakenOff) * x[6];
    if constexpr (4 * 4 * kMagnitude * 127 < 1 << 15) {
        return top_field(a + b + c + d);
    } else {
        static_assert(2 * 4 * kMagnitude * 127 < 1 << 15);
        return top_field(a + b) + top_field(c + d);
    }
}

// The sum of q_i over the same sixteen.
inline int64_t part_sum(const uint64_t *x) {
    return top_field((x[0] + x[2] + x[4] + x[6]) * kFields);
}

// The total of a super-block with quads[8 * 8] and block_sums[8] of its group. Computing two or
// four rows together is a fifth slower under TCG: sixteen registers do not hold what the rows
// share.
using SuperBlockTotal = int64_t (*)(const uint8_t *block, const uint64_t *quads,
                                    const int32_t *block_sums);

template <uint32_t kBytes, SuperBlockTotal kTotal>
void gemv_super_blocks(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    const uint32_t count = args.cols / kSuperBlockElements;
    for (uint32_t row = row_begin; row < row_end; ++row) {
        const uint8_t *w = args.weights + row * args.row_bytes;
        const uint64_t *quads = args.xq.quads;
        const int32_t *block_sums = args.xq.block_sums;
        float y = 0.0f;
        for (uint32_t i = 0; i < count; ++i) {
            y = y + static_cast<float>(kTotal(w, quads, block_sums)) * args.xq.group_scales[i];
            w += kBytes;
            quads += kSuperBlockBlocks * kBlockWords;
            block_sums += kSuperBlockBlocks;
        }
        args.y[row] = y;
    }
}

// T = M_d * scaled - M_dmin * offset
inline int64_t combine(const uint8_t *factors, int64_t scaled, int64_t offset) {
    return scaled * f16_mantissa(load_u16(factors)) - offset * f16_mantissa(load_u16(factors + 2));
}

// Fields of two bits, low or high. The fields of part 8h + 2s + c (h, c = 0..1, s = 0..3) are bits
// 2s and 2s + 1 of the sixteen bytes from 32h + 16c on.

int64_t total_q2_k(const uint8_t *block, const uint64_t *quads, const int32_t *) {
    int64_t scaled = 0;
    int64_t offset = 0;
    for (uint32_t hc = 0; hc < 4; ++hc) {
        const uint64_t low = load_u64(block + Q2_K::kLowAt + 16 * hc);
        const uint64_t high = load_u64(block + Q2_K::kLowAt + 16 * hc + 8);
        const uint32_t first = hc / 2 * 8 + hc % 2;
#pragma clang loop unroll(full)
        for (uint32_t s = 0; s < 4; ++s) {
            const uint32_t part = first + 2 * s;
            const uint64_t *const q = quads + part / 2 * kBlockWords + hc % 2;
            const int64_t dot =
                part_dot<Q2_K::kMost>(low >> (2 * s) & kTwoBits, high >> (2 * s) & kTwoBits, q);
            const uint8_t nibbles = block[Q2_K::kPartScalesAt + part];
            scaled += (nibbles & 15) * dot;
            offset += (nibbles >> 4) * part_sum(q);
        }
    }
    return combine(block + Q2_K::kScaleAt, scaled, offset);
}

int64_t total_q3_k(const uint8_t *block, const uint64_t *quads, const int32_t *) {
    // The low four bits of sixteen scales, then the high two bits.
    uint64_t scales[2];
    uint32_t above;
    __builtin_memcpy(&scales[0], block + Q3_K::kPartScalesAt, sizeof(scales[0]));
    __builtin_memcpy(&above, block + Q3_K::kPartScalesAt + 8, sizeof(above));
    const uint64_t above_low = (above & 0x03030303u) | uint64_t{above >> 2 & 0x03030303u} << 32;
    const uint64_t above_high = (above >> 4 & 0x03030303u) | uint64_t{above >> 6 & 0x03030303u}
                                                                 << 32;
    scales[1] = (scales[0] >> 4 & kNibbles) | above_high << 4;
    scales[0] = (scales[0] & kNibbles) | above_low << 4;
    uint8_t scale[16];
    __builtin_memcpy(scale, scales, sizeof(scale));
    int64_t scaled = 0;
    for (uint32_t hc = 0; hc < 4; ++hc) {
        const uint8_t *const at = block + Q3_K::kLowAt + 16 * hc;
        const uint64_t low = load_u64(at);
        const uint64_t high = load_u64(at + 8);
        const uint8_t *const third = block + Q3_K::kHighAt + hc % 2 * 16;
        const uint64_t third_low = load_u64(third) >> (hc / 2 * 4);
        const uint64_t third_high = load_u64(third + 8) >> (hc / 2 * 4);
        const uint32_t first = hc / 2 * 8 + hc % 2;
#pragma clang loop unroll(full)
        for (uint32_t s = 0; s < 4; ++s) {
            const uint32_t part = first + 2 * s;
            const uint64_t *const q = quads + part / 2 * kBlockWords + hc % 2;
            const int64_t dot = part_dot<Q3_K::kMost, Q3_K::kOffset>(
                (low >> (2 * s) & kTwoBits) | (third_low >> s & kOnes) << 2,
                (high >> (2 * s) & kTwoBits) | (third_high >> s & kOnes) << 2, q);
            scaled += (scale[part] - 32) * dot;
        }
    }
    return scaled * f16_mantissa(load_u16(block + Q3_K::kScaleAt));
}

// PartScales::kSixBits (see weight_blocks.cpp), four scales or minimums at a time.
struct SixBits {
    uint8_t scale[8];
    uint8_t minimum[8];

    explicit SixBits(const uint8_t *from) {
        uint32_t s[3];
        __builtin_memcpy(s, from, sizeof(s));
        const uint32_t fields[4] = {
            s[0] & 0x3f3f3f3fu,
            (s[2] & 0x0f0f0f0fu) | (s[0] >> 6 & 0x03030303u) << 4,
            s[1] & 0x3f3f3f3fu,
            (s[2] >> 4 & 0x0f0f0f0fu) | (s[1] >> 6 & 0x03030303u) << 4,
        };
        __builtin_memcpy(scale, fields, sizeof(scale));
        __builtin_memcpy(minimum, fields + 2, sizeof(minimum));
    }
    [[nodiscard]] int64_t offset(const int32_t *block_sums) const {
        int64_t sum = 0;
        for (uint32_t i = 0; i < 8; ++i) {
            sum += int64_t{minimum[i]} * block_sums[i];
        }
        return sum;
    }
};

int64_t total_q4_k(const uint8_t *block, const uint64_t *quads, const int32_t *block_sums) {
    const SixBits six(block + Q4_K::kPartScalesAt);
    const uint64_t *q = quads;
    int64_t scaled = 0;
    for (uint32_t pair = 0; pair < 4; ++pair) {
        const uint8_t *const at = block + Q4_K::kLowAt + 32 * pair;
        int64_t dot[2] = {};
#pragma clang loop unroll(full)
        for (uint32_t c = 0; c < 2; ++c) {
            const uint64_t low = load_u64(at + 16 * c);
            const uint64_t high = load_u64(at + 16 * c + 8);
            dot[0] += part_dot<Q4_K::kMost>(low & kNibbles, high & kNibbles, q + c);
            dot[1] += part_dot<Q4_K::kMost>(low >> 4 & kNibbles, high >> 4 & kNibbles,
                                            q + kBlockWords + c);
        }
        scaled += six.scale[2 * pair] * dot[0] + six.scale[2 * pair + 1] * dot[1];
        q += 2 * kBlockWords;
    }
    return combine(block + Q4_K::kScaleAt, scaled, six.offset(block_sums));
}

int64_t total_q5_k(const uint8_t *block, const uint64_t *quads, const int32_t *block_sums) {
    const SixBits six(block + Q5_K::kPartScalesAt);
    const uint64_t *q = quads;
    int64_t scaled = 0;
    for (uint32_t pair = 0; pair < 4; ++pair) {
        const uint8_t *const at = block + Q5_K::kLowAt + 32 * pair;
        int64_t dot[2] = {};
#pragma clang loop unroll(full)
        for (uint32_t c = 0; c < 2; ++c) {
            const uint64_t low = load_u64(at + 16 * c);
            const uint64_t high = load_u64(at + 16 * c + 8);
            const uint64_t fifth_low = load_u64(block + Q5_K::kHighAt + 16 * c) >> (2 * pair);
            const uint64_t fifth_high = load_u64(block + Q5_K::kHighAt + 16 * c + 8) >> (2 * pair);
            dot[0] += part_dot<Q5_K::kMost>((low & kNibbles) | (fifth_low & kOnes) << 4,
                                            (high & kNibbles) | (fifth_high & kOnes) << 4, q + c);
            dot[1] += part_dot<Q5_K::kMost>((low >> 4 & kNibbles) | (fifth_low >> 1 & kOnes) << 4,
                                            (high >> 4 & kNibbles) | (fifth_high >> 1 & kOnes) << 4,
                                            q + kBlockWords + c);
        }
        scaled += six.scale[2 * pair] * dot[0] + six.scale[2 * pair + 1] * dot[1];
        q += 2 * kBlockWords;
    }
    return combine(block + Q5_K::kScaleAt, scaled, six.offset(block_sums));
}

int64_t total_q6_k(const uint8_t *block, const uint64_t *quads, const int32_t *) {
    int64_t scaled = 0;
    for (uint32_t hc = 0; hc < 4; ++hc) {
        const uint8_t *const above = block + Q6_K::kHighAt + 16 * hc;
        const uint64_t above_low = load_u64(above);
        const uint64_t above_high = load_u64(above + 8);
        const uint8_t *const nibbles = block + Q6_K::kLowAt + hc / 2 * 64 + hc % 2 * 16;
        const uint32_t first = hc / 2 * 8 + hc % 2;
#pragma clang loop unroll(full)
        for (uint32_t s = 0; s < 4; ++s) {
            const uint32_t part = first + 2 * s;
            const uint64_t *const q = quads + part / 2 * kBlockWords + hc % 2;
            const uint8_t *const at = nibbles + s % 2 * 32;
            const uint64_t low = load_u64(at) >> (s / 2 * 4) & kNibbles;
            const uint64_t high = load_u64(at + 8) >> (s / 2 * 4) & kNibbles;
            const int64_t dot = part_dot<Q6_K::kMost, Q6_K::kOffset>(
                low | (above_low >> (2 * s) & kTwoBits) << 4,
                high | (above_high >> (2 * s) & kTwoBits) << 4, q);
            scaled += static_cast<int8_t>(block[Q6_K::kPartScalesAt + part]) * dot;
        }
    }
    return scaled * f16_mantissa(load_u16(block + Q6_K::kScaleAt));
}

// ------------------------------------------------------------------ blocks of 32

template <uint32_t kBytes,
          int64_t (*kTotal)(const uint8_t *, const QuantizedActivation &, uint32_t)>
void gemv_blocks_of_32(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    const uint32_t blocks = args.cols / kBlockElements;
    for (uint32_t row = row_begin; row < row_end; ++row) {
        const uint8_t *w = args.weights + row * args.row_bytes;
        float y = 0.0f;
        for (uint32_t block = 0; block < blocks;) {
            const float scale = args.xq.group_scales[block / kSuperBlockBlocks];
            int64_t total = 0;
            do {
                total += kTotal(w, args.xq, block);
                w += kBytes;
                ++block;
            } while (block < blocks && block % kSuperBlockBlocks != 0);
            y = y + static_cast<float>(total) * scale;
        }
        args.y[row] = y;
    }
}

// Spreads eight bits over eight bytes of 0 or 16.
inline uint64_t fifth_bits(uint32_t bits) {
    const uint64_t spread = ((bits & 0xff) * kOnes) & 0x8040201008040201;
    return ((spread + 0x7f7f7f7f7f7f7f7f) & 0x8080808080808080) >> 3;
}

// The sum of (n_i - kOffset) * q_i over a block of five-bit fields: 32 high bits, then the nibbles.
template <uint32_t kOffset>
inline int64_t five_bit_dot(const uint8_t *fields, const uint64_t *q) {
    uint32_t bits;
    __builtin_memcpy(&bits, fields, sizeof(bits));
    const uint64_t first = load_u64(fields + 4);
    const uint64_t second = load_u64(fields + 12);
    return part_dot<Q5_0::kMost, kOffset>((first & kNibbles) | fifth_bits(bits),
                                          (second & kNibbles) | fifth_bits(bits >> 8), q) +
           part_dot<Q5_0::kMost, kOffset>((first >> 4 & kNibbles) | fifth_bits(bits >> 16),
                                          (second >> 4 & kNibbles) | fifth_bits(bits >> 24), q + 1);
}

int64_t total_q5_0(const uint8_t *block, const QuantizedActivation &xq, uint32_t index) {
    const int64_t dot = five_bit_dot<Q5_0::kOffset>(block + Q5_0::kHighAt,
                                                    xq.quads + uint64_t{index} * kBlockWords);
    return dot * f16_mantissa(load_u16(block));
}

int64_t total_q5_1(const uint8_t *block, const QuantizedActivation &xq, uint32_t index) {
    const int64_t dot = five_bit_dot<Q5_1::kOffset>(block + Q5_1::kHighAt,
                                                    xq.quads + uint64_t{index} * kBlockWords);
    return dot * f16_mantissa(load_u16(block)) +
           int64_t{xq.block_sums[index]} * f16_mantissa(load_u16(block + Q5_1::kMinimumAt));
}

int64_t total_iq4_nl(const uint8_t *block, const QuantizedActivation &xq, uint32_t index) {
    const int8_t *const q = xq.q + uint64_t{index} * kBlockElements;
    int32_t dot = 0;
    for (uint32_t i = 0; i < kBlockElements / 2; ++i) {
        const uint32_t byte = block[IQ4_NL::kLowAt + i];
        dot += kNonLinear[byte & 15] * q[i] + kNonLinear[byte >> 4] * q[i + 16];
    }
    return int64_t{dot} * f16_mantissa(load_u16(block));
}

}  // namespace

void gemv_swar_q5_0(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    gemv_blocks_of_32<Q5_0::kBytes, total_q5_0>(args, row_begin, row_end);
}

void gemv_swar_q5_1(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    gemv_blocks_of_32<Q5_1::kBytes, total_q5_1>(args, row_begin, row_end);
}

void gemv_direct_iq4_nl(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    gemv_blocks_of_32<IQ4_NL::kBytes, total_iq4_nl>(args, row_begin, row_end);
}

void gemv_swar_q2_k(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    gemv_super_blocks<Q2_K::kBytes, total_q2_k>(args, row_begin, row_end);
}

void gemv_swar_q3_k(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    gemv_super_blocks<Q3_K::kBytes, total_q3_k>(args, row_begin, row_end);
}

void gemv_swar_q4_k(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    gemv_super_blocks<Q4_K::kBytes, total_q4_k>(args, row_begin, row_end);
}

void gemv_swar_q5_k(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    gemv_super_blocks<Q5_K::kBytes, total_q5_k>(args, row_begin, row_end);
}

void gemv_swar_q6_k(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    gemv_super_blocks<Q6_K::kBytes, total_q6_k>(args, row_begin, row_end);
}

}  // namespace bareflow::compute
