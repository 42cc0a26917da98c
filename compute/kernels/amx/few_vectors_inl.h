// AMX, two to eight vectors and blocks of 32. These are too few vectors to pay for weights of 24
// bits, so each block is multiplied on its own. The rows of weights are the first operand, in the
// order of the file: bytes are read from the file itself (Q8_0), nibbles are widened but not
// transposed. Included behind planes_inl.h and TileShapes (gemm_hosted.cpp).
//
// A tile instruction takes the same time for eight columns of the second operand as for sixteen. So
// each vector has two columns: q = 16 h + l with l from -7 to 8. The sums of a block, sum w l and
// sum w h, then fit 16 bits. An instruction for 16-bit words multiplies each with its block's
// (M_b >> e) (see planes_inl.h) and adds them up, without any conversion:
//
//     T = 2^e * (sum over b of (M_b >> e) * L_b + 16 * sum over b of (M_b >> e) * H_b)
//
// Rows whose sums could be too great for that are added up in doubles. Weights of types with
// minimums are moved around zero, too: n - c instead of n, and Mm_b + c M_b instead of Mm_b.
#pragma once

constexpr uint32_t kFew = 8;          // vectors
constexpr uint32_t kFewColumns = 16;  // of a tile: l of each vector, then h of each
constexpr uint32_t kFewGroups = 8;    // whose activations are packed at a time
constexpr uint32_t kFewTiles = 16;    // tiles of rows that share packed activations
// Units in progress: the tiles of one are multiplied while the sums of the one before are
// multiplied with their scales. So no instruction waits for sums that were stored a moment ago.
constexpr uint32_t kStages = 2;
// Rows are found by 32-bit offsets.
constexpr uint64_t kMostFewRowBytes = uint64_t{1} << 26;

// Registers 0-3: sums; 4, 5: weights; 6, 7: activations, four columns in a row.
constexpr TileShapes few_shapes() {
    TileShapes shapes;
    for (uint32_t i = 0; i < 8; ++i) {
        shapes.row_bytes[i] = i == 4 || i == 5 ? kBlockElements : kFewColumns * sizeof(int32_t);
        shapes.rows[i] = i >= 6 ? kBlockElements / 4 : kTileRows;
    }
    return shapes;
}

struct alignas(64) FewVectors {
    int8_t of[kGroupElements / 4][kFewColumns][4];
    int32_t pairs[kGroupBlocks / 2][kFewColumns];  // sums of two blocks, 16 bits each; then zeros
    float scale[2 * kFew];                         // of each vector, in both halves
    int32_t most_mantissas;                        // a row fits if its sum of |M_b >> e| is no more
};

struct alignas(64) FewSums {
    int32_t of[kGroupBlocks][kTileRows][kFewColumns];
};

struct alignas(64) FewWeights {
    int8_t of[kTileRows][kGroupElements];
    int32_t mantissas[kGroupBlocks][kTileRows];     // in the low word; 0 above it
    int32_t minimums[kGroupBlocks / 2][kTileRows];  // of two blocks
    float unit[kTileRows];                          // 2^e
    uint32_t unfit;                                 // bit r: row r has zeros for mantissas
};

// c: subtracted from the bytes of F::pair(). No weight has a greater magnitude afterwards.
template <typename F>
constexpr int32_t kCentre = F::kMinimum ? (std::is_same_v<F, Q5_1> ? 16 : 8) : F::kOffset;
// The greatest sum of products in 32 bits that leaves room for the minimums.
constexpr int64_t kMostFewSum = (int64_t{1} << 31) - (1 << 12);

// The sums of the magnitudes of 32 bytes each. All four 64-bit lanes of a half have its sum.
inline __m512i block_magnitudes(__m512i bytes) {
    const __m512i eights = _mm512_sad_epu8(_mm512_abs_epi8(bytes), _mm512_setzero_si512());
    const __m512i halves = _mm512_add_epi64(eights, _mm512_permutex_epi64(eights, 0x4e));
    return _mm512_add_epi64(halves, _mm512_permutex_epi64(halves, 0xb1));
}

