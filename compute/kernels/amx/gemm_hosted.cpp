// AMX, several vectors at once. The weights are expanded once for all vectors: to integers of 24
// bits with all scales multiplied in, stored as three planes of bytes (planes_inl.h). A tile
// instruction multiplies sixteen rows by sixteen vectors. It makes no difference whether a type has
// a scale for 16, 32 or 256 columns. Up to eight vectors and blocks of 32 go another way
// (few_vectors_inl.h).

#include <type_traits>

#include "compute/kernels/gemv.h"
#include "compute/kernels/instruction_set.h"
#include "compute/kernels/registry.h"
#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"
#include "compute/numbers/weight_blocks.h"
#include "compute/numbers/weight_formats.h"

#include "compute/kernels/amx/target_inl.h"

namespace bareflow::compute {
namespace {

#include "compute/kernels/avx512/formats_inl.h"

#include "compute/kernels/amx/planes_inl.h"

// Intel SDM vol. 1, 18.3.2: palette 1 has eight registers of sixteen rows of 64 bytes.
struct alignas(64) TileShapes {
    uint8_t palette = 1;
    uint8_t start_row = 0;
    uint8_t reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileShapes) == 64);

#include "compute/kernels/amx/few_vectors_inl.h"
#include "compute/kernels/avx512/totals_inl.h"

constexpr uint32_t kMaxVectors = 128;  // in one pass
// Fewer vectors do not pay for expanding the weights: AVX-512 is faster then, and for two to eight
// vectors and blocks of 32 few_vectors_inl.h is.
template <typename F>
constexpr uint32_t kFewVectors = F::kMinimum ? 12 : 8;
constexpr uint32_t kLeastFew = 2;
constinit uint64_t least_products = kAmxProducts;
constexpr uint32_t kTileVectors = 16;
constexpr uint32_t kStripTiles = 16;  // tiles of rows that share packed activations
constexpr uint32_t kPacked = 8;       // groups of sixteen vectors that are packed at a time

// ------------------------------------------------------------------ activations
// A group of sixteen vectors, as AMX tile registers want it: a row has four columns of each vector.

struct alignas(64) PackedVectors {
    int8_t of[kSteps][kTileVectors][kTileColumns];
    float scale[kTileVectors];
};

// Group g of `count` vectors from `first` on, filled up to sixteen vectors with zeros.
inline void pack_vectors(const GemmArgs &args, uint32_t first, uint32_t count, uint32_t g,
                         PackedVectors &out) {
    const uint64_t begin = uint64_t{g} * kGroupElements;
    for (uint32_t step = 0; step < kSteps; ++step) {
        const uint64_t at = begin + step * kTileColumns;
        const uint64_t left = args.cols > at ? args.cols - at : 0;
        const __mmask64 columns = left < kTileColumns ? (uint64_t{1} << left) - 1 : ~uint64_t{0};
        __m512i in[kTileVectors];
        for (uint32_t v = 0; v < kTileVectors; ++v) {
            in[v] = v < count ? _mm512_maskz_loadu_epi8(columns, args.xq[first + v].q + at)
                              : _mm512_setzero_si512();
        }
        transpose(in, reinterpret_cast<__m512i *>(out.of[step]));
    }
    for (uint32_t v = 0; v < kTileVectors; ++v) {
        out.scale[v] = v < count ? args.xq[first + v].group_scales[g] : 0.0f;
    }
}

// ------------------------------------------------------------------ tiles

struct alignas(64) TileSums {
    __m512i of[kPlanes][kTileRows];  // lane: vector
};

inline void sum_by_tiles(const Planes &w, const PackedVectors &x, TileSums &out) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
#pragma clang loop unroll(full)
    for (uint32_t step = 0; step < kSteps; ++step) {
        _tile_loadd(6, x.of[step], kTileColumns);
        _tile_loadd(3, w.of[step][0], kTileColumns);
        _tile_dpbusd(0, 3, 6);
        _tile_loadd(4, w.of[step][1], kTileColumns);
        _tile_dpbusd(1, 4, 6);
        _tile_loadd(5, w.of[step][2], kTileColumns);
        _tile_dpbssd(2, 5, 6);
    }
    _tile_stored(0, out.of[0], 64);
    _tile_stored(1, out.of[1], 64);
    _tile_stored(2, out.of[2], 64);
}

