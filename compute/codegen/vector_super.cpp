// The vector generator's row groups that are a super-block: Q2_K, Q3_K, Q4_K, Q5_K, Q6_K.
// super_floats() writes the totals of up to eight of them. The sums of one are written by
// super_sums() (Q4_K, Q5_K), super_sums_16() (Q6_K) or super_sums_2_bits() (Q2_K, Q3_K). vector.cpp
// explains the arithmetic; the bounds stand at these functions in vector_generator.h.
#include "compute/codegen/vector_generator.h"
#include "compute/numbers/weight_formats.h"

namespace bareflow::compute::gemv_vector {

namespace {

using Q2_K = FormatFacts<TensorType::kQ2_K>;
using Q3_K = FormatFacts<TensorType::kQ3_K>;
using Q4_K = FormatFacts<TensorType::kQ4_K>;
using Q5_K = FormatFacts<TensorType::kQ5_K>;
using Q6_K = FormatFacts<TensorType::kQ6_K>;
// Q4_K and Q5_K: part_scales() loads d, dmin and the small scales together.
static_assert(Q4_K::kScaleAt == 0 && Q4_K::kPartScalesAt == 4);
static_assert(Q5_K::kScaleAt == 0 && Q5_K::kPartScalesAt == 4);
static_assert(Q2_K::kPartScalesAt == 0 && Q3_K::kHighAt == 0 && Q6_K::kLowAt == 0);

}  // namespace

void VectorGenerator::super_floats(std::span<const RowGroup> row_groups, int32_t to) {
    const auto count = static_cast<uint32_t>(row_groups.size());
    const uint32_t pairs = (count + 1) / 2;
    for (uint32_t i = 0; i < pairs; ++i) {
        for (uint32_t second = 0; second < 2; ++second) {
            if (!format_.minimum || 2 * i + second >= count) {
                clear(kBlocks + 2 + second);
            }
            if (2 * i + second >= count) {
                clear(kBlocks + second);
            } else if (format_.two_bits) {
                super_sums_2_bits(row_groups[2 * i + second], kBlocks + second,
                                  kBlocks + 2 + second);
            } else if (format_.minimum) {
                super_sums(row_groups[2 * i + second], kBlocks + second, kBlocks + 2 + second);
            } else {
                super_sums_16(row_groups[2 * i + second], kBlocks + second);
            }
        }
        add_pairs(kBlocks, kBlocks + 1);
        add_pairs(kBlocks + 2, kBlocks + 3);
        op3(op::shufps, kTemp, kBlocks, kBlocks + 2, 0x88);
        op3(op::shufps, kTotal + i, kBlocks, kBlocks + 2, 0xdd);
        op3(op::paddd, kTotal + i, kTotal + i, kTemp);
    }
    // Now each 128-bit lane has the scaled sums of two row groups, then those of their minimums.
    const auto t = [&](uint32_t i) { return kTotal + std::min(i, pairs - 1); };
    if (wide_) {
        fold(kTemp, t(0), t(1), op::paddd);
        fold(kTemp + 1, t(2), t(3), op::paddd);
        fold(kTemp, kTemp, kTemp + 1, op::paddd);
        a_.avx(op::vextracti64x4, ymm(kTemp + 1), v(kTemp), 1);
        a_.avx(op::punpckhqdq, ymm(kBlocks + 1), ymm(kTemp), ymm(kTemp + 1));
        a_.avx(op::punpcklqdq, ymm(kBlocks), ymm(kTemp), ymm(kTemp + 1));
        a_.avx(op::vpermq, ymm(kBlocks), ymm(kBlocks), 0xd8);
        a_.avx(op::vpermq, ymm(kBlocks + 1), ymm(kBlocks + 1), 0xd8);
    } else {
        op3(op::vperm2i128, kTemp, t(0), t(1), 0x20);
        op3(op::vperm2i128, kTemp + 1, t(0), t(1), 0x31);
        op3(op::paddd, kTemp, kTemp, kTemp + 1);
        a_.avx(op::vpermq, ymm(kBlocks), ymm(kTemp), 0x08);
        a_.avx(op::vpermq, ymm(kBlocks + 1), ymm(kTemp), 0x0d);
    }
    // The factors of all row groups: 32 bits each, as Format::factor_at says.
    for (uint32_t i = 0; i < count; ++i) {
        const Mem from = mem(kWeights, row_groups[i].weights + format_.factor_at);
        const unsigned into = kTemp + i / 4;
        if (i % 4 == 0) {
            a_.avx(op::movd_from, xmm(into), from);
        } else {
            a_.avx(op::pinsrd, xmm(into), xmm(into), from, i % 4);
        }
    }
    if (count > 4) {
        a_.avx(op::vinserti128, ymm(kTemp), ymm(kTemp), xmm(kTemp + 1), 1);
    }
    times_factors(kBlocks, format_.minimum ? 0 : 1);
    if (format_.minimum) {
        times_factors(kBlocks + 1, 1);
        op3(op::subpd, kBlocks, kBlocks, kBlocks + 1);
    }
    const Vec result = half(kProduct);
    a_.avx(op::cvtpd2ps, result, v(kBlocks));
    a_.avx(op::mulps, result, result, mem(kScales, to));
    a_.avx(op::movups_store, mem(Gp::kRsp, to), result);
}

void VectorGenerator::times_factors(unsigned sums, unsigned upper) {
    factors(kTemp + 2, kTemp, upper);
    a_.avx(op::cvtps2pd, v(kTemp + 2), half(kTemp + 2));
    a_.avx(op::cvtdq2pd, v(sums), half(sums));
    op3(op::mulpd, sums, sums, kTemp + 2);
}

void VectorGenerator::super_sums(const RowGroup &row_group, unsigned scaled, unsigned minimums) {
    prefetch(row_group);
    constexpr unsigned kPartScales = kTemp;
    constexpr unsigned kLow = kTemp + 1;
    constexpr unsigned kHigh = kTemp + 2;
    constexpr unsigned kSpread = kTemp + 3;
    part_scales(kPartScales, row_group.weights);
    a_.avx(op::psrldq, xmm(kLow), xmm(kPartScales), 8);
    a_.avx(op::pmovzxbw, xmm(kLow), xmm(kLow));
    a_.avx(op::pmaddwd, xmm(minimums), xmm(kLow), mem(kSums, row_group.q / 256 * 16));
    if (wide_) {
        op3(op::vshufi32x4, kPartScales, kPartScales, kPartScales, 0);
    } else {
        op3(op::vperm2i128, kPartScales, kPartScales, kPartScales, 0);
    }
    for (int32_t at = 0; at < 128; at += bytes_) {
        const int32_t nibbles = format_.fifth ? Q5_K::kLowAt : Q4_K::kLowAt;
        a_.avx(op::movups, v(kLow), mem(kWeights, row_group.weights + nibbles + at));
        op2(op::psrlw, kHigh, kLow, 4);
        bits(kLow, kLow);
        bits(kHigh, kHigh);
        if (format_.fifth) {
            // Bit p of byte j belongs to part p, column j.
            part_bits(kSpread, row_group.weights + int32_t{Q5_K::kHighAt},
                      static_cast<uint32_t>(at) / 16);
            op2(op::psrlw, kProduct, kSpread, 1);
            add_pair_bits(kLow, kSpread);
            add_pair_bits(kHigh, kProduct);
        }
        const Mem q = mem(kQ, row_group.q + 2 * at);
        const Mem q_high = mem(kQ, q.disp + bytes_);
        if (wide_) {
            clear(kProduct);
            clear(kSpread);
            op_mem(op::vpdpbusd, kProduct, kLow, q);
            op_mem(op::vpdpbusd, kSpread, kHigh, q_high);
            op3(op::packssdw, kProduct, kProduct, kSpread);
            spread(kSpread, kPartScales, 0);
            op3(at == 0 ? op::pmaddwd : op::vpdpwssd, scaled, kProduct, kSpread);
        } else {
            op_mem(op::pmaddubsw, kLow, kLow, q);
            op_mem(op::pmaddubsw, kHigh, kHigh, q_high);
            spread(kSpread, kPartScales, 0);
            op3(op::pmaddwd, kLow, kLow, kSpread);
            spread(kSpread, kPartScales, 1);
            op3(op::pmaddwd, kHigh, kHigh, kSpread);
            if (at == 0) {
                op3(op::paddd, scaled, kLow, kHigh);
            } else {
                op3(op::paddd, scaled, scaled, kLow);
                op3(op::paddd, scaled, scaled, kHigh);
            }
        }
        if (at + bytes_ < 128) {
            a_.avx(op::psrldq, v(kPartScales), v(kPartScales), wide_ ? 4 : 2);
        }
    }
}

void VectorGenerator::super_sums_16(const RowGroup &row_group, unsigned scaled) {
    prefetch(row_group);
    constexpr unsigned kScaleBytes = kTemp;
    constexpr unsigned kLow = kTemp + 1;
    constexpr unsigned kHigh = kTemp + 2;
    constexpr unsigned kPairs = kTemp + 3;  // of bits, above the nibbles
    const Mem scales = mem(kWeights, row_group.weights + int32_t{Q6_K::kPartScalesAt});
    a_.avx(op::pmovsxbw, ymm(scaled), scales);
    a_.avx(op::pmaddwd, ymm(scaled), ymm(scaled), mem(kSums, row_group.q / 256 * 32));
    a_.avx(op::pslld, ymm(scaled), ymm(scaled), 5);
    clear(kProduct);
    op3(op::psubd, scaled, kProduct, scaled);
    a_.avx(wide_ ? op::vbroadcasti32x4 : op::vbroadcasti128, v(kScaleBytes), scales);
    for (int32_t at = 0; at < 128; at += bytes_) {
        const int32_t half_at = at / 64 * 64;
        const Mem pairs = mem(kWeights, row_group.weights + int32_t{Q6_K::kHighAt} + half_at / 2);
        if (wide_) {
            constexpr std::array<uint32_t, 16> kShifts = {0, 0, 0, 0, 0, 0, 0, 0,
                                                          2, 2, 2, 2, 2, 2, 2, 2};
            a_.avx(op::vbroadcasti64x4, v(kPairs), pairs);
            op_mem(op::vpsrlvd, kPairs, kPairs, a_.constant_of(kShifts));
        } else {
            a_.avx(op::movups, v(kPairs), pairs);
            if (at != half_at) {
                op2(op::psrlw, kPairs, kPairs, 2);
            }
        }
        a_.avx(op::movups, v(kLow), mem(kWeights, row_group.weights + at));
        op2(op::psrlw, kHigh, kLow, 4);
        bits(kLow, kLow);
        bits(kHigh, kHigh);
        op2(op::psllw, kProduct, kPairs, 4);
        add_pair_bits(kLow, kProduct);
        add_pair_bits(kHigh, kPairs);
        const int32_t columns = row_group.q + 2 * half_at + (at - half_at);
        const Mem q = mem(kQ, columns);
        const Mem q_high = mem(kQ, columns + 64);
        if (wide_) {
            clear(kProduct);
            clear(kPairs);
            op_mem(op::vpdpbusd, kProduct, kLow, q);
            op_mem(op::vpdpbusd, kPairs, kHigh, q_high);
            op3(op::packssdw, kProduct, kProduct, kPairs);
            spread_signed(kPairs, 0, 4);
            op3(op::vpdpwssd, scaled, kProduct, kPairs);
        } else {
            op_mem(op::pmaddubsw, kLow, kLow, q);
            op_mem(op::pmaddubsw, kHigh, kHigh, q_high);
            spread_signed(kPairs, 0, 0);
            op3(op::pmaddwd, kLow, kLow, kPairs);
            spread_signed(kPairs, 4, 4);
            op3(op::pmaddwd, kHigh, kHigh, kPairs);
            op3(op::paddd, scaled, scaled, kLow);
            op3(op::paddd, scaled, scaled, kHigh);
        }
        // Moves on to the scales of parts 8 and 12. AVX2: to those of 2 and 6, 8 and 12, 10 and 14.
        const unsigned passed = wide_ ? 8 : at == half_at ? 2 : 6;
        a_.avx(op::psrldq, v(kScaleBytes), v(kScaleBytes), passed);
    }
}

void VectorGenerator::super_sums_2_bits(const RowGroup &row_group, unsigned scaled,
                                        unsigned minimums) {
    prefetch(row_group);
    constexpr unsigned kScaleBytes = kTemp;  // where spread_signed() reads them
    constexpr unsigned kW = kTemp + 1;
    constexpr unsigned kSpread = kTemp + 2;
    two_bit_scales(row_group, kScaleBytes, scaled, minimums);
    if (!wide_) {
        // As 16 bits each, even parts in the lower lane.
        constexpr std::array<uint8_t, 16> kEvenFirst = {0, 2, 4, 6, 8, 10, 12, 14,
                                                        1, 3, 5, 7, 9, 11, 13, 15};
        a_.avx(op::pshufb, xmm(kScaleBytes), xmm(kScaleBytes), a_.constant_of(kEvenFirst));
        a_.avx(op::pmovsxbw, ymm(kScaleBytes), xmm(kScaleBytes));
        for (uint32_t block = 0; block < kGroupBlocks; ++block) {
            two_bit_weights(kW, row_group, block);
            op_mem(op::pmaddubsw, kW, kW, mem(kQ, row_group.q + static_cast<int32_t>(block) * 32));
            const auto word = static_cast<uint16_t>(0x0100 + 0x0202 * block);
            op_mem(op::pshufb, kSpread, kScaleBytes, everywhere(word));
            op3(op::pmaddwd, kW, kW, kSpread);
            op3(op::paddd, scaled, scaled, kW);
        }
        return;
    }
    op3(op::vshufi32x4, kScaleBytes, kScaleBytes, kScaleBytes, 0);
    if (!format_.minimum) {
        std::array<uint32_t, 16> shifts{};
        std::fill(shifts.begin() + 8, shifts.end(), 4);
        a_.avx(op::vbroadcasti64x4, v(kThirdBits), mem(kWeights, row_group.weights));
        op_mem(op::vpsrlvd, kThirdBits, kThirdBits, a_.constant_of(shifts));
    }
    for (uint32_t block = 0; block < 4; block += 2) {
        for (uint32_t i = 0; i < 2; ++i) {
            const unsigned sum = i == 0 ? kProduct : kSpread;
            two_bit_weights(kW, row_group, block + i);
            clear(sum);
            op_mem(op::vpdpbusd, sum, kW,
                   mem(kQ, row_group.q + static_cast<int32_t>(block + i) * 64));
        }
        op3(op::packssdw, kProduct, kProduct, kSpread);
        spread_signed(kSpread, 0, 2);
        op3(op::vpdpwssd, scaled, kProduct, kSpread);
        op2(op::psrldq, kScaleBytes, kScaleBytes, 4);
    }
}

void VectorGenerator::two_bit_scales(const RowGroup &row_group, unsigned to, unsigned scaled,
                                     unsigned minimums) {
    const Mem sums = mem(kSums, row_group.q / 256 * 32);
    if (format_.minimum) {
        const Mem from = mem(kWeights, row_group.weights);
        const Mem nibbles = everywhere(uint8_t{0x0f});
        a_.avx(op::movdqu, xmm(to), from);
        a_.avx(op::psrlw, xmm(minimums), xmm(to), 4);
        a_.avx(op::pand, xmm(minimums), xmm(minimums), nibbles);
        a_.avx(op::pand, xmm(to), xmm(to), nibbles);
        a_.avx(op::pmovzxbw, ymm(minimums), xmm(minimums));
        a_.avx(op::pmaddwd, ymm(minimums), ymm(minimums), sums);
        return clear(scaled);
    }
    // Sixteen low nibbles, those of parts 8-15 above those of 0-7. Then two high bits of each part,
    // those of four parts in a word.
    constexpr std::array<uint32_t, 4> kLowShifts = {0, 0, 4, 4};
    constexpr std::array<uint32_t, 4> kHighShifts = {0, 2, 4, 6};
    const Vec high = xmm(kTemp + 1);
    a_.avx(op::movq, xmm(to), mem(kWeights, row_group.weights + int32_t{Q3_K::kPartScalesAt}));
    a_.avx(op::pshufd, xmm(to), xmm(to), 0x44);
    a_.avx(op::vpsrlvd, xmm(to), xmm(to), a_.constant_of(kLowShifts));
    a_.avx(op::pand, xmm(to), xmm(to), everywhere(uint8_t{0x0f}));
    a_.avx(op::vpbroadcastd, high,
           mem(kWeights, row_group.weights + int32_t{Q3_K::kPartScalesAt} + 8));
    a_.avx(op::vpsrlvd, high, high, a_.constant_of(kHighShifts));
    a_.avx(op::pand, high, high, everywhere(uint8_t{0x03}));
    a_.avx(op::pslld, high, high, 4);
    a_.avx(op::por, xmm(to), xmm(to), high);
    a_.avx(op::psubb, xmm(to), xmm(to), everywhere(uint8_t{32}));
    a_.avx(op::pmovsxbw, ymm(scaled), xmm(to));
    a_.avx(op::pmaddwd, ymm(scaled), ymm(scaled), sums);
    a_.avx(op::pslld, ymm(scaled), ymm(scaled), 2);
    clear(kProduct);
    op3(op::psubd, scaled, kProduct, scaled);
}

void VectorGenerator::two_bit_weights(unsigned to, const RowGroup &row_group, uint32_t block) {
    constexpr unsigned kThird = kTemp + 3;
    const uint32_t number = wide_ ? block : block % 4;
    const auto half = static_cast<int32_t>(block - number) * 8;
    const int32_t fields = format_.minimum ? Q2_K::kLowAt : Q3_K::kLowAt;
    a_.avx(op::movups, v(to), mem(kWeights, row_group.weights + fields + half));
    if (number != 0) {
        op2(op::psrlw, to, to, 2 * number);
    }
    bits(to, to);
    if (format_.minimum) {
        return;
    }
    // Bit `block` of each byte becomes bit 2.
    unsigned from = kThirdBits;
    if (!wide_) {
        a_.avx(op::movups, v(kThird), mem(kWeights, row_group.weights));
        from = kThird;
    }
    if (block < 2) {
        op2(op::psllw, kThird, from, 2 - block);
    } else if (block > 2 || wide_) {
        op2(op::psrlw, kThird, from, block - 2);
    }
    add_pair_bits(to, kThird);
}

void VectorGenerator::part_bits(unsigned to, int32_t bits, uint32_t part) {
    const Mem from = mem(kWeights, bits);
    if (wide_) {
        std::array<uint32_t, 16> shifts;
        for (uint32_t i = 0; i < shifts.size(); ++i) {
            shifts[i] = part == 0 ? 4 - i / 8 * 2 : i / 8 * 2;
        }
        a_.avx(op::vbroadcasti64x4, v(to), from);
        return op_mem(part == 0 ? op::vpsllvd : op::vpsrlvd, to, to, a_.constant_of(shifts));
    }
    a_.avx(op::movups, v(to), from);
    if (part < 4) {
        op2(op::psllw, to, to, 4 - part);
    } else if (part > 4) {
        op2(op::psrlw, to, to, part - 4);
    }
}

void VectorGenerator::add_pair_bits(unsigned to, unsigned from) {
    if (wide_) {
        op3(op::vpternlogd, to, from, kPairBits, 0xf8);  // to | from & bits
    } else {
        op_mem(op::pand, from, from, everywhere(pair_bits()));
        op3(op::por, to, to, from);
    }
}

void VectorGenerator::spread_signed(unsigned to, int32_t low, int32_t high) {
    std::array<uint8_t, 64> order;
    for (unsigned i = 0; i < order.size(); ++i) {
        const auto first = static_cast<unsigned>(i % 16 < 8 ? low : high);
        const unsigned lane = format_.two_bits ? i / 32 * 8 + i / 16 % 2 : i / 16;
        order[i] = static_cast<uint8_t>(i % 2 == 0 ? 0x80 : first + lane);
    }
    op_mem(op::pshufb, to, kTemp, a_.constant(std::span(order).first(static_cast<size_t>(bytes_))));
    op2(op::psraw, to, to, 8);
}

void VectorGenerator::spread(unsigned to, unsigned from, unsigned part) {
    std::array<uint8_t, 64> order;
    for (unsigned i = 0; i < order.size(); ++i) {
        const unsigned of = wide_ ? i / 32 * 2 + i % 16 / 8 : part;
        order[i] = static_cast<uint8_t>(i % 2 == 0 ? of : 0x80);
    }
    op_mem(op::pshufb, to, from, a_.constant(std::span(order).first(static_cast<size_t>(bytes_))));
}

void VectorGenerator::part_scales(unsigned to, int32_t block) {
    constexpr std::array<uint32_t, 4> kShifts = {0, 0, 0, 4};
    constexpr std::array<uint32_t, 4> kLower = {0x3f3f3f3f, 0x0f0f0f0f, 0x3f3f3f3f, 0x0f0f0f0f};
    constexpr std::array<uint32_t, 4> kUpper = {0, 0x30303030, 0, 0x30303030};
    const Vec lower = xmm(to);
    const Vec upper = xmm(to + 1);
    a_.avx(op::pshufd, lower, mem(kWeights, block), 0xed);  // words 1 3 2 3
    a_.avx(op::vpsrlvd, lower, lower, a_.constant_of(kShifts));
    a_.avx(op::pand, lower, lower, a_.constant_of(kLower));
    a_.avx(op::pshufd, upper, mem(kWeights, block), 0x84);  // words 0 1 0 2
    a_.avx(op::psrld, upper, upper, 2);
    a_.avx(op::pand, upper, upper, a_.constant_of(kUpper));
    a_.avx(op::por, lower, lower, upper);
}

}  // namespace bareflow::compute::gemv_vector