// Group g of all vectors, filled up to eight vectors with zeros.
template <typename F>
inline void pack_few(const GemmArgs &args, uint32_t g, FewVectors &out) {
    const uint64_t begin = uint64_t{g} * kGroupElements;
    __m512i most_low = _mm512_setzero_si512();
    __m512i most_high = _mm512_setzero_si512();
    for (uint32_t step = 0; step < kSteps; ++step) {
        const uint64_t at = begin + step * kTileColumns;
        const uint64_t left = args.cols > at ? args.cols - at : 0;
        const __mmask64 columns = left < kTileColumns ? (uint64_t{1} << left) - 1 : ~uint64_t{0};
        __m512i in[kFewColumns];
        __m512i turned[kFewColumns];
#pragma clang loop unroll(full)
        for (uint32_t v = 0; v < kFew; ++v) {
            const __m512i q = v < args.batch ? _mm512_maskz_loadu_epi8(columns, args.xq[v].q + at)
                                             : _mm512_setzero_si512();
            // (q + 135) / 16 - 8: an average has room for nine bits.
            const __m512i half =
                _mm512_avg_epu8(_mm512_xor_si512(q, _mm512_set1_epi8(-128)), _mm512_set1_epi8(6));
            const __m512i h =
                _mm512_sub_epi8(_mm512_and_si512(_mm512_srli_epi16(half, 3), _mm512_set1_epi8(31)),
                                _mm512_set1_epi8(8));
            const __m512i taken = _mm512_and_si512(_mm512_slli_epi16(h, 4), _mm512_set1_epi8(-16));
            in[v] = _mm512_sub_epi8(q, taken);
            in[kFew + v] = h;
            most_low = _mm512_max_epi32(most_low, block_magnitudes(in[v]));
            most_high = _mm512_max_epi32(most_high, block_magnitudes(h));
        }
        transpose(in, turned);
        for (uint32_t k = 0; k < 16; ++k) {
            _mm512_store_si512(out.of[step * 16 + k], turned[k]);
        }
    }
    if constexpr (F::kMinimum) {
        const uint32_t blocks = args.cols / kBlockElements - g * kGroupBlocks;
        __builtin_memset(out.pairs, 0, sizeof(out.pairs));
        for (uint32_t v = 0; v < args.batch; ++v) {
            const int32_t *const sums = args.xq[v].block_sums + uint64_t{g} * kGroupBlocks;
            for (uint32_t b = 0; b < kGroupBlocks && b < blocks; ++b) {
                out.pairs[b / 2][v] |= (sums[b] & 0xffff) << b % 2 * 16;
            }
        }
    }
    for (uint32_t v = 0; v < kFew; ++v) {
        out.scale[v] = v < args.batch ? args.xq[v].group_scales[g] : 0.0f;
        out.scale[kFew + v] = out.scale[v];
    }
    // |sum of a block| <= kCentre * low or kCentre * high; add_rows() adds high + low / 16.
    const auto low = static_cast<int64_t>(_mm512_reduce_max_epi32(most_low));
    const auto high = static_cast<int64_t>(_mm512_reduce_max_epi32(most_high));
    const int64_t both = high + low / 16 + 1;
    const int64_t greatest = kCentre<F> * (low > both ? low : both);
    const bool words = kCentre<F> * (low > high ? low : high) <= kMost16;
    out.most_mantissas = words ? static_cast<int32_t>(kMostFewSum / greatest) : -1;
}

