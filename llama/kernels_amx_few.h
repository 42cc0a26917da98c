// AMX, up to eight vectors and formats of blocks without minimums: too few vectors to pay for
// weights of 24 bits, so each block is multiplied apart, with the rows of weights as the first
// operand. That is how they lie in the file: bytes are taken from there, others are widened without
// being turned. Sums meet their scales in doubles, which hold every T of the contract exactly.
// Included behind kernels_amx_planes.h.
#pragma once

constexpr uint32_t kFew = 8;        // vectors
constexpr uint32_t kFewGroups = 8;  // whose activations are packed at a time
constexpr uint32_t kFewTiles = 16;  // tiles of rows that share them
// Units of work in hand at a time: one is widened while the tiles of the one before are multiplied
// and the sums of the one before that meet their scales; nobody waits for what was just stored.
constexpr uint32_t kStages = 3;

// Intel SDM vol. 1, 18.3.2. Registers 0-3: sums; 4, 5: weights; 6, 7: activations, four columns in
// a row.
struct alignas(64) FewShapes {
    uint8_t palette = 1;
    uint8_t start_row = 0;
    uint8_t reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
};
static_assert(sizeof(FewShapes) == 64);

constexpr FewShapes few_shapes() {
    FewShapes shapes;
    for (uint32_t i = 0; i < 8; ++i) {
        shapes.row_bytes[i] = i == 4 || i == 5 ? kBlockElements : kFew * sizeof(int32_t);
        shapes.rows[i] = i >= 6 ? kBlockElements / 4 : kTileRows;
    }
    return shapes;
}

struct alignas(64) FewVectors {
    int8_t of[kGroupElements / 4][kFew][4];
    float scale[kFew];
};

struct alignas(64) FewSums {
    int32_t of[kGroupBlocks][kTileRows][kFew];
};

struct alignas(64) FewWeights {
    int8_t of[kTileRows][kGroupElements];
    double mantissas[kTileRows][kGroupBlocks];
};

// Group g of all vectors, zeros for what is missing of eight.
inline void pack_few(const GemmArgs &args, uint32_t g, FewVectors &out) {
    const uint64_t begin = uint64_t{g} * kGroupElements;
    for (uint32_t step = 0; step < kSteps; ++step) {
        const uint64_t at = begin + step * kTileColumns;
        const uint64_t left = args.cols > at ? args.cols - at : 0;
        const __mmask64 columns = left < kTileColumns ? (uint64_t{1} << left) - 1 : ~uint64_t{0};
        __m512i in[16];
        __m512i turned[16];
#pragma clang loop unroll(full)
        for (uint32_t v = 0; v < 16; ++v) {
            in[v] = v < kFew && v < args.batch ? _mm512_maskz_loadu_epi8(columns, args.xq[v].q + at)
                                               : _mm512_setzero_si512();
        }
        transpose(in, turned);
        for (uint32_t k = 0; k < 16; ++k) {
            _mm256_store_si256(reinterpret_cast<__m256i *>(out.of[step * 16 + k]),
                               _mm512_castsi512_si256(turned[k]));
        }
    }
    for (uint32_t v = 0; v < kFew; ++v) {
        out.scale[v] = v < args.batch ? args.xq[v].group_scales[g] : 0.0f;
    }
}

// The scales of `blocks` blocks of each row.
template <typename F>
inline void few_mantissas(const TilePointers &w, uint64_t offset, uint32_t blocks,
                          FewWeights &out) {
    alignas(16) uint16_t halves[kTileRows][kGroupBlocks] = {};
    for (uint32_t r = 0; r < kTileRows; ++r) {
        for (uint32_t b = 0; b < blocks; ++b) {
            halves[r][b] = half_at(w[r] + offset + b * F::kBytes);
        }
    }
    for (uint32_t r = 0; r < kTileRows; ++r) {
        _mm512_store_pd(out.mantissas[r], mantissas_f64(load128(halves[r])));
    }
}

template <typename F>
inline void few_bytes(const TilePointers &w, uint64_t offset, uint32_t blocks, FewWeights &out) {
    const __m512i taken_off = _mm512_set1_epi8(static_cast<char>(F::kOffset));
    for (uint32_t r = 0; r < kTileRows; ++r) {
        const uint8_t *const from = w[r] + offset;
        for (uint32_t b = 0; b < blocks; b += 2) {
            const uint8_t *const first = from + b * F::kBytes;
            const uint8_t *const second = b + 1 < blocks ? first + F::kBytes : first;
            _mm512_store_si512(out.of[r] + b * kBlockElements,
                               _mm512_sub_epi8(F::pair(first, second), taken_off));
        }
    }
}

// Block b begins at weights + b * kStep.
template <uint32_t kStep>
inline void sum_few(const void *weights, uint64_t stride, uint32_t blocks, const FewVectors &x,
                    FewSums &out) {
    constexpr uint32_t kRow = kFew * sizeof(int32_t);
    const auto *const w = static_cast<const uint8_t *>(weights);
    const auto step_bytes = static_cast<int64_t>(stride);
    uint32_t b = 0;
    for (; b + 4 <= blocks; b += 4) {
        _tile_loadd(6, x.of[b * kBlockElements / 4], kRow);
        _tile_loadd(4, w + b * kStep, step_bytes);
        _tile_zero(0);
        _tile_dpbssd(0, 4, 6);
        _tile_loadd(7, x.of[(b + 1) * kBlockElements / 4], kRow);
        _tile_loadd(5, w + (b + 1) * kStep, step_bytes);
        _tile_zero(1);
        _tile_dpbssd(1, 5, 7);
        _tile_loadd(6, x.of[(b + 2) * kBlockElements / 4], kRow);
        _tile_loadd(4, w + (b + 2) * kStep, step_bytes);
        _tile_zero(2);
        _tile_dpbssd(2, 4, 6);
        _tile_loadd(7, x.of[(b + 3) * kBlockElements / 4], kRow);
        _tile_loadd(5, w + (b + 3) * kStep, step_bytes);
        _tile_zero(3);
        _tile_dpbssd(3, 5, 7);
        _tile_stored(0, out.of[b], kRow);
        _tile_stored(1, out.of[b + 1], kRow);
        _tile_stored(2, out.of[b + 2], kRow);
        _tile_stored(3, out.of[b + 3], kRow);
    }
    for (; b < blocks; ++b) {
        _tile_loadd(6, x.of[b * kBlockElements / 4], kRow);
        _tile_loadd(4, w + b * kStep, step_bytes);
        _tile_zero(0);
        _tile_dpbssd(0, 4, 6);
        _tile_stored(0, out.of[b], kRow);
    }
}

