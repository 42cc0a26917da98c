// Units that are a super-block: Q4_K, Q5_K, Q6_K.
#include "llama/gemv_vector_generator.h"

namespace bareflow::llama::gemv_vector {

void VectorGenerator::super_floats(std::span<const Unit> units, int32_t to) {
    const auto count = static_cast<uint32_t>(units.size());
    const uint32_t pairs = (count + 1) / 2;
    for (uint32_t i = 0; i < pairs; ++i) {
        for (uint32_t second = 0; second < 2; ++second) {
            if (!format_.minimum || 2 * i + second >= count) {
                clear(kBlocks + 2 + second);
            }
            if (2 * i + second >= count) {
                clear(kBlocks + second);
            } else if (format_.minimum) {
                super_sums(units[2 * i + second], kBlocks + second, kBlocks + 2 + second);
            } else {
                super_sums_16(units[2 * i + second], kBlocks + second);
            }
        }
        add_pairs(kBlocks, kBlocks + 1);
        add_pairs(kBlocks + 2, kBlocks + 3);
        op3(op::shufps, kTemp, kBlocks, kBlocks + 2, 0x88);
        op3(op::shufps, kTotal + i, kBlocks, kBlocks + 2, 0xdd);
        op3(op::paddd, kTotal + i, kTotal + i, kTemp);
    }
    // In each lane now: scaled sums of two units, then those of their minimums.
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
    // Factors: d, and dmin above it, of all units.
    for (uint32_t i = 0; i < count; ++i) {
        const Mem from = mem(kWeights, units[i].weights + format_.factor_at);
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
    times_factors(kBlocks, format_.factor_at == 0 ? 0 : 1);
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

void VectorGenerator::super_sums(const Unit &unit, unsigned scaled, unsigned minimums) {
    prefetch(unit);
    constexpr unsigned kPartScales = kTemp;
    constexpr unsigned kLow = kTemp + 1;
    constexpr unsigned kHigh = kTemp + 2;
    constexpr unsigned kSpread = kTemp + 3;
    part_scales(kPartScales, unit.weights);
    a_.avx(op::psrldq, xmm(kLow), xmm(kPartScales), 8);
    a_.avx(op::pmovzxbw, xmm(kLow), xmm(kLow));
    a_.avx(op::pmaddwd, xmm(minimums), xmm(kLow), mem(kSums, unit.q / 256 * 16));
    if (wide_) {
        op3(op::vshufi32x4, kPartScales, kPartScales, kPartScales, 0);
    } else {
        op3(op::vperm2i128, kPartScales, kPartScales, kPartScales, 0);
    }
    for (int32_t at = 0; at < 128; at += bytes_) {
        const int32_t nibbles = format_.fifth ? 48 : 16;
        a_.avx(op::movups, v(kLow), mem(kWeights, unit.weights + nibbles + at));
        op2(op::psrlw, kHigh, kLow, 4);
        bits(kLow, kLow);
        bits(kHigh, kHigh);
        if (format_.fifth) {
            // Bit p of byte j belongs to part p, column j.
            part_bits(kSpread, unit.weights + 16, static_cast<uint32_t>(at) / 16);
            op2(op::psrlw, kProduct, kSpread, 1);
            add_pair_bits(kLow, kSpread);
            add_pair_bits(kHigh, kProduct);
        }
        const Mem q = mem(kQ, unit.q + 2 * at);
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

void VectorGenerator::super_sums_16(const Unit &unit, unsigned scaled) {
    prefetch(unit);
    constexpr unsigned kScaleBytes = kTemp;
    constexpr unsigned kLow = kTemp + 1;
    constexpr unsigned kHigh = kTemp + 2;
    constexpr unsigned kPairs = kTemp + 3;  // of bits, above the nibbles
    const Mem scales = mem(kWeights, unit.weights + 192);
    a_.avx(op::pmovsxbw, ymm(scaled), scales);
    a_.avx(op::pmaddwd, ymm(scaled), ymm(scaled), mem(kSums, unit.q / 256 * 32));
    a_.avx(op::pslld, ymm(scaled), ymm(scaled), 5);
    clear(kProduct);
    op3(op::psubd, scaled, kProduct, scaled);
    a_.avx(wide_ ? op::vbroadcasti32x4 : op::vbroadcasti128, v(kScaleBytes), scales);
    for (int32_t at = 0; at < 128; at += bytes_) {
        const int32_t half_at = at / 64 * 64;
        const Mem pairs = mem(kWeights, unit.weights + 128 + half_at / 2);
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
        a_.avx(op::movups, v(kLow), mem(kWeights, unit.weights + at));
        op2(op::psrlw, kHigh, kLow, 4);
        bits(kLow, kLow);
        bits(kHigh, kHigh);
        op2(op::psllw, kProduct, kPairs, 4);
        add_pair_bits(kLow, kProduct);
        add_pair_bits(kHigh, kPairs);
        const int32_t columns = unit.q + 2 * half_at + (at - half_at);
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
        // On to the scales of 8 and 12; AVX2 has 2 and 6, 8 and 12, 10 and 14 ahead of it.
        const unsigned passed = wide_ ? 8 : at == half_at ? 2 : 6;
        a_.avx(op::psrldq, v(kScaleBytes), v(kScaleBytes), passed);
    }
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
        order[i] = static_cast<uint8_t>(i % 2 == 0 ? 0x80 : first + i / 16);
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

}  // namespace bareflow::llama::gemv_vector