// The scales of `blocks` blocks of each row, the first at `from`.
template <typename F>
inline void few_mantissas(const uint8_t *from, __m512i rows, uint32_t blocks, int32_t most,
                          FewWeights &out) {
    __m512i m[kGroupBlocks];
    __m512i minimum[kGroupBlocks];
    __m512i any = _mm512_setzero_si512();
#pragma clang loop unroll(full)
    for (uint32_t b = 0; b < kGroupBlocks; ++b) {
        m[b] = _mm512_setzero_si512();
        minimum[b] = _mm512_setzero_si512();
        if (b < blocks) {
            const __m512i words = _mm512_i32gather_epi32(rows, from + b * F::kBytes, 1);
            m[b] = mantissas(_mm512_cvtepi32_epi16(words));
            if constexpr (F::kMinimum) {
                minimum[b] = mantissas(_mm512_cvtepi32_epi16(_mm512_srli_epi32(words, 16)));
            }
        }
        any = _mm512_ternarylogic_epi32(any, m[b], minimum[b], 0xfe);
    }
    __m512i e;
    _mm512_store_ps(out.unit, common_power(any, e));
    __m512i sum = _mm512_setzero_si512();
    __m512i greatest = _mm512_setzero_si512();
    __m512i greatest_minimum = _mm512_setzero_si512();
#pragma clang loop unroll(full)
    for (uint32_t b = 0; b < kGroupBlocks; ++b) {
        m[b] = _mm512_srav_epi32(m[b], e);
        const __m512i size = _mm512_abs_epi32(m[b]);
        greatest = _mm512_or_si512(greatest, size);
        sum = _mm512_add_epi32(sum, size);
        if constexpr (F::kMinimum) {
            minimum[b] = _mm512_srav_epi32(minimum[b], e);
            greatest_minimum = _mm512_or_si512(greatest_minimum, _mm512_abs_epi32(minimum[b]));
        }
    }
    // If `greatest` fits 16 bits, `sum` has not overflowed.
    __mmask16 fits = _mm512_cmple_epi32_mask(greatest, _mm512_set1_epi32(kMost16));
    fits = _mm512_mask_cmple_epi32_mask(fits, sum, _mm512_set1_epi32(most));
    if constexpr (F::kMinimum) {
        // The sums of the minimums, 32 * 127 times 32767 each, fit beside eight sums of at most
        // 16 * 256 times 32767.
        fits = _mm512_mask_cmple_epi32_mask(fits, greatest_minimum, _mm512_set1_epi32(1 << 24));
        greatest_minimum = _mm512_setzero_si512();
#pragma clang loop unroll(full)
        for (uint32_t b = 0; b < kGroupBlocks; ++b) {
            minimum[b] =
                _mm512_add_epi32(minimum[b], _mm512_slli_epi32(m[b], kCentre<F> == 8 ? 3 : 4));
            greatest_minimum = _mm512_or_si512(greatest_minimum, _mm512_abs_epi32(minimum[b]));
        }
        fits = _mm512_mask_cmple_epi32_mask(fits, greatest_minimum, _mm512_set1_epi32(kMost16));
    }
    out.unfit = static_cast<uint32_t>(fits) ^ 0xffff;
    const __m512i low_words = _mm512_set1_epi32(0xffff);
#pragma clang loop unroll(full)
    for (uint32_t b = 0; b < kGroupBlocks; ++b) {
        _mm512_store_si512(out.mantissas[b], _mm512_maskz_and_epi32(fits, m[b], low_words));
        if (F::kMinimum && b % 2 == 0) {
            const __m512i two =
                choose(low_words, minimum[b], _mm512_slli_epi32(minimum[b + 1], 16));
            _mm512_store_si512(out.minimums[b / 2], _mm512_maskz_mov_epi32(fits, two));
        }
    }
}

// Multiplies block kB of a tile into the sums register kB % 4. It begins at weights + kB * step.
template <uint32_t kB>
inline void sum_block(const uint8_t *weights, uint64_t step, uint64_t stride, const FewVectors &x) {
    constexpr uint32_t kRow = kFewColumns * sizeof(int32_t);
    const auto row = static_cast<int64_t>(stride);
    _tile_loadd(6 + kB % 2, x.of[kB * kBlockElements / 4], kRow);
    _tile_loadd(4 + kB % 2, weights + kB * step, row);
    _tile_zero(kB % 4);
    _tile_dpbssd(kB % 4, 4 + kB % 2, 6 + kB % 2);
}

template <uint32_t kB>
inline void store_block(FewSums &out) {
    _tile_stored(kB % 4, out.of[kB], kFewColumns * sizeof(int32_t));
}

