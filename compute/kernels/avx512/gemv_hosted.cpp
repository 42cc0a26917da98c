// AVX-512 with VNNI, one vector: 64 weights as unsigned bytes beside 64 activations.
//
// The target is set for the functions of this file, not for the file: an inline function of a
// header that is compiled here must not be the copy that other files are linked with.

#include <immintrin.h>

#include <type_traits>

#include "compute/kernels/registry.h"
#include "compute/numbers/weight_blocks.h"

#pragma clang attribute push(                                                      \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,f16c"))), \
    apply_to = function)

namespace bareflow::compute {
namespace {

#include "compute/kernels/avx512/formats_inl.h"

#include "compute/kernels/avx512/totals_inl.h"

// ------------------------------------------------------------------ one vector

// Units are taken along a row, in the order in which they lie in memory: this streams weights a
// fifth faster than eight rows side by side. Rows of four parts of the matrix take turns, unit by
// unit: while one of the streams of memory comes to a new page, the others go on. The parts are a
// row longer than they need be: with a quarter of the rows each, which is mostly a multiple of a
// page, all streams would come to new pages at once.

constexpr uint32_t kChunkGroups = 32;  // whose activations are prepared at a time
constexpr uint32_t kRows = 8;          // whose totals are collected before they are added up
constexpr uint32_t kAhead = 2048;      // bytes that are prefetched: the best of 256 to 16384
constexpr uint32_t kStreams = 4;       // the best of 1, 2, 4, 8
constexpr uint32_t kManyRows = 256;    // a row more is nothing
static_assert(kRows % kStreams == 0 && kUnits % kStreams == 0);

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
        const uint32_t stream_rows =
            (all_rows + kStreams - 1) / kStreams + (all_rows >= kManyRows ? 1 : 0);
        // Row r of those that are collected from `begin` on in each part; all_rows or more: there
        // is none.
        const auto row_of = [&](uint32_t begin, uint32_t r) {
            const uint32_t within = begin + r / kStreams;
            return within < stream_rows ? r % kStreams * stream_rows + within : all_rows;
        };
        for (uint32_t begin = 0; begin < stream_rows; begin += kRows / kStreams) {
            const uint32_t left = stream_rows - begin;
            const uint32_t rows = left < kRows / kStreams ? left * kStreams : kRows;
            const uint32_t units = rows * groups;
            const uint8_t *at[kStreams];
            const auto start = [&](uint32_t r) {
                for (uint32_t s = 0; s < kStreams; ++s) {
                    const uint32_t row = row_of(begin, r + s);
                    // Instead of one that is not there any other; its sums are not used.
                    const uint64_t index = row_begin + (row < all_rows ? row : begin);
                    at[s] = args.weights + index * args.row_bytes + uint64_t{first} * kBytes;
                }
            };
            start(0);
            uint32_t row = 0;
            uint32_t g = 0;
            UnitPointers w;
            const Activation *x[kUnits];
            for (uint32_t unit = 0; unit < units; unit += kUnits) {
#pragma clang loop unroll(full)
                for (uint32_t i = 0; i < kUnits; i += kStreams) {
                    const bool used = unit + i < units;
                    for (uint32_t s = 0; s < kStreams; ++s) {
                        w[i + s] = used ? at[s] : w[s];
                        x[i + s] = used ? &prepared[g] : x[s];
                        if (used && g == whole) {
                            __builtin_memcpy(tail[i + s], at[s], tail_blocks * F::kBytes);
                            w[i + s] = tail[i + s];
                        }
                        at[s] += kBytes;
                    }
                    if (++g == groups && used) {
                        g = 0;
                        row += kStreams;
                        if (row < rows) {
                            start(row);
                        }
                    }
                }
                if constexpr (F::kSuper) {
                    _mm256_store_ps(totals + unit, super_totals<F, kAhead>(w, x));
                } else {
                    _mm256_store_ps(totals + unit, block_totals<F, kAhead>(w, x));
                }
            }
            float y[kRows];
            float *out[kRows];
            float nowhere = 0.0f;
            for (uint32_t r = 0; r < kRows; ++r) {
                const uint32_t index = row_of(begin, r);
                out[r] = index < all_rows ? args.y + row_begin + index : &nowhere;
                y[r] = first == 0 ? 0.0f : *out[r];
            }
            for (uint32_t i = 0; i < groups; ++i) {
                const float scale = args.xq.group_scales[first + i];
#pragma clang loop unroll(full)
                for (uint32_t r = 0; r < kRows; ++r) {
                    const uint32_t of = r / kStreams * kStreams * groups + i * kStreams;
                    y[r] = y[r] + totals[of + r % kStreams] * scale;
                }
            }
            for (uint32_t r = 0; r < kRows; ++r) {
                *out[r] = y[r];
            }
        }
    }
}

}  // namespace
}  // namespace bareflow::compute

// What follows runs on any processor.
#pragma clang attribute pop

namespace bareflow::compute {

namespace {

#include "compute/kernels/gemv.h"
#include "compute/kernels/instruction_set.h"
#include "compute/kernels/per_target/formats_table_inl.h"
#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"

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

}  // namespace bareflow::compute
