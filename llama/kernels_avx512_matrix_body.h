// Several vectors at once: what AVX-512 and AMX share. Included behind kernels_avx512_formats.h.
#pragma once

// ------------------------------------------------------------------ several vectors at once
// Sixteen rows by 256 columns are unpacked once, so that each lane is a row: word k of every row
// (four columns) in one vector. Then every vector of activations meets them: four of its bytes at a
// time, broadcast, with as many sums side by side as there are registers.

constexpr uint32_t kTileRows = 16;
constexpr uint32_t kStripTiles = 4;  // tiles that share a packed group of activations

struct alignas(64) Tile {
    __m512i words[kGroupElements / 4];
    __m512i factors[16];   // blocks: eight mantissas, eight of minimums; else scales of parts
    __m512i minimums[16];  // super-blocks: of two parts, 16 bits each
    __m512d d[2];          // super-blocks: the mantissas of rows 0-7, 8-15
    __m512d dmin[2];
};

// out[i] lane j = in[j] lane i.
inline void transpose(const __m512i (&in)[16], __m512i *out) {
    __m512i a[16];
    __m512i b[16];
#pragma clang loop unroll(full)
    for (uint32_t i = 0; i < 16; i += 2) {
        a[i] = _mm512_unpacklo_epi32(in[i], in[i + 1]);
        a[i + 1] = _mm512_unpackhi_epi32(in[i], in[i + 1]);
    }
#pragma clang loop unroll(full)
    for (uint32_t i = 0; i < 16; i += 4) {  // b[i + c]: rows i..i+3 of columns c, 4 + c, ...
        b[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
        b[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
        b[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
        b[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
#pragma clang loop unroll(full)
    for (uint32_t c = 0; c < 4; ++c) {
        const __m512i low = _mm512_shuffle_i32x4(b[c], b[4 + c], 0x88);      // columns c, 8 + c
        const __m512i low_odd = _mm512_shuffle_i32x4(b[c], b[4 + c], 0xdd);  // 4 + c, 12 + c
        const __m512i high = _mm512_shuffle_i32x4(b[8 + c], b[12 + c], 0x88);
        const __m512i high_odd = _mm512_shuffle_i32x4(b[8 + c], b[12 + c], 0xdd);
        out[c] = _mm512_shuffle_i32x4(low, high, 0x88);
        out[8 + c] = _mm512_shuffle_i32x4(low, high, 0xdd);
        out[4 + c] = _mm512_shuffle_i32x4(low_odd, high_odd, 0x88);
        out[12 + c] = _mm512_shuffle_i32x4(low_odd, high_odd, 0xdd);
    }
}

using TilePointers = const uint8_t *[kTileRows];

// Where eight_halves has block b.
constexpr uint32_t factor_slot(uint32_t b) {
    return b % 2 * 4 + b / 2;
}

// `blocks` of each row, at w + offset.
template <typename F, bool kSigned>
void unpack_blocks(const TilePointers &w, uint64_t offset, uint32_t blocks, Tile &tile) {
    __m512i rows[4][kTileRows];
    __m512i factors[kTileRows];
    const uint32_t pairs = (blocks + 1) / 2;
    for (uint32_t r = 0; r < kTileRows; ++r) {
        const uint8_t *const from = w[r] + offset;
        for (uint32_t p = 0; p < pairs; ++p) {
            const uint8_t *const first = from + 2 * p * F::kBytes;
            const uint8_t *const second = 2 * p + 1 < blocks ? first + F::kBytes : first;
            rows[p][r] = F::pair(first, second);
            if constexpr (kSigned && F::kOffset != 0) {
                rows[p][r] =
                    _mm512_sub_epi8(rows[p][r], _mm512_set1_epi8(static_cast<char>(F::kOffset)));
            }
        }
        if (blocks == kGroupBlocks) {
            factors[r] = mantissas(_mm256_set_m128i(
                F::kMinimum ? eight_halves<F::kBytes>(from + 2) : _mm_setzero_si128(),
                eight_halves<F::kBytes>(from)));
            continue;
        }
        alignas(32) uint16_t halves[16] = {};
        for (uint32_t b = 0; b < blocks; ++b) {
            halves[factor_slot(b)] = half_at(from + b * F::kBytes);
            if constexpr (F::kMinimum) {
                halves[8 + factor_slot(b)] = half_at(from + b * F::kBytes + 2);
            }
        }
        factors[r] = mantissas(load256(halves));
    }
    for (uint32_t p = 0; p < pairs; ++p) {
        transpose(rows[p], tile.words + 16 * p);
    }
    transpose(factors, tile.factors);
}

template <typename F, bool kSigned>
void unpack_super(const TilePointers &w, uint64_t offset, Tile &tile) {
    __m512i rows[4][kTileRows];
    __m512i scales[kTileRows];
    __m512i minimums[kTileRows];
    alignas(32) uint16_t d[kTileRows];
    alignas(32) uint16_t dmin[kTileRows];
    for (uint32_t r = 0; r < kTileRows; ++r) {
        const uint8_t *const block = w[r] + offset;
        rows[0][r] = F::template columns<0>(block);
        rows[1][r] = F::template columns<1>(block);
        rows[2][r] = F::template columns<2>(block);
        rows[3][r] = F::template columns<3>(block);
        if constexpr (kSigned && F::kOffset != 0) {
            for (uint32_t i = 0; i < 4; ++i) {
                rows[i][r] = _mm512_sub_epi8(rows[i][r], _mm512_set1_epi8(F::kOffset));
            }
        }
        scales[r] = _mm512_cvtepi16_epi32(F::scales(block));
        d[r] = half_at(block + F::kFactors);
        if constexpr (F::kMinimum) {
            minimums[r] = _mm512_zextsi256_si512(F::minimums(block));
            dmin[r] = half_at(block + F::kFactors + 2);
        }
    }
    for (uint32_t i = 0; i < 4; ++i) {
        transpose(rows[i], tile.words + 16 * i);
    }
    transpose(scales, tile.factors);
    tile.d[0] = mantissas_f64(load128(d));
    tile.d[1] = mantissas_f64(load128(d + 8));
    if constexpr (F::kMinimum) {
        transpose(minimums, tile.minimums);
        tile.dmin[0] = mantissas_f64(load128(dmin));
        tile.dmin[1] = mantissas_f64(load128(dmin + 8));
    }
}

inline __m512i broadcast_word(const void *from) {
    int32_t word;
    __builtin_memcpy(&word, from, sizeof(word));
    return _mm512_set1_epi32(word);
}

// The 16 * kWords columns from word `first` on, added up for kVectors vectors.
template <uint32_t kVectors, uint32_t kWords>
[[gnu::always_inline]] inline void dot_words(const Tile &tile, const PackedGroup &x, uint32_t v,
                                             uint32_t first, __m512i (&sum)[kVectors]) {
#pragma clang loop unroll(full)
    for (uint32_t k = 0; k < kWords; ++k) {
        const __m512i w = tile.words[first + k];
#pragma clang loop unroll(full)
        for (uint32_t i = 0; i < kVectors; ++i) {
            sum[i] = _mm512_dpbusd_epi32(sum[i], w, broadcast_word(&x.q[v + i][4 * (first + k)]));
        }
    }
}

template <uint32_t kVectors>
inline void add_totals(const PackedGroup &x, uint32_t v, const __m512 (&total)[kVectors],
                       __m512 *y) {
#pragma clang loop unroll(full)
    for (uint32_t i = 0; i < kVectors; ++i) {
        y[v + i] = _mm512_add_ps(y[v + i], _mm512_mul_ps(total[i], _mm512_set1_ps(x.scale[v + i])));
    }
}

// Adds the sums of block b times their scales to those of rows 0 2 4 .. and of 1 3 5 ..
template <typename F, uint32_t kVectors>
[[gnu::always_inline]] inline void add_block(const Tile &tile, const PackedGroup &x, uint32_t v,
                                             uint32_t b, const __m512i (&sum)[kVectors],
                                             __m512i (&even)[kVectors], __m512i (&odd)[kVectors]) {
    const __m512i factor = tile.factors[factor_slot(b)];
    const __m512i factor_odd = _mm512_srli_epi64(factor, 32);
#pragma clang loop unroll(full)
    for (uint32_t i = 0; i < kVectors; ++i) {
        even[i] = _mm512_add_epi64(even[i], _mm512_mul_epi32(sum[i], factor));
        odd[i] =
            _mm512_add_epi64(odd[i], _mm512_mul_epi32(_mm512_srli_epi64(sum[i], 32), factor_odd));
    }
    if constexpr (F::kMinimum) {
        const __m512i minimum = tile.factors[8 + factor_slot(b)];
        const __m512i minimum_odd = _mm512_srli_epi64(minimum, 32);
#pragma clang loop unroll(full)
        for (uint32_t i = 0; i < kVectors; ++i) {
            const __m512i q_sum = _mm512_set1_epi32(x.sums[v + i][b]);
            even[i] = _mm512_add_epi64(even[i], _mm512_mul_epi32(q_sum, minimum));
            odd[i] = _mm512_add_epi64(odd[i], _mm512_mul_epi32(q_sum, minimum_odd));
        }
    }
}

// y[v + i] += T * scale; lanes: rows 0 2 4 .. 14, then 1 3 .. 15.
template <uint32_t kVectors>
inline void finish_blocks(const PackedGroup &x, uint32_t v, const __m512i (&even)[kVectors],
                          const __m512i (&odd)[kVectors], __m512 *y) {
    __m512 total[kVectors];
#pragma clang loop unroll(full)
    for (uint32_t i = 0; i < kVectors; ++i) {
        total[i] = join_ps(_mm512_cvtepi64_ps(even[i]), _mm512_cvtepi64_ps(odd[i]));
    }
    add_totals<kVectors>(x, v, total, y);
}

// The same of super-blocks; lanes: rows in order.
template <typename F, uint32_t kVectors>
inline void finish_super(const Tile &tile, const PackedGroup &x, uint32_t v,
                         const __m512i (&scaled)[kVectors], __m512 *y) {
    __m512 total[kVectors];
#pragma clang loop unroll(full)
    for (uint32_t i = 0; i < kVectors; ++i) {
        __m512d low =
            _mm512_mul_pd(_mm512_cvtepi32_pd(_mm512_castsi512_si256(scaled[i])), tile.d[0]);
        __m512d high =
            _mm512_mul_pd(_mm512_cvtepi32_pd(_mm512_extracti64x4_epi64(scaled[i], 1)), tile.d[1]);
        if constexpr (F::kMinimum) {
            __m512i offset = _mm512_setzero_si512();
#pragma clang loop unroll(full)
            for (uint32_t pair = 0; pair < kParts / 2; ++pair) {
                offset = _mm512_dpwssd_epi32(offset, tile.minimums[pair],
                                             _mm512_set1_epi32(x.sums[v + i][pair]));
            }
            low = _mm512_sub_pd(
                low,
                _mm512_mul_pd(_mm512_cvtepi32_pd(_mm512_castsi512_si256(offset)), tile.dmin[0]));
            high = _mm512_sub_pd(
                high, _mm512_mul_pd(_mm512_cvtepi32_pd(_mm512_extracti64x4_epi64(offset, 1)),
                                    tile.dmin[1]));
        }
        total[i] = join_ps(_mm512_cvtpd_ps(low), _mm512_cvtpd_ps(high));
    }
    add_totals<kVectors>(x, v, total, y);
}

template <uint32_t kVectors>
inline void clear(__m512i (&values)[kVectors]) {
#pragma clang loop unroll(full)
    for (uint32_t i = 0; i < kVectors; ++i) {
        values[i] = _mm512_setzero_si512();
    }
}

// Vectors v .. v + kVectors.
template <typename F, uint32_t kVectors>
void multiply_blocks(const Tile &tile, const PackedGroup &x, uint32_t v, uint32_t blocks,
                     __m512 *y) {
    __m512i even[kVectors];
    __m512i odd[kVectors];
    clear(even);
    clear(odd);
    for (uint32_t b = 0; b < blocks; ++b) {
        __m512i sum[kVectors];
#pragma clang loop unroll(full)
        for (uint32_t i = 0; i < kVectors; ++i) {
            sum[i] =
                F::kOffset != 0 ? _mm512_set1_epi32(x.start[v + i][b]) : _mm512_setzero_si512();
        }
        dot_words<kVectors, 8>(tile, x, v, 8 * b, sum);
        add_block<F, kVectors>(tile, x, v, b, sum, even, odd);
    }
    finish_blocks<kVectors>(x, v, even, odd, y);
}

template <uint32_t kVectors>
[[gnu::always_inline]] inline void add_part(const __m512i &factor, const __m512i (&sum)[kVectors],
                                            __m512i (&scaled)[kVectors]) {
#pragma clang loop unroll(full)
    for (uint32_t i = 0; i < kVectors; ++i) {
        scaled[i] = _mm512_add_epi32(scaled[i], _mm512_mullo_epi32(sum[i], factor));
    }
}

template <typename F, uint32_t kVectors>
void multiply_super(const Tile &tile, const PackedGroup &x, uint32_t v, __m512 *y) {
    __m512i scaled[kVectors];
    clear(scaled);
    constexpr uint32_t kStep = F::kPartColumns / kPartElements;
#pragma clang loop unroll(disable)
    for (uint32_t part = 0; part < kParts; part += kStep) {
        __m512i sum[kVectors];
#pragma clang loop unroll(full)
        for (uint32_t i = 0; i < kVectors; ++i) {
            sum[i] =
                F::kOffset != 0 ? _mm512_set1_epi32(x.start[v + i][part]) : _mm512_setzero_si512();
        }
        dot_words<kVectors, F::kPartColumns / 4>(tile, x, v, 4 * part, sum);
        add_part(tile.factors[part], sum, scaled);
    }
    finish_super<F, kVectors>(tile, x, v, scaled, y);
}

// ------------------------------------------------------------------ the same with AMX
// A tile instruction multiplies sixteen vectors by sixteen rows at once, over the columns of one
// scale; all that is left to vector instructions is scaling. Weights are signed for it.

constexpr uint32_t kTileVectors = 16;

struct alignas(64) TileSums {
    __m512i of[kParts][kTileVectors];  // [block or part][vector], lane: row
};

// Intel SDM vol. 1, 18.3.2: palette 1 has eight registers of sixteen rows of 64 bytes.
struct alignas(64) TileShapes {
    uint8_t palette = 1;
    uint8_t start_row = 0;
    uint8_t reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
};
static_assert(sizeof(TileShapes) == 64);

// Registers 0 and 3: sums; 1 and 4: activations; 2 and 5: weights, four columns in a row of it.
template <uint32_t kColumns>
constexpr TileShapes tile_shapes() {
    TileShapes shapes;
    for (uint32_t first = 0; first < 6; first += 3) {
        shapes.row_bytes[first] = 64;
        shapes.rows[first] = kTileVectors;
        shapes.row_bytes[first + 1] = kColumns;
        shapes.rows[first + 1] = kTileVectors;
        shapes.row_bytes[first + 2] = 64;
        shapes.rows[first + 2] = kColumns / 4;
    }
    return shapes;
}

template <uint32_t kColumns>
__attribute__((target("amx-tile,amx-int8"))) void sum_by_tiles(const Tile &tile,
                                                               const PackedGroup &x, uint32_t v,
                                                               uint32_t count, TileSums &out) {
    for (uint32_t i = 0; i < count; i += 2) {
        _tile_loadd(2, &tile.words[i * kColumns / 4], 64);
        _tile_loadd(1, &x.q[v][i * kColumns], kGroupElements);
        _tile_zero(0);
        _tile_dpbssd(0, 1, 2);
        if (i + 1 < count) {
            _tile_loadd(5, &tile.words[(i + 1) * kColumns / 4], 64);
            _tile_loadd(4, &x.q[v][(i + 1) * kColumns], kGroupElements);
            _tile_zero(3);
            _tile_dpbssd(3, 4, 5);
            _tile_stored(3, out.of[i + 1], 64);
        }
        _tile_stored(0, out.of[i], 64);
    }
}

// Columns that share an integer scale, or M.
template <typename F>
constexpr uint32_t scale_columns() {
    if constexpr (F::kSuper) {
        return F::kPartColumns;
    } else {
        return kBlockElements;
    }
}

// Vectors v .. v + padded (at most sixteen, a multiple of four).
template <typename F>
void multiply_by_tiles(const Tile &tile, const PackedGroup &x, uint32_t v, uint32_t padded,
                       uint32_t blocks, TileSums &sums, __m512 *y) {
    constexpr uint32_t kVectors = 4;
    constexpr uint32_t kScales = kGroupElements / scale_columns<F>();
    sum_by_tiles<scale_columns<F>()>(tile, x, v, F::kSuper ? kScales : blocks, sums);
    for (uint32_t i = 0; i < padded; i += kVectors) {
        __m512i sum[kVectors];
        if constexpr (F::kSuper) {
            constexpr uint32_t kStep = F::kPartColumns / kPartElements;
            __m512i scaled[kVectors];
            clear(scaled);
#pragma clang loop unroll(full)
            for (uint32_t part = 0; part < kParts; part += kStep) {
                for (uint32_t j = 0; j < kVectors; ++j) {
                    sum[j] = sums.of[part / kStep][i + j];
                }
                add_part(tile.factors[part], sum, scaled);
            }
            finish_super<F, kVectors>(tile, x, v + i, scaled, y);
        } else {
            __m512i even[kVectors];
            __m512i odd[kVectors];
            clear(even);
            clear(odd);
            for (uint32_t b = 0; b < blocks; ++b) {
                for (uint32_t j = 0; j < kVectors; ++j) {
                    sum[j] = sums.of[b][i + j];
                }
                add_block<F, kVectors>(tile, x, v + i, b, sum, even, odd);
            }
            finish_blocks<kVectors>(x, v + i, even, odd, y);
        }
    }
}

// ------------------------------------------------------------------ strips of rows

template <typename F, bool kAmx>
void gemm_strip(const GemmArgs &args, uint32_t first, uint32_t count, uint32_t row, uint32_t end) {
    constexpr uint32_t kUnitBytes = F::kSuper ? F::kBytes : kGroupBlocks * F::kBytes;
    PackedGroup packed;
    Tile tile;
    TileSums sums;
    __m512 y[kStripTiles][kMaxVectors];
    const uint32_t padded = (count + 3) / 4 * 4;
    const uint32_t tiles = (end - row + kTileRows - 1) / kTileRows;
    for (uint32_t t = 0; t < tiles; ++t) {
        for (uint32_t i = 0; i < padded; ++i) {
            y[t][i] = _mm512_setzero_ps();
        }
    }
    for (uint32_t g = 0; g < group_count(args.cols); ++g) {
        if constexpr (F::kSuper) {
            pack_group<F::kPartColumns, F::kOffset>(args, first, count, g, packed);
        } else {
            pack_group<0, F::kOffset>(args, first, count, g, packed);
        }
        const uint32_t left = args.cols / kBlockElements - g * kGroupBlocks;
        const uint32_t blocks = left < kGroupBlocks ? left : kGroupBlocks;
        for (uint32_t t = 0; t < tiles; ++t) {
            TilePointers w;
            for (uint32_t r = 0; r < kTileRows; ++r) {
                const uint32_t at = row + t * kTileRows + r;
                w[r] = args.weights + (at < end ? at : end - 1) * args.row_bytes;
            }
            if constexpr (F::kSuper) {
                unpack_super<F, kAmx>(w, g * uint64_t{F::kBytes}, tile);
            } else {
                unpack_blocks<F, kAmx>(w, g * uint64_t{kGroupBlocks * F::kBytes}, blocks, tile);
            }
            // What this tile meets next: its next group, or the first one of the next strip.
            const bool last = (g + 1) * uint64_t{kGroupElements} >= args.cols;
            for (uint32_t r = 0; r < kTileRows; ++r) {
                const uint8_t *const next = last ? w[r] + kStripTiles * kTileRows * args.row_bytes
                                                 : w[r] + (g + 1) * uint64_t{kUnitBytes};
                for (uint32_t line = 0; line < kUnitBytes; line += 64) {
                    _mm_prefetch(reinterpret_cast<const char *>(next + line), _MM_HINT_T1);
                }
            }
            uint32_t v = 0;
            if constexpr (kAmx) {
                for (; v < padded; v += kTileVectors) {
                    const uint32_t some = padded - v < kTileVectors ? padded - v : kTileVectors;
                    multiply_by_tiles<F>(tile, packed, v, some, blocks, sums, y[t]);
                }
            } else if constexpr (F::kSuper) {
                for (; padded - v >= 8; v += 8) {
                    multiply_super<F, 8>(tile, packed, v, y[t]);
                }
                if (v < padded) {
                    multiply_super<F, 4>(tile, packed, v, y[t]);
                }
            } else {
                for (; padded - v >= 8; v += 8) {
                    multiply_blocks<F, 8>(tile, packed, v, blocks, y[t]);
                }
                if (v < padded) {
                    multiply_blocks<F, 4>(tile, packed, v, blocks, y[t]);
                }
            }
        }
    }
    const __m512i interleave =
        _mm512_set_epi32(15, 7, 14, 6, 13, 5, 12, 4, 11, 3, 10, 2, 9, 1, 8, 0);
    for (uint32_t t = 0; t < tiles; ++t) {
        const uint32_t at = row + t * kTileRows;
        const uint32_t rows = end - at < kTileRows ? end - at : kTileRows;
        const auto mask = static_cast<__mmask16>((1u << rows) - 1);
        for (uint32_t i = 0; i < count; ++i) {
            const __m512 value = F::kSuper ? y[t][i] : _mm512_permutexvar_ps(interleave, y[t][i]);
            _mm512_mask_storeu_ps(args.y + (first + i) * args.y_stride + at, mask, value);
        }
    }
}

template <typename F, bool kAmx>
void gemm_rows(const GemmArgs &args, uint32_t row_begin, uint32_t row_end) {
    constexpr uint32_t kStripRows = kStripTiles * kTileRows;
    for (uint32_t row = row_begin; row < row_end; row += kStripRows) {
        const uint32_t end = row_end - row < kStripRows ? row_end : row + kStripRows;
        for (uint32_t first = 0; first < args.batch; first += kMaxVectors) {
            const uint32_t left = args.batch - first;
            gemm_strip<F, kAmx>(args, first, left < kMaxVectors ? left : kMaxVectors, row, end);
        }
    }
}