// Rows r and r + 1: y[row][vector] += float(T) * scale.
//
// Let low and high be the two sums and c = high + (low >> 4). Then
//     16 high + low = 2^12 * (c >> 8) + 16 * (c & 255) + (low & 15).
// |c| < 2^31, so c >> 8 has 24 bits, and the other two together have twelve. Both are exact as f32,
// and the fused multiply-add rounds once, like float() of the integer.
template <bool kMinimum>
inline void add_rows(const FewSums &sums, const FewWeights &w, const FewVectors &x, uint32_t r,
                     uint32_t blocks, float (*y)[kFew]) {
    __m512i first = _mm512_setzero_si512();
    __m512i second = _mm512_setzero_si512();
#pragma clang loop unroll(full)
    for (uint32_t b = 0; b < kGroupBlocks; ++b) {
        if (b < blocks) {
            first = _mm512_dpwssd_epi32(first, load512(sums.of[b][r]),
                                        _mm512_set1_epi32(w.mantissas[b][r]));
            second = _mm512_dpwssd_epi32(second, load512(sums.of[b][r + 1]),
                                         _mm512_set1_epi32(w.mantissas[b][r + 1]));
        }
    }
    if constexpr (kMinimum) {
#pragma clang loop unroll(full)
        for (uint32_t pair = 0; pair < kGroupBlocks / 2; ++pair) {
            const __m512i x_sums = load512(x.pairs[pair]);
            first = _mm512_dpwssd_epi32(first, x_sums, _mm512_set1_epi32(w.minimums[pair][r]));
            second =
                _mm512_dpwssd_epi32(second, x_sums, _mm512_set1_epi32(w.minimums[pair][r + 1]));
        }
    }
    const __m512i low = _mm512_shuffle_i64x2(first, second, 0x44);
    const __m512i high = _mm512_shuffle_i64x2(first, second, 0xee);
    const __m512i c = _mm512_add_epi32(high, _mm512_srai_epi32(low, 4));
    const __m512i rest = choose(_mm512_set1_epi32(15), low,
                                _mm512_and_si512(_mm512_slli_epi32(c, 4), _mm512_set1_epi32(4095)));
    const __m512 unit =
        _mm512_mask_broadcastss_ps(_mm512_set1_ps(w.unit[r]), 0xff00, _mm_load_ss(&w.unit[r + 1]));
    const __m512 total =
        _mm512_mul_ps(_mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_srai_epi32(c, 8)),
                                      _mm512_set1_ps(4096.0f), _mm512_cvtepi32_ps(rest)),
                      unit);
    _mm512_store_ps(
        y[r], _mm512_add_ps(_mm512_load_ps(y[r]), _mm512_mul_ps(total, _mm512_load_ps(x.scale))));
}

// A tile of rows by a group. blocks 0: there is no unit.
template <typename F>
struct FewUnit {
    const uint8_t *from;  // the first block of the first row
    uint32_t rows;
    uint32_t blocks;
    const FewVectors *x;
    FewWeights *weights;
    FewSums *sums;
    float (*y)[kFew];
    bool in_file;         // tiles are read from the file; else from weights->of
    const uint8_t *tile;  // the weights of the first row's first block
    uint64_t step;        // bytes from block to block
    uint64_t stride;      // bytes from row to row
};

// Adds the rows that do not fit (FewWeights::unfit).
template <typename F>
[[gnu::noinline]] void add_few_unfit(const FewUnit<F> &unit, uint64_t row_bytes) {
    for (uint32_t r = 0; r < unit.rows; ++r) {
        if ((unit.weights->unfit >> r & 1) == 0) {
            continue;
        }
        __m512d total = _mm512_setzero_pd();
        for (uint32_t b = 0; b < unit.blocks; ++b) {
            const uint16_t half = half_at(unit.from + r * row_bytes + b * F::kBytes);
            const __m512d m = mantissas_f64(_mm_set1_epi16(static_cast<short>(half)));
            const int32_t *const sum = unit.sums->of[b][r];
            const __m256i whole =
                _mm256_add_epi32(load256(sum), _mm256_slli_epi32(load256(sum + kFew), 4));
            total = _mm512_fmadd_pd(_mm512_cvtepi32_pd(whole), m, total);
            if constexpr (F::kMinimum) {
                const uint16_t least =
                    half_at(unit.from + r * row_bytes + b * F::kBytes + F::kMinimumAt);
                const __m512d minimum =
                    _mm512_fmadd_pd(m, _mm512_set1_pd(kCentre<F>),
                                    mantissas_f64(_mm_set1_epi16(static_cast<short>(least))));
                // The signed 16-bit sum of block b.
                const __m256i x_sums = _mm256_srai_epi32(
                    _mm256_slli_epi32(load256(unit.x->pairs[b / 2]), b % 2 == 0 ? 16 : 0), 16);
                total = _mm512_fmadd_pd(_mm512_cvtepi32_pd(x_sums), minimum, total);
            }
        }
        const __m256 added = _mm256_mul_ps(_mm512_cvtpd_ps(total), _mm256_load_ps(unit.x->scale));
        float *const y = unit.y[r];
        _mm256_store_ps(y, _mm256_add_ps(_mm256_load_ps(y), added));
    }
}