// y[row][vector] += float(T) * scale.
//
// |c0|, |c1| <= 256 * 255 * 127 < 2^23 and |c2| <= 256 * 128 * 127 < 2^22. So low = c0 + 2^8 c1
// fits 32 bits (8290560 * 257 < 2^31). high = c2 + (low >> 16) has at most 23 bits, low & 0xffff
// has
// 16. Both are exact as f32, and the fused multiply-add rounds once, like float() of the integer.
inline void add_totals(const TileSums &sums, const float *unit, __m512 scale,
                       float (*y)[kMaxVectors]) {
    const __m512i low_words = _mm512_set1_epi32(0xffff);
    const __m512 high_unit = _mm512_set1_ps(65536.0f);
#pragma clang loop unroll_count(4)
    for (uint32_t r = 0; r < kTileRows; ++r) {
        const __m512i low = _mm512_add_epi32(sums.of[0][r], _mm512_slli_epi32(sums.of[1][r], 8));
        const __m512i high = _mm512_add_epi32(sums.of[2][r], _mm512_srai_epi32(low, 16));
        const __m512 rest = _mm512_cvtepi32_ps(_mm512_and_si512(low, low_words));
        const __m512 total = _mm512_mul_ps(
            _mm512_fmadd_ps(_mm512_cvtepi32_ps(high), high_unit, rest), _mm512_set1_ps(unit[r]));
        _mm512_store_ps(y[r], _mm512_add_ps(_mm512_load_ps(y[r]), _mm512_mul_ps(total, scale)));
    }
}

// ------------------------------------------------------------------ rows that don't fit
// Rows whose values do not fit 24 bits: the AVX-512 text for one vector, used for eight vectors at
// once with the same row.

template <typename F>
[[gnu::noinline]] void add_unfit(const GemmArgs &args, uint32_t first, uint32_t count, uint32_t g,
                                 const TilePointers &w, uint64_t offset, uint32_t rows,
                                 float (*y)[kMaxVectors]) {
    using Activation = std::conditional_t<F::kSuper, SuperActivation, BlockActivation>;
    const uint64_t begin = uint64_t{g} * kGroupElements;
    const uint64_t left = args.cols - begin;
    const auto columns = static_cast<uint32_t>(left < kGroupElements ? left : kGroupElements);
    for (uint32_t v = 0; v < count; v += kUnits) {
        alignas(64) int8_t q[kUnits][kGroupElements] = {};
        alignas(32) int32_t sums[kUnits][kGroupBlocks] = {};
        alignas(32) float scales[kUnits] = {};
        Activation x[kUnits];
        const Activation *all[kUnits];
        for (uint32_t i = 0; i < kUnits; ++i) {
            if (v + i < count) {
                const QuantizedActivation &xq = args.xq[first + v + i];
                __builtin_memcpy(q[i], xq.q + begin, columns);
                __builtin_memcpy(sums[i], xq.block_sums + begin / kBlockElements,
                                 columns / kBlockElements * sizeof(int32_t));
                scales[i] = xq.group_scales[g];
            }
            if constexpr (F::kSuper) {
                prepare_activation<F>(q[i], x[i]);
            } else {
                prepare_activation(q[i], sums[i], x[i]);
            }
            all[i] = &x[i];
        }
        for (uint32_t r = 0; r < kTileRows; ++r) {
            if ((rows >> r & 1) == 0) {
                continue;
            }
            const uint8_t *const at = w[r] + offset;
            const UnitPointers same = {at, at, at, at, at, at, at, at};
            __m256 totals;
            if constexpr (F::kSuper) {
                totals = super_totals<F>(same, all);
            } else {
                totals = block_totals<F>(same, all);
            }
            _mm256_store_ps(y[r] + v, _mm256_add_ps(_mm256_load_ps(y[r] + v),
                                                    _mm256_mul_ps(totals, _mm256_load_ps(scales))));
        }
    }
}