// y[row][vector] += float(T) * scale.
inline void add_few(const FewSums &sums, const FewWeights &w, const FewVectors &x, uint32_t blocks,
                    float (*y)[kFew]) {
    const __m256 scale = _mm256_load_ps(x.scale);
    for (uint32_t r = 0; r < kTileRows; ++r) {
        __m512d total = _mm512_setzero_pd();
        const auto add = [&](uint32_t b) {
            total = _mm512_fmadd_pd(_mm512_cvtepi32_pd(load256(sums.of[b][r])),
                                    _mm512_set1_pd(w.mantissas[r][b]), total);
        };
        if (blocks == kGroupBlocks) {
#pragma clang loop unroll(full)
            for (uint32_t b = 0; b < kGroupBlocks; ++b) {
                add(b);
            }
        } else {
            for (uint32_t b = 0; b < blocks; ++b) {
                add(b);
            }
        }
        _mm256_store_ps(y[r], _mm256_add_ps(_mm256_load_ps(y[r]),
                                            _mm256_mul_ps(_mm512_cvtpd_ps(total), scale)));
    }
}

// Rows [row, end), at most kFewTiles tiles.
template <typename F>
void multiply_few(const GemmArgs &args, uint32_t row, uint32_t end) {
    constexpr bool kBytesInFile = std::is_same_v<F, Q8_0>;
    constexpr uint32_t kUnitBytes = kGroupBlocks * F::kBytes;
    FewVectors packed[kFewGroups];
    FewWeights weights[kStages];
    FewSums sums[kStages];
    alignas(64) float y[kFewTiles][kTileRows][kFew];
    const uint32_t tiles = (end - row + kTileRows - 1) / kTileRows;
    const uint32_t all = group_count(args.cols);
    __builtin_memset(y, 0, tiles * sizeof(y[0]));
    for (uint32_t begin = 0; begin < all; begin += kFewGroups) {
        const uint32_t groups = all - begin < kFewGroups ? all - begin : kFewGroups;
        for (uint32_t i = 0; i < groups; ++i) {
            pack_few(args, begin + i, packed[i]);
        }
        // Unit u is group u % groups of tile u / groups.
        const uint32_t units = tiles * groups;
        const auto blocks_of = [&](uint32_t u) {
            const uint32_t left = args.cols - (begin + u % groups) * kGroupElements;
            return (left < kGroupElements ? left : kGroupElements) / kBlockElements;
        };
        const auto in_file = [&](uint32_t u) {
            return kBytesInFile && row + (u / groups + 1) * kTileRows <= end;
        };
        const auto offset_of = [&](uint32_t u) {
            return (begin + u % groups) * uint64_t{kUnitBytes};
        };
        TilePointers w;
        for (uint32_t u = 0; u < units + 2; ++u) {
            if (u < units) {
                if (u % groups == 0) {
                    for (uint32_t r = 0; r < kTileRows; ++r) {
                        const uint32_t at = row + u / groups * kTileRows + r;
                        w[r] = args.weights + (at < end ? at : end - 1) * args.row_bytes;
                    }
                }
                const uint64_t offset = offset_of(u);
                for (uint32_t r = 0; r < kTileRows; ++r) {
                    prefetch<kUnitBytes>(w[r] + offset + kTileRows * args.row_bytes);
                }
                few_mantissas<F>(w, offset, blocks_of(u), weights[u % kStages]);
                if (!in_file(u)) {
                    few_bytes<F>(w, offset, blocks_of(u), weights[u % kStages]);
                }
            }
            if (u >= 1 && u - 1 < units) {
                const uint32_t before = u - 1;
                const FewVectors &x = packed[before % groups];
                if (in_file(before)) {
                    sum_few<F::kBytes>(
                        args.weights + (row + before / groups * kTileRows) * args.row_bytes +
                            offset_of(before) + 2,
                        args.row_bytes, blocks_of(before), x, sums[before % kStages]);
                } else {
                    sum_few<kBlockElements>(weights[before % kStages].of, kGroupElements,
                                            blocks_of(before), x, sums[before % kStages]);
                }
            }
            if (u >= 2) {
                const uint32_t before = u - 2;
                add_few(sums[before % kStages], weights[before % kStages], packed[before % groups],
                        blocks_of(before), y[before / groups]);
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

// At most eight vectors.
template <typename F>
void gemm_few(const GemmArgs &args, uint32_t row_begin, uint32_t row_end) {
    static constexpr FewShapes kShapes = few_shapes();
    constexpr uint32_t kStripRows = kFewTiles * kTileRows;
    _tile_loadconfig(&kShapes);
    for (uint32_t row = row_begin; row < row_end; row += kStripRows) {
        const uint32_t end = row_end - row < kStripRows ? row_end : row + kStripRows;
        multiply_few<F>(args, row, end);
    }
    _tile_release();
}