// Prefetches what is multiplied after the present tile, piece by piece in the order of the memory.
struct FewAhead {
    const uint8_t *row = nullptr;
    uint64_t row_bytes = 0;
    uint32_t groups = 0;  // pieces of a row
    uint32_t at = 0;

    template <uint32_t kBytes>
    void fetch() {
        prefetch<kBytes>(row + at * uint64_t{kBytes});
        if (++at == groups) {
            at = 0;
            row += row_bytes;
        }
    }
};

// Widens weights to bytes that cannot be read from the file.
template <typename F>
inline void few_bytes(const FewUnit<F> &unit, uint64_t row_bytes) {
    const __m512i taken_off = _mm512_set1_epi8(static_cast<char>(kCentre<F>));
    for (uint32_t r = 0; r < kTileRows; ++r) {
        const uint8_t *const row = unit.from + (r < unit.rows ? r : unit.rows - 1) * row_bytes;
        for (uint32_t b = 0; b < unit.blocks; b += 2) {
            const uint8_t *const first = row + b * F::kBytes;
            const uint8_t *const second = b + 1 < unit.blocks ? first + F::kBytes : first;
            _mm512_store_si512(unit.weights->of[r] + b * kBlockElements,
                               _mm512_sub_epi8(F::pair(first, second), taken_off));
        }
    }
}

// Multiplies the tiles of block kB of `now` and adds up two rows of `before`. Different parts of
// the processor do the two, so they overlap.
template <typename F, bool kWhole, uint32_t kB>
inline void work_on_block(const FewUnit<F> &now, const FewUnit<F> &before, FewAhead &ahead) {
    ahead.fetch<kGroupBlocks * F::kBytes>();
    if (kWhole || kB < now.blocks) {
        sum_block<kB>(now.tile, now.step, now.stride, *now.x);
    }
    ahead.fetch<kGroupBlocks * F::kBytes>();
    if (kWhole || before.blocks != 0) {
        add_rows<F::kMinimum>(*before.sums, *before.weights, *before.x, 2 * kB,
                              kWhole ? kGroupBlocks : before.blocks, before.y);
    }
    if (kWhole || kB < now.blocks) {
        store_block<kB>(*now.sums);
    }
}

template <typename F, bool kWhole>
inline void work_on_unit(const FewUnit<F> &now, const FewUnit<F> &before, FewAhead &ahead) {
    work_on_block<F, kWhole, 0>(now, before, ahead);
    work_on_block<F, kWhole, 1>(now, before, ahead);
    work_on_block<F, kWhole, 2>(now, before, ahead);
    work_on_block<F, kWhole, 3>(now, before, ahead);
    work_on_block<F, kWhole, 4>(now, before, ahead);
    work_on_block<F, kWhole, 5>(now, before, ahead);
    work_on_block<F, kWhole, 6>(now, before, ahead);
    work_on_block<F, kWhole, 7>(now, before, ahead);
}

// Group g of the tile of rows from `at` on: where its tiles lie, its scales, and its weights as
// bytes where the file's bytes cannot be multiplied.
template <typename F>
[[gnu::always_inline]] inline void start_unit(const GemmArgs &args, uint32_t at, uint32_t end,
                                              uint32_t g, const FewVectors &x, FewWeights &weights,
                                              FewSums &sums, float (*y)[kFew], FewUnit<F> &unit) {
    constexpr bool kBytesInFile = std::is_same_v<F, Q8_0>;
    constexpr uint32_t kUnitBytes = kGroupBlocks * F::kBytes;
    const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i row_bytes = _mm512_set1_epi32(static_cast<int32_t>(args.row_bytes));
    const uint32_t left = args.cols - g * kGroupElements;
    unit.from = args.weights + at * args.row_bytes + g * uint64_t{kUnitBytes};
    unit.rows = end - at < kTileRows ? end - at : kTileRows;
    unit.blocks = (left < kGroupElements ? left : kGroupElements) / kBlockElements;
    unit.x = &x;
    unit.weights = &weights;
    unit.sums = &sums;
    unit.y = y;
    unit.in_file = kBytesInFile && unit.rows == kTileRows;
    unit.tile =
        unit.in_file ? unit.from + F::kLowAt : reinterpret_cast<const uint8_t *>(weights.of);
    unit.step = unit.in_file ? F::kBytes : kBlockElements;
    unit.stride = unit.in_file ? args.row_bytes : kGroupElements;
    const __m512i rows =
        _mm512_min_epi32(lanes, _mm512_set1_epi32(static_cast<int32_t>(unit.rows - 1)));
    few_mantissas<F>(unit.from, _mm512_mullo_epi32(rows, row_bytes), unit.blocks, x.most_mantissas,
                     weights);
    if (!unit.in_file) {
        few_bytes<F>(unit, args.row_bytes);
    }
}