// ------------------------------------------------------------------ strips of rows

// Rows of results, a vector in each column.
using StripResults = float[kTileRows][kMaxVectors];

// The results of `rows` rows from `at` on, turned: those of one vector lie one behind the other.
[[gnu::always_inline]] inline void store_results(const GemmArgs &args, uint32_t first,
                                                 uint32_t count, uint32_t at, uint32_t rows,
                                                 const StripResults &y) {
    const auto mask = static_cast<__mmask16>((1u << rows) - 1);
    for (uint32_t v = 0; v < count; v += kTileVectors) {
        __m512i by_row[kTileRows];
        __m512i by_vector[kTileVectors];
        for (uint32_t r = 0; r < kTileRows; ++r) {
            by_row[r] = load512(y[r] + v);
        }
        transpose(by_row, by_vector);
        for (uint32_t i = 0; i < kTileVectors && v + i < count; ++i) {
            _mm512_mask_storeu_epi32(args.y + (first + v + i) * args.y_stride + at, mask,
                                     by_vector[i]);
        }
    }
}

// One group of a tile of rows, its weights at w + offset, times all vectors: y += T * scale.
template <typename F>
[[gnu::always_inline]] inline void multiply_tile(const GemmArgs &args, uint32_t first,
                                                 uint32_t count, uint32_t g, const TilePointers &w,
                                                 uint64_t offset, const uint8_t *next,
                                                 const PackedVectors *packed, StripResults &y) {
    Planes planes;
    TileSums sums;
    if constexpr (F::kSuper) {
        expand_super<F>(w, offset, next, args.row_bytes, planes);
    } else {
        expand_blocks<F>(w, offset, next, args.row_bytes, planes);
    }
    for (uint32_t v = 0; v < count; v += kTileVectors, ++packed) {
        sum_by_tiles(planes, *packed, sums);
        add_totals(sums, planes.unit, _mm512_load_ps(packed->scale),
                   reinterpret_cast<float(*)[kMaxVectors]>(&y[0][v]));
    }
    if (planes.unfit != 0) {
        add_unfit<F>(args, first, count, g, w, offset, planes.unfit, y);
    }
}

