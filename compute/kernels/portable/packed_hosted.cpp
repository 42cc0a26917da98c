// The packed kernels that every processor can run, and the list of all packed kernels.
#include "compute/kernels/packed.h"

#include "compute/kernels/gemv.h"
#include "compute/kernels/instruction_set.h"
#include "compute/kernels/registry.h"
#include "compute/numbers/packing.h"
#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"

namespace bareflow::compute {
namespace {

// Q8_0, two products in one 64-bit multiply. A word of weights has four columns of two rows, a row
// in each half of 32 bits; each activation is multiplied with one column of both rows. A half adds
// up unsigned weights (0..255) times signed activations: in a block at most 32 * 255 * 127 =
// 1,036,320 in magnitude. It starts from 2^31, so it stays positive and below 2^32, and no half
// borrows from the other.
constexpr uint32_t kRowsAtOnce = 2;

void gemv_q8_0(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    constexpr uint32_t kGroupBlocks = kGroupElements / kBlockElements;
    constexpr uint32_t kUnits = kBlockElements / 4;
    constexpr uint32_t kWords = kRowsAtOnce / 2;
    constexpr uint64_t kMask = 0x000000ff000000ff;
    const uint32_t blocks = args.cols / kBlockElements;
    for (uint32_t row = row_begin - row_begin % kRowsAtOnce; row < row_end; row += kRowsAtOnce) {
        const uint32_t lane = row % kStripRows;
        const uint8_t *const strip = args.weights + (row - lane) * args.row_bytes;
        const uint8_t *w = strip + 4 * lane;
        const uint8_t *h = strip + uint64_t{blocks} * kBlockElements * kStripRows + 2 * lane;
        const int8_t *q = args.xq.q;
        float y[kRowsAtOnce] = {};
        for (uint32_t block = 0; block < blocks;) {
            const float scale = args.xq.group_scales[block / kGroupBlocks];
            const uint32_t end = blocks - block < kGroupBlocks ? blocks : block + kGroupBlocks;
            int64_t total[kRowsAtOnce] = {};
            for (; block < end; ++block) {
                const uint64_t start =
                    0x80000000u - static_cast<uint32_t>(128 * args.xq.block_sums[block]);
                uint64_t sum[kWords];
                for (uint64_t &word : sum) {
                    word = start << 32 | start;
                }
                for (uint32_t i = 0; i < kUnits; ++i, w += 4 * kStripRows, q += 4) {
#pragma clang loop unroll(full)
                    for (uint32_t j = 0; j < kWords; ++j) {
                        const uint64_t u = load_u64(w + 8 * j);
#pragma clang loop unroll(full)
                        for (uint32_t k = 0; k < 4; ++k) {
                            sum[j] += (u >> (8 * k) & kMask) * static_cast<uint64_t>(int64_t{q[k]});
                        }
                    }
                }
#pragma clang loop unroll(full)
                for (uint32_t j = 0; j < kRowsAtOnce; ++j) {
                    const auto lane_sum = static_cast<uint32_t>(sum[j / 2] >> (32 * (j % 2)));
                    total[j] +=
                        (int64_t{lane_sum} - 0x80000000) * f16_mantissa(load_u16(h + 2 * j));
                }
                h += 2 * kStripRows;
            }
            for (uint32_t j = 0; j < kRowsAtOnce; ++j) {
                y[j] = y[j] + static_cast<float>(total[j]) * scale;
            }
        }
        for (uint32_t j = 0; j < kRowsAtOnce; ++j) {
            if (row + j >= row_begin && row + j < row_end) {
                args.y[row + j] = y[j];
            }
        }
    }
}

}  // namespace

GemvVariant scalar_packed_variant(TensorType type, uint32_t index) {
    if (type == TensorType::kQ8_0 && index == 0) {
        return {"swar2 rows16", gemv_q8_0, 0};
    }
    return {};
}

PackedVariants packed_variants(TensorType type) {
    using Source = GemvVariant (*)(TensorType type, uint32_t index);
    constexpr Source kSources[] = {avx512_packed_variant, scalar_packed_variant};
    PackedVariants out;
    for (const Source source : kSources) {
        for (uint32_t i = 0; out.count < PackedVariants::kMost; ++i) {
            const GemvVariant variant = source(type, i);
            if (variant.kernel == nullptr) {
                break;
            }
            if (may_use(variant.needs)) {
                out.list[out.count++] = variant;
            }
        }
    }
    return out;
}

}  // namespace bareflow::compute
