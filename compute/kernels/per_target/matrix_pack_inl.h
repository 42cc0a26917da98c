// One group of several activations, as the AVX2 and AVX-512 matrix kernels read it. Included by
// these, as avx2/gemv_inl.h says, behind gemv_inl.h or formats_inl.h.
#pragma once

constexpr uint32_t kMaxVectors = 64;  // in one pass
constexpr uint32_t kParts = kSuperBlockElements / kPartElements;

struct alignas(64) PackedGroup {
    int8_t q[kMaxVectors][kGroupElements];
    int32_t start[kMaxVectors][kParts];  // -offset * sum of q, of each block or part
    int32_t sums[kMaxVectors][kParts];   // blocks: sums of q; else of two parts, 16 bits each
    float scale[kMaxVectors];
};

// Group g of `count` vectors from `first` on, filled up to a multiple of four vectors with zeros.
// kPartColumns: 16 or 32 for super-blocks, 0 for blocks of 32.
template <uint32_t kPartColumns, int kOffset>
void pack_group(const GemmArgs &args, uint32_t first, uint32_t count, uint32_t g,
                PackedGroup &out) {
    const uint64_t begin = uint64_t{g} * kGroupElements;
    const uint64_t left = args.cols - begin;
    const auto columns = static_cast<uint32_t>(left < kGroupElements ? left : kGroupElements);
    for (uint32_t i = 0; i < count; ++i) {
        const QuantizedActivation &xq = args.xq[first + i];
        __builtin_memcpy(out.q[i], xq.q + begin, columns);
        out.scale[i] = xq.group_scales[g];
        if constexpr (kPartColumns == 0) {
            const int32_t *const sums = xq.block_sums + begin / kBlockElements;
            for (uint32_t b = 0; b < columns / kBlockElements; ++b) {
                out.start[i][b] = -kOffset * sums[b];
                out.sums[i][b] = sums[b];
            }
        } else {
            int32_t sums[kParts];
            for (uint32_t part = 0; part < kParts; ++part) {
                int32_t sum = 0;
                for (uint32_t c = 0; c < kPartElements; ++c) {
                    sum += out.q[i][part * kPartElements + c];
                }
                sums[part] = sum;
            }
            for (uint32_t part = 0; part < kParts; ++part) {
                // Parts of 32 columns use the even entries.
                const int32_t sum = sums[part] + (kPartColumns == 32 ? sums[part ^ 1] : 0);
                out.start[i][part] = -kOffset * sum;
            }
            for (uint32_t pair = 0; pair < kParts / 2; ++pair) {
                out.sums[i][pair] =
                    static_cast<int32_t>((static_cast<uint32_t>(sums[2 * pair]) & 0xffffu) |
                                         static_cast<uint32_t>(sums[2 * pair + 1]) << 16);
            }
        }
    }
    for (uint32_t i = count; i % 4 != 0; ++i) {
        __builtin_memset(out.q[i], 0, sizeof(out.q[i]));
        __builtin_memset(out.start[i], 0, sizeof(out.start[i]));
        __builtin_memset(out.sums[i], 0, sizeof(out.sums[i]));
        out.scale[i] = 0.0f;
    }
}
