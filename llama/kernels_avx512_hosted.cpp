// AVX-512 with VNNI, one vector: 64 weights as unsigned bytes beside 64 activations.
//
// The target is set for the functions of this file, not for the file: an inline function of a
// header that is compiled here must not be the copy that other files are linked with.

#include <immintrin.h>

#include <type_traits>

#include "llama/kernels_simd.h"
#include "llama/weight_blocks.h"

#pragma clang attribute push(                                                      \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,f16c"))), \
    apply_to = function)

namespace bareflow::llama {
namespace {

#include "llama/kernels_avx512_formats.h"

#include "llama/kernels_avx512_totals.h"

// ------------------------------------------------------------------ one vector

// Units are taken along a row, in the order in which they lie in memory: this streams weights a
// fifth faster than eight rows side by side. Rows of the first and of the second half take turns:
// while one of the two streams of memory comes to a new page, the other goes on.

constexpr uint32_t kChunkGroups = 32;  // whose activations are prepared at a time
constexpr uint32_t kRows = 8;          // whose totals are collected before they are added up
constexpr uint32_t kAhead = 2048;      // bytes that are prefetched: the best of 256 to 16384
constexpr uint32_t kStreams = 2;       // the best of 1, 2, 4, 8

template <typename F>
void gemv(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    constexpr uint32_t kBytes = F::kSuper ? F::kBytes : kGroupBlocks * F::kBytes;  // of a unit
    using Activation = std::conditional_t<F::kSuper, SuperActivation, BlockActivation>;
    Activation prepared[kChunkGroups];
    alignas(32) float totals[kRows * kChunkGroups] = {};
    const uint32_t all = group_count(args.cols);
    // An incomplete last group is copied to where zeros follow it.
    const uint32_t tail_blocks = args.cols % kGroupElements / kBlockElements;
    alignas(64) uint8_t tail[kUnits][kBytes];
    alignas(64) int8_t tail_q[kGroupElements];
    alignas(32) int32_t tail_sums[kGroupBlocks];
    if (tail_blocks != 0) {
        __builtin_memset(tail, 0, sizeof(tail));
        __builtin_memset(tail_q, 0, sizeof(tail_q));
        __builtin_memset(tail_sums, 0, sizeof(tail_sums));
        __builtin_memcpy(tail_q, args.xq.q + (all - 1) * uint64_t{kGroupElements},
                         tail_blocks * kBlockElements);
        __builtin_memcpy(tail_sums, args.xq.block_sums + (all - 1) * uint64_t{kGroupBlocks},
                         tail_blocks * sizeof(int32_t));
    }
    for (uint32_t first = 0; first < all; first += kChunkGroups) {
        const uint32_t groups = all - first < kChunkGroups ? all - first : kChunkGroups;
        const uint32_t whole = groups - (tail_blocks != 0 && first + groups == all);
        for (uint32_t g = 0; g < groups; ++g) {
            const int8_t *const q =
                g < whole ? args.xq.q + uint64_t{first + g} * kGroupElements : tail_q;
            if constexpr (F::kSuper) {
                prepare_activation<F>(q, prepared[g]);
            } else {
                prepare_activation(
                    q,
                    g < whole ? args.xq.block_sums + uint64_t{first + g} * kGroupBlocks : tail_sums,
                    prepared[g]);
            }
        }
        const uint32_t all_rows = row_end - row_begin;
        const uint32_t stream_rows = (all_rows + kStreams - 1) / kStreams;
        // The row whose turn it is after `index` others.
        const auto row_of = [&](uint32_t index) {
            return row_begin + index % kStreams * stream_rows + index / kStreams;
        };
        for (uint32_t begin = 0; begin < all_rows; begin += kRows) {
            const uint32_t rows = all_rows - begin < kRows ? all_rows - begin : kRows;
            const uint32_t units = rows * groups;
            const auto start_of = [&](uint32_t index) {
                return args.weights + row_of(index) * args.row_bytes + uint64_t{first} * kBytes;
            };
            uint32_t index = begin;
            const uint8_t *at = start_of(index);
            uint32_t g = 0;
            UnitPointers w;
            const Activation *x[kUnits];
            for (uint32_t unit = 0; unit < units; unit += kUnits) {
                for (uint32_t i = 0; i < kUnits; ++i) {
                    if (unit + i >= units) {  // any, not used
                        w[i] = w[0];
                        x[i] = x[0];
                        continue;
                    }
                    w[i] = at;
                    x[i] = &prepared[g];
                    if (g == whole) {
                        __builtin_memcpy(tail[i], at, tail_blocks * F::kBytes);
                        w[i] = tail[i];
                    }
                    at += kBytes;
                    if (++g == groups) {
                        g = 0;
                        at = start_of(++index);
                    }
                }
                if constexpr (F::kSuper) {
                    _mm256_store_ps(totals + unit, super_totals<F, kAhead>(w, x));
                } else {
                    _mm256_store_ps(totals + unit, block_totals<F, kAhead>(w, x));
                }
            }
            float y[kRows];
            for (uint32_t r = 0; r < kRows; ++r) {
                y[r] = first == 0 || r >= rows ? 0.0f : args.y[row_of(begin + r)];
            }
            for (uint32_t i = 0; i < groups; ++i) {
                const float scale = args.xq.group_scales[first + i];
#pragma clang loop unroll(full)
                for (uint32_t r = 0; r < kRows; ++r) {
                    y[r] = y[r] + totals[r * groups + i] * scale;
                }
            }
            for (uint32_t r = 0; r < rows; ++r) {
                args.y[row_of(begin + r)] = y[r];
            }
        }
    }
}

}  // namespace
}  // namespace bareflow::llama

// What follows runs on any processor.
#pragma clang attribute pop

namespace bareflow::llama {

namespace {

#include "llama/kernels_formats_table.h"

}  // namespace

GemvVariant avx512_variant(TensorType type) {
    const auto variant = [](GemvKernel kernel, GemmKernel matrix) {
        return GemvVariant{"avx512", kernel, 0, matrix, InstructionSet::kAvx512};
    };
    switch (type) {
        case TensorType::kF32:
        case TensorType::kF16:
        case TensorType::kBF16:
            // One vector: memory is the limit.
            return variant(avx2_variant(type).kernel, avx512_float_matrix(type));
        default:
            return with_format(type, [&]<typename Of>(Of) {
                return variant(gemv<typename Of::Type>, avx512_matrix(type));
            });
    }
}

}  // namespace bareflow::llama
