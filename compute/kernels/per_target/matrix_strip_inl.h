// The loops of the matrix kernels: strips of rows, groups of 256 columns, tiles of rows that are
// unpacked once for all vectors. Included at the end of the AVX2 and AVX-512 matrix kernels, as
// avx2/gemv_inl.h says, behind matrix_pack_inl.h. The including file defines before:
//   Tile, kTileRows       a group of kTileRows rows, a row in every lane
//   TilePointers          the rows of a tile
//   unpack_blocks<F>(), unpack_super<F>()
//   kTakenOff<F>          what is subtracted from every byte of a tile
//   kStripTiles           tiles that share a packed group of activations
//   Lanes, clear()        a register with the results of a row in every lane
//   kLeastVectors         vectors that are multiplied at once, at least
//   multiply<F>()         adds the products of a tile to the Lanes of each vector
//   store<F>()            stores the first `rows` results of a Lanes in order
#pragma once

template <typename F>
void gemm_strip(const GemmArgs &args, uint32_t first, uint32_t count, uint32_t row, uint32_t end) {
    constexpr uint32_t kUnitBytes = F::kSuper ? F::kBytes : kGroupBlocks * F::kBytes;
    PackedGroup packed;
    Tile tile;
    Lanes y[kStripTiles][kMaxVectors];
    const uint32_t padded = (count + kLeastVectors - 1) / kLeastVectors * kLeastVectors;
    const uint32_t tiles = (end - row + kTileRows - 1) / kTileRows;
    for (uint32_t t = 0; t < tiles; ++t) {
        for (uint32_t i = 0; i < padded; ++i) {
            clear(y[t][i]);
        }
    }
    for (uint32_t g = 0; g < group_count(args.cols); ++g) {
        if constexpr (F::kSuper) {
            pack_group<F::kPartColumns, kTakenOff<F>>(args, first, count, g, packed);
        } else {
            pack_group<0, kTakenOff<F>>(args, first, count, g, packed);
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
                unpack_super<F>(w, g * uint64_t{F::kBytes}, tile);
            } else {
                unpack_blocks<F>(w, g * uint64_t{kGroupBlocks * F::kBytes}, blocks, tile);
            }
            // Prefetched: this tile's next group or, behind the last, the next strip's first group.
            const bool last = (g + 1) * uint64_t{kGroupElements} >= args.cols;
            for (uint32_t r = 0; r < kTileRows; ++r) {
                const uint8_t *const next = last ? w[r] + kStripTiles * kTileRows * args.row_bytes
                                                 : w[r] + (g + 1) * uint64_t{kUnitBytes};
                for (uint32_t line = 0; line < kUnitBytes; line += 64) {
                    _mm_prefetch(reinterpret_cast<const char *>(next + line), _MM_HINT_T1);
                }
            }
            multiply<F>(tile, packed, padded, blocks, y[t]);
        }
    }
    for (uint32_t t = 0; t < tiles; ++t) {
        const uint32_t at = row + t * kTileRows;
        const uint32_t rows = end - at < kTileRows ? end - at : kTileRows;
        for (uint32_t i = 0; i < count; ++i) {
            store<F>(y[t][i], rows, args.y + (first + i) * args.y_stride + at);
        }
    }
}

template <typename F>
void gemm(const GemmArgs &args, uint32_t row_begin, uint32_t row_end) {
    constexpr uint32_t kStripRows = kStripTiles * kTileRows;
    for (uint32_t row = row_begin; row < row_end; row += kStripRows) {
        const uint32_t end = row_end - row < kStripRows ? row_end : row + kStripRows;
        for (uint32_t first = 0; first < args.batch; first += kMaxVectors) {
            const uint32_t left = args.batch - first;
            gemm_strip<F>(args, first, left < kMaxVectors ? left : kMaxVectors, row, end);
        }
    }
}