// Rows [row, end), at most kStripTiles tiles, times `count` vectors from `first` on.
template <typename F>
void multiply_strip(const GemmArgs &args, uint32_t first, uint32_t count, uint32_t row,
                    uint32_t end) {
    constexpr uint32_t kUnitBytes = F::kSuper ? F::kBytes : kGroupBlocks * F::kBytes;
    PackedVectors packed[kPacked];
    alignas(64) StripResults y[kStripTiles];
    alignas(64) uint8_t tail[kTileRows][kUnitBytes];
    const uint32_t sixteens = (count + kTileVectors - 1) / kTileVectors;  // of vectors
    const uint32_t tiles = (end - row + kTileRows - 1) / kTileRows;
    const uint32_t all = group_count(args.cols);
    const uint32_t tail_blocks = args.cols % kGroupElements / kBlockElements;
    for (uint32_t t = 0; t < tiles; ++t) {
        for (uint32_t r = 0; r < kTileRows; ++r) {
            __builtin_memset(y[t][r], 0, sixteens * kTileVectors * sizeof(float));
        }
    }
    if (tail_blocks != 0) {
        __builtin_memset(tail, 0, sizeof(tail));
    }
    const uint32_t together = kPacked / sixteens;
    for (uint32_t begin = 0; begin < all; begin += together) {
        const uint32_t groups = all - begin < together ? all - begin : together;
        for (uint32_t i = 0; i < groups * sixteens; ++i) {
            const uint32_t v = i % sixteens * kTileVectors;
            const uint32_t some = count - v < kTileVectors ? count - v : kTileVectors;
            pack_vectors(args, first + v, some, begin + i / sixteens, packed[i]);
        }
        for (uint32_t t = 0; t < tiles; ++t) {
            TilePointers w;
            for (uint32_t r = 0; r < kTileRows; ++r) {
                const uint32_t at = row + t * kTileRows + r;
                w[r] = args.weights + (at < end ? at : end - 1) * args.row_bytes;
            }
            for (uint32_t i = 0; i < groups; ++i) {
                const uint32_t g = begin + i;
                uint64_t offset = g * uint64_t{kUnitBytes};
                // Prefetched: the same group of the next tile; behind the last tile the first one
                // with the next groups, or with the first groups of the next strip.
                const bool again = t + 1 == tiles && begin + groups < all;
                const uint8_t *const next =
                    again ? w[0] - t * kTileRows * args.row_bytes + offset +
                                groups * uint64_t{kUnitBytes}
                    : t + 1 == tiles
                        ? w[0] + kTileRows * args.row_bytes + offset - begin * uint64_t{kUnitBytes}
                        : w[0] + kTileRows * args.row_bytes + offset;
                if (tail_blocks != 0 && g + 1 == all) {
                    for (uint32_t r = 0; r < kTileRows; ++r) {
                        __builtin_memcpy(tail[r], w[r] + offset, tail_blocks * F::kBytes);
                        w[r] = tail[r];
                    }
                    offset = 0;
                }
                multiply_tile<F>(args, first, count, g, w, offset, next, &packed[i * sixteens],
                                 y[t]);
            }
        }
    }
    for (uint32_t t = 0; t < tiles; ++t) {
        const uint32_t at = row + t * kTileRows;
        store_results(args, first, count, at, end - at < kTileRows ? end - at : kTileRows, y[t]);
    }
}

template <typename F, TensorType kType>
void gemm_amx(const GemmArgs &args, uint32_t row_begin, uint32_t row_end) {
    const uint64_t products = uint64_t{args.batch} * (row_end - row_begin) * args.cols;
    if constexpr (!F::kSuper) {
        // few_vectors_inl.h does little besides the tile instructions, and the same work for two
        // vectors as for eight.
        const bool pays = args.batch > kFew / 2 ? products > least_products / 16
                                                : products / args.batch * kFew > least_products / 4;
        if (args.batch >= kLeastFew && args.batch <= kFew && pays &&
            args.row_bytes <= kMostFewRowBytes) {
            return gemm_few<F>(args, row_begin, row_end);
        }
    }
    if (products <= least_products || args.batch < kFewVectors<F>) {
        return avx512_matrix(kType)(args, row_begin, row_end);
    }
    static constexpr TileShapes kShapes;
    constexpr uint32_t kStripRows = kStripTiles * kTileRows;
    _tile_loadconfig(&kShapes);
    for (uint32_t row = row_begin; row < row_end; row += kStripRows) {
        const uint32_t end = row_end - row < kStripRows ? row_end : row + kStripRows;
        for (uint32_t first = 0; first < args.batch; first += kMaxVectors) {
            const uint32_t left = args.batch - first;
            multiply_strip<F>(args, first, left < kMaxVectors ? left : kMaxVectors, row, end);
        }
    }
    _tile_release();
}

}  // namespace
}  // namespace bareflow::compute

#include "compute/kernels/per_target/end_target_inl.h"

namespace bareflow::compute {

void use_amx_beyond(uint64_t products) {
    least_products = products;
}

namespace {

#include "compute/kernels/per_target/formats_table_inl.h"

}  // namespace

static GemmKernel amx_matrix(TensorType type) {
    return with_format(
        type, []<typename Of>(Of) { return GemmKernel{gemm_amx<typename Of::Type, Of::kType>}; });
}

GemvVariant amx_variant(TensorType type) {
    GemvVariant variant = avx512_variant(type);
    variant.name = "amx";
    variant.needs = InstructionSet::kAmx;
    variant.matrix = amx_matrix(type);
    // None for floats.
    return variant.matrix != nullptr ? variant : GemvVariant{};
}

}  // namespace bareflow::compute
