// The vector generator's row groups of eight blocks of 32: Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, IQ4_NL.
// total_of() writes T of a row group: the sums of its blocks, minus offset * X, times the mantissas
// of their scales. vector.cpp explains the arithmetic and its bounds.
//
// What must hold: no byte beside the row is read, also where a window of scales is wider than the
// blocks that are there.
#include "compute/codegen/vector_generator.h"

namespace bareflow::compute::gemv_vector {

void VectorGenerator::total_of(unsigned to, const RowGroup &a, const RowGroup &b, int32_t sums) {
    if (wide_) {
        prefetch(a);
        prefetch(b);
        block_sums(kBlocks, a, 0);
        block_sums(kBlocks + 1, a, 1);
        block_sums(kBlocks + 2, b, 0);
        block_sums(kBlocks + 3, b, 1);
    } else {
        prefetch(a);
        for (uint32_t i = 0; i < 4; ++i) {
            block_sums(kBlocks + i, a, i);
        }
    }
    const bool fits_16 = !is_signed();
    add_pairs(kBlocks, kBlocks + 1, fits_16);
    add_pairs(kBlocks + 2, kBlocks + 3, fits_16);
    add_pairs(kBlocks, kBlocks + 2, fits_16 && !format_.fifth);
    if (has_offset_) {
        op_mem(op::psubd, kBlocks, kBlocks, mem(kSums, sums));
    }
    halves(a, b);
    mantissas(kTemp + 1, kTemp, 0);
    if (format_.minimum) {
        if (wide_) {
            halves_of_both(a, b, 1);
        }
        mantissas(kTemp + 2, kTemp, 1);
        a_.avx(op::movups, v(kTemp), mem(kSums, sums));
        multiply(to, kTemp, kTemp + 2);
        multiply(kBlocks + 1, kBlocks, kTemp + 1);
        op3(op::paddq, to, to, kBlocks + 1);
    } else {
        multiply(to, kBlocks, kTemp + 1);
    }
}

void VectorGenerator::block_sums(unsigned to, const RowGroup &row_group, uint32_t index) {
    const uint32_t first = index * lanes_;
    clear(to);
    if (row_group.blocks <= first) {
        return;
    }
    const uint32_t blocks = std::min(row_group.blocks - first, lanes_);
    const int32_t at = row_group.weights +
                       static_cast<int32_t>(first * format_.block_bytes + format_.header_bytes);
    const Mem q = mem(kQ, row_group.q + static_cast<int32_t>(index) * 2 * bytes_);
    const Mem q_high = mem(kQ, q.disp + bytes_);
    constexpr unsigned kLow = kTemp;
    constexpr unsigned kHigh = kTemp + 1;
    if (format_.nibbles) {
        gather(kLow, at, blocks);
        op2(op::psrlw, kHigh, kLow, 4);
        bits(kLow, kLow);
        bits(kHigh, kHigh);
        if (format_.fifth) {
            gather(kTemp + 3, at - 4, blocks);
            add_fifth_bits(kLow, 0);
            add_fifth_bits(kHigh, 1);
        } else if (format_.table) {
            look_up(kLow, kHigh);
        }
    } else if (wide_) {
        gather_wide(kTemp + 2, at, blocks);
        gather_wide(kTemp + 3, at + 2 * format_.block_bytes, blocks < 2 ? 0 : blocks - 2);
        op3(op::vshufi32x4, kLow, kTemp + 2, kTemp + 3, 0x88);
        op3(op::vshufi32x4, kHigh, kTemp + 2, kTemp + 3, 0xdd);
        bits(kLow, kLow);
        bits(kHigh, kHigh);
    } else if (vnni_) {
        gather(kLow, at, blocks);
        gather(kHigh, at + 16, blocks);
        bits(kLow, kLow);
        bits(kHigh, kHigh);
    }
    if (vnni_) {
        const VectorOp &dot = wide_ ? op::vpdpbusd : op::vpdpbusd_vex;
        op_mem(dot, to, kLow, q);
        op_mem(dot, to, kHigh, q_high);
    } else if (!is_signed()) {
        // Sums of four products, below 2^15.
        op_mem(op::pmaddubsw, kLow, kLow, q);
        op_mem(op::pmaddubsw, kHigh, kHigh, q_high);
        op3(op::paddw, kLow, kLow, kHigh);
        op3(op::pmaddwd, to, kLow, kOnes);
    } else if (format_.table) {
        signed_products(kLow, q);
        signed_products(kHigh, q_high);
        op3(op::paddd, to, kLow, kHigh);
    } else {
        a_.avx(op::movdqu, v(kLow), mem(kWeights, at));
        signed_products(kLow, q);
        clear(kHigh);
        if (blocks > 1) {
            a_.avx(op::movdqu, v(kHigh), mem(kWeights, at + format_.block_bytes));
            signed_products(kHigh, q_high);
        }
        op3(op::vperm2i128, to, kLow, kHigh, 0x20);
        op3(op::vperm2i128, kLow, kLow, kHigh, 0x31);
        op3(op::paddd, to, to, kLow);
    }
}

void VectorGenerator::add_fifth_bits(unsigned to, uint32_t half) {
    constexpr unsigned kSpread = kTemp + 2;
    constexpr unsigned kBytes = kTemp + 3;
    if (wide_) {
        op3(op::pshufb, kSpread, kBytes, kFifthOrder + half);
        a_.avx(op::vptestmb, jit::mask(kFifths), v(kSpread), v(kFifthBits));
        return a_.avx(op::paddb, v(to).masked(kFifths), v(to), v(kSixteens));
    }
    const Mem one_each = everywhere(kOneBitEach);
    op_mem(op::pshufb, kSpread, kBytes, a_.constant_of(fifth_order<32>(half)));
    op_mem(op::pand, kSpread, kSpread, one_each);
    op_mem(op::pcmpeqb, kSpread, kSpread, one_each);
    op_mem(op::pand, kSpread, kSpread, everywhere(uint8_t{16}));
    op3(op::por, to, to, kSpread);
}

void VectorGenerator::look_up(unsigned low, unsigned high) {
    constexpr unsigned kTable = kTemp + 3;
    std::array<uint8_t, 16> table;
    for (size_t i = 0; i < table.size(); ++i) {
        table[i] = static_cast<uint8_t>(kNonLinear[i] + (vnni_ ? 128 : 0));
    }
    a_.avx(wide_ ? op::vbroadcasti32x4 : op::vbroadcasti128, v(kTable), a_.constant_of(table));
    op3(op::pshufb, low, kTable, low);
    op3(op::pshufb, high, kTable, high);
}

void VectorGenerator::signed_products(unsigned w, const Mem &q) {
    a_.avx(op::movdqu, v(kTemp + 2), q);
    op3(op::psignb, kTemp + 2, kTemp + 2, w);
    op2(op::pabsb, w, w);
    op3(op::pmaddubsw, w, w, kTemp + 2);
    op3(op::pmaddwd, w, w, kOnes);
}

void VectorGenerator::gather(unsigned to, int32_t at, uint32_t blocks) {
    a_.avx(op::movdqu, xmm(to), mem(kWeights, at));
    for (uint32_t b = 1; b < blocks; ++b) {
        const Mem from = mem(kWeights, at + static_cast<int32_t>(b) * format_.block_bytes);
        a_.avx(wide_ ? op::vinserti32x4 : op::vinserti128, v(to), v(to), from, b);
    }
}

void VectorGenerator::gather_wide(unsigned to, int32_t at, uint32_t blocks) {
    if (blocks == 0) {
        return clear(to);
    }
    a_.avx(op::movdqu, ymm(to), mem(kWeights, at));
    if (blocks > 1) {
        a_.avx(op::vinserti64x4, v(to), v(to), mem(kWeights, at + format_.block_bytes), 1);
    }
}

void VectorGenerator::halves(const RowGroup &a, const RowGroup &b) {
    if (wide_) {
        return halves_of_both(a, b, 0);
    }
    const int32_t end = static_cast<int32_t>(a.blocks * format_.block_bytes) - 32;
    a_.avx(op::movd_from, xmm(kTemp), mem(kWeights, a.weights));
    for (uint32_t block = 1; block < a.blocks; ++block) {
        const uint32_t lane = block % 2 * 4 + block / 2;
        const auto at = static_cast<int32_t>(block * format_.block_bytes);
        const int32_t around = at - static_cast<int32_t>(lane) * 4;
        if (around >= 0 && around <= end) {
            a_.avx(op::vpblendd, v(kTemp), v(kTemp), mem(kWeights, a.weights + around), 1u << lane);
        } else {
            a_.avx(op::vpbroadcastd, v(kTemp + 1), mem(kWeights, a.weights + at));
            a_.avx(op::vpblendd, v(kTemp), v(kTemp), v(kTemp + 1), 1u << lane);
        }
    }
}

void VectorGenerator::halves_of_both(const RowGroup &a, const RowGroup &b, unsigned minimum) {
    halves_of(kTemp, a, minimum);
    if (b.blocks != 0) {
        halves_of(kTemp + 3, b, minimum);
        a_.avx(op::vmovdqu16, v(kTemp).masked(kSecondRowGroup), v(kTemp + 3));
    }
}

void VectorGenerator::halves_of(unsigned to, const RowGroup &row_group, unsigned minimum) {
    const uint32_t window_bytes = format_.window_blocks * format_.block_bytes;
    for (uint32_t window = 0; window * format_.window_blocks < row_group.blocks; ++window) {
        const uint32_t left = row_group.blocks * format_.block_bytes - window * window_bytes;
        const Mem from =
            mem(kWeights, row_group.weights + static_cast<int32_t>(window * window_bytes));
        const Vec filled = window == 0 ? v(to) : v(to).masked(window);
        if (left >= 64) {
            a_.avx(op::vpermw, filled, v(kScaleOrder + minimum), from);
        } else {
            const unsigned bytes = left < window_bytes ? kTailBytes : kWindowBytes;
            a_.avx(op::vmovdqu8, v(kProduct).masked(bytes, true), from);
            a_.avx(op::vpermw, filled, v(kScaleOrder + minimum), v(kProduct));
        }
    }
}

void VectorGenerator::mantissas(unsigned to, unsigned from, unsigned upper) {
    if (wide_) {
        a_.avx(op::vcvtph2ps, v(to), ymm(from));
        op_mem(op::mulps, to, to, mantissa_factor());
    } else {
        factors(to, from, upper);
    }
    op2(op::cvtps2dq, to, to);
}

void VectorGenerator::multiply(unsigned to, unsigned a, unsigned b) {
    op3(op::pmuldq, to, a, b);
    op2(op::psrlq, a, a, 32);
    op2(op::pshufd, b, b, 0xf5);
    op3(op::pmuldq, a, a, b);
    op3(op::paddq, to, to, a);
}

}  // namespace bareflow::compute::gemv_vector