// Rows [row, end), at most kFewTiles tiles.
template <typename F>
void multiply_few(const GemmArgs &args, uint32_t row, uint32_t end) {
    constexpr uint32_t kUnitBytes = kGroupBlocks * F::kBytes;
    FewVectors packed[kFewGroups];
    FewWeights weights[kStages];
    FewSums sums[kStages];
    alignas(64) float y[kFewTiles][kTileRows][kFew];
    const uint32_t tiles = (end - row + kTileRows - 1) / kTileRows;
    const uint32_t all = group_count(args.cols);
    __builtin_memset(y, 0, tiles * sizeof(y[0]));
    // What follows tile t of the groups from `begin` on: the next tile, the first tile of the next
    // groups, or the first tile of the next strip.
    const auto ahead_of = [&](uint32_t begin, uint32_t t) {
        const bool last = t + 1 == tiles;
        const bool again = last && begin + kFewGroups < all;
        const uint32_t group = again ? begin + kFewGroups : last ? 0 : begin;
        return args.weights + (row + (again ? 0 : t + 1) * kTileRows) * args.row_bytes +
               group * uint64_t{kUnitBytes};
    };
    for (uint32_t begin = 0; begin < all; begin += kFewGroups) {
        const uint32_t groups = all - begin < kFewGroups ? all - begin : kFewGroups;
        for (uint32_t i = 0; i < groups; ++i) {
            pack_few<F>(args, begin + i, packed[i]);
        }
        // Unit u is group u % groups of tile u / groups.
        const uint32_t units = tiles * groups;
        FewUnit<F> now{};
        FewAhead ahead;
        for (uint32_t u = 0; u <= units; ++u) {
            const FewUnit<F> before = now;
            now = {};
            if (u < units) {
                const uint32_t t = u / groups;
                const uint32_t i = u % groups;
                if (i == 0) {
                    ahead = FewAhead{ahead_of(begin, t), args.row_bytes, groups};
                }
                start_unit<F>(args, row + t * kTileRows, end, begin + i, packed[i],
                              weights[u % kStages], sums[u % kStages], y[t], now);
            }
            if (now.blocks == kGroupBlocks && before.blocks == kGroupBlocks) {
                work_on_unit<F, true>(now, before, ahead);
            } else {
                work_on_unit<F, false>(now, before, ahead);
            }
            if (before.blocks != 0 && before.weights->unfit != 0) {
                add_few_unfit<F>(before, args.row_bytes);
            }
        }
    }
    for (uint32_t at = row; at < end; ++at) {
        const float *const from = y[(at - row) / kTileRows][(at - row) % kTileRows];
        for (uint32_t v = 0; v < args.batch; ++v) {
            args.y[v * args.y_stride + at] = from[v];
        }
    }
}

// At most eight vectors, rows of at most kMostFewRowBytes.
template <typename F>
void gemm_few(const GemmArgs &args, uint32_t row_begin, uint32_t row_end) {
    static constexpr TileShapes kShapes = few_shapes();
    constexpr uint32_t kStripRows = kFewTiles * kTileRows;
    _tile_loadconfig(&kShapes);
    for (uint32_t row = row_begin; row < row_end; row += kStripRows) {
        const uint32_t end = row_end - row < kStripRows ? row_end : row + kStripRows;
        multiply_few<F>(args, row, end);
    }
    _tile_release();
}
