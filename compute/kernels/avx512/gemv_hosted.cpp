// AVX-512 with VNNI, one vector: 64 weights as unsigned bytes are multiplied with 64 activations.
// F32, F16 and BF16 use the AVX2 kernels, because memory is the limit there.

#include <type_traits>

#include "compute/kernels/gemv.h"
#include "compute/kernels/instruction_set.h"
#include "compute/kernels/registry.h"
#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"
#include "compute/numbers/weight_blocks.h"
#include "compute/numbers/weight_formats.h"

#include "compute/kernels/avx512/target_inl.h"

namespace bareflow::compute {
namespace {

#include "compute/kernels/avx512/formats_inl.h"

#include "compute/kernels/avx512/totals_inl.h"

// ------------------------------------------------------------------ one vector

// Units are multiplied along a row, in the order in which they lie in memory: this streams weights
// a fifth faster than eight rows side by side. The rows are divided into kStreams parts, and each
// part is read as a stream of its own. Units alternate: one of the first part's row, one of the
// second's, and so on. While one stream crosses into a new page, the others go on. A part has one
// row more than a quarter of the rows: a quarter is mostly a multiple of a page, and all streams
// would cross at once.

constexpr uint32_t kChunkGroups = 32;  // whose activations are prepared at a time
constexpr uint32_t kRows = 8;          // whose totals are collected before they are added up
constexpr uint32_t kAhead = 2048;      // bytes that are prefetched: the best of 256 to 16384
constexpr uint32_t kStreams = 4;       // the best of 1, 2, 4, 8
constexpr uint32_t kManyRows = 256;    // from here on, an additional row costs nothing
static_assert(kRows % kStreams == 0 && kUnits % kStreams == 0);

template <typename F>
using ActivationOf = std::conditional_t<F::kSuper, SuperActivation, BlockActivation>;
template <typename F>
constexpr uint32_t kUnitBytes = F::kSuper ? F::kBytes : kGroupBlocks * F::kBytes;

// The last group, if it is incomplete: a copy of its activation and room for its weights, both with
// zeros behind them.
template <typename F>
struct ShortGroup {
    uint32_t blocks;  // 0: the last group is whole
    alignas(64) uint8_t weights[kUnits][kUnitBytes<F>];
    alignas(64) int8_t q[kGroupElements];
    alignas(32) int32_t sums[kGroupBlocks];

    [[gnu::always_inline]] inline explicit ShortGroup(const GemvArgs &args)
        : blocks(args.cols % kGroupElements / kBlockElements) {
        if (blocks == 0) {
            return;
        }
        const uint64_t group = group_count(args.cols) - 1;
        __builtin_memset(weights, 0, sizeof(weights));
        __builtin_memset(q, 0, sizeof(q));
        __builtin_memset(sums, 0, sizeof(sums));
        __builtin_memcpy(q, args.xq.q + group * kGroupElements, blocks * kBlockElements);
        __builtin_memcpy(sums, args.xq.block_sums + group * kGroupBlocks, blocks * sizeof(int32_t));
    }
};

// Groups that are computed together, of which the first `whole` are not short.
struct Chunk {
    uint32_t first;
    uint32_t groups;
    uint32_t whole;
};

template <typename F>
[[gnu::always_inline]] inline void prepare_chunk(const GemvArgs &args, const Chunk &chunk,
                                                 const ShortGroup<F> &last,
                                                 ActivationOf<F> *prepared) {
    for (uint32_t g = 0; g < chunk.groups; ++g) {
        const bool whole = g < chunk.whole;
        const int8_t *const q =
            whole ? args.xq.q + uint64_t{chunk.first + g} * kGroupElements : last.q;
        if constexpr (F::kSuper) {
            prepare_activation<F>(q, prepared[g]);
        } else {
            prepare_activation(
                q,
                whole ? args.xq.block_sums + uint64_t{chunk.first + g} * kGroupBlocks : last.sums,
                prepared[g]);
        }
    }
}

// How the rows of a call are divided into streams.
struct Streams {
    uint32_t row_begin;
    uint32_t all_rows;
    uint32_t rows;  // of a stream; the last ones have fewer

    [[gnu::always_inline]] inline Streams(uint32_t begin, uint32_t end)
        : row_begin(begin),
          all_rows(end - begin),
          rows((all_rows + kStreams - 1) / kStreams + (all_rows >= kManyRows ? 1 : 0)) {}

    // Number r of the rows that are collected from `begin` on in each stream; all_rows or more:
    // there is no such row.
    [[nodiscard, gnu::always_inline]] inline uint32_t row_of(uint32_t begin, uint32_t r) const {
        const uint32_t within = begin + r / kStreams;
        return within < rows ? r % kStreams * rows + within : all_rows;
    }
};

// float(T) of `rows` rows by the groups of a chunk, unit by unit: totals[unit].
template <typename F>
[[gnu::always_inline]] inline void multiply_rows(const GemvArgs &args, const Streams &streams,
                                                 uint32_t begin, uint32_t rows, const Chunk &chunk,
                                                 const ActivationOf<F> *prepared,
                                                 ShortGroup<F> &last, float *totals) {
    const uint32_t units = rows * chunk.groups;
    const uint8_t *at[kStreams];
    const auto start = [&](uint32_t r) __attribute__((always_inline)) {
        for (uint32_t s = 0; s < kStreams; ++s) {
            const uint32_t row = streams.row_of(begin, r + s);
            // A row that does not exist is replaced by another; its sums are not used.
            const uint64_t index = streams.row_begin + (row < streams.all_rows ? row : begin);
            at[s] = args.weights + index * args.row_bytes + uint64_t{chunk.first} * kUnitBytes<F>;
        }
    };
    start(0);
    uint32_t row = 0;
    uint32_t g = 0;
    UnitPointers w;
    const ActivationOf<F> *x[kUnits];
    for (uint32_t unit = 0; unit < units; unit += kUnits) {
#pragma clang loop unroll(full)
        for (uint32_t i = 0; i < kUnits; i += kStreams) {
            const bool used = unit + i < units;
            for (uint32_t s = 0; s < kStreams; ++s) {
                w[i + s] = used ? at[s] : w[s];
                x[i + s] = used ? &prepared[g] : x[s];
                if (used && g == chunk.whole) {
                    __builtin_memcpy(last.weights[i + s], at[s], last.blocks * F::kBytes);
                    w[i + s] = last.weights[i + s];
                }
                at[s] += kUnitBytes<F>;
            }
            if (++g == chunk.groups && used) {
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
}

// y += total * scale for kRows rows, group by group.
[[gnu::always_inline]] inline void add_up(const GemvArgs &args, const Streams &streams,
                                          uint32_t begin, const Chunk &chunk, const float *totals) {
    float y[kRows];
    float *out[kRows];
    float nowhere = 0.0f;
    for (uint32_t r = 0; r < kRows; ++r) {
        const uint32_t index = streams.row_of(begin, r);
        out[r] = index < streams.all_rows ? args.y + streams.row_begin + index : &nowhere;
        y[r] = chunk.first == 0 ? 0.0f : *out[r];
    }
    for (uint32_t i = 0; i < chunk.groups; ++i) {
        const float scale = args.xq.group_scales[chunk.first + i];
#pragma clang loop unroll(full)
        for (uint32_t r = 0; r < kRows; ++r) {
            const uint32_t of = r / kStreams * kStreams * chunk.groups + i * kStreams;
            y[r] = y[r] + totals[of + r % kStreams] * scale;
        }
    }
    for (uint32_t r = 0; r < kRows; ++r) {
        *out[r] = y[r];
    }
}

template <typename F>
void gemv(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    ActivationOf<F> prepared[kChunkGroups];
    alignas(32) float totals[kRows * kChunkGroups] = {};
    const uint32_t all = group_count(args.cols);
    ShortGroup<F> last(args);
    const Streams streams(row_begin, row_end);
    for (uint32_t first = 0; first < all; first += kChunkGroups) {
        const uint32_t groups = all - first < kChunkGroups ? all - first : kChunkGroups;
        const bool has_short = last.blocks != 0 && first + groups == all;
        const Chunk chunk = {first, groups, groups - (has_short ? 1 : 0)};
        prepare_chunk<F>(args, chunk, last, prepared);
        for (uint32_t begin = 0; begin < streams.rows; begin += kRows / kStreams) {
            const uint32_t left = streams.rows - begin;
            const uint32_t rows = left < kRows / kStreams ? left * kStreams : kRows;
            multiply_rows<F>(args, streams, begin, rows, chunk, prepared, last, totals);
            add_up(args, streams, begin, chunk, totals);
        }
    }
}

}  // namespace
}  // namespace bareflow::compute

#include "compute/kernels/per_target/end_target_inl.h"

namespace bareflow::compute {
namespace {

#include "compute/kernels/per_target/formats_table_inl.h"

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
