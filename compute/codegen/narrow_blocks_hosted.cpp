// The narrow generator for block types. Bare metal does not have it: in emulators SWAR multiplies
// blocks four to nine times faster than 128-bit vectors (docs/decisions/0004-generated-code.md).
//
// The arithmetic, for four rows side by side:
//
//   32 columns of a row are two vectors of 16 bytes w, decoded as the type's `Format` says. Each
//   vector times its activations gives eight sums of 16 bits. SSE2 widens even and odd bytes and
//   multiplies with `pmullw`, which an emulator runs without calling a function. SSSE3 multiplies
//   with `pmaddubsw`, of |w| and sign(q, w) where weights have a sign. `pmaddwd` with ones, or with
//   the part's scale, turns them into four sums of 32 bits, which are added up for a block or
//   super-block.
//
//   The sums of the four rows are transposed: S of each row lies in a lane. Block scales are read
//   into lanes, too: an f16 shifted into the place of an f32 is M * 2^-136 exactly, denormals
//   included. Products and their sum T are exact as doubles (contract, "Bounds"), and become a
//   float once per group.
//
// Bounds of the 16-bit sums, all below 2^15:
// Q8_0 and IQ4_NL add two products, at most 2 * 128 * 127 = 32,512.
// The five-bit types add four products, at most 4 * 31 * 127 = 15,748.
// Q6_K adds two products, where |w| is at most 32.
#include "compute/codegen/narrow.h"

#include <array>

#include "compute/codegen/narrow_generator.h"
#include "compute/kernels/gemv.h"
#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"
#include "compute/numbers/weight_blocks.h"
#include "compute/numbers/weight_formats.h"

namespace bareflow::compute::gemv_narrow {
namespace {

constexpr uint32_t kSuperParts = kGroupElements / kBlockElements;

// What the code adds to the facts: whether decoded weights have a sign, and whether a part is
// multiplied as 32 columns or as 16.
constexpr Format narrow_format(const WeightFormat &format, bool has_sign, bool whole) {
    const bool minimum = format.has_minimum();
    const uint32_t high_mask = format.most() & ~((1u << format.low_bits) - 1);
    return {.type = format.type,
            .block_bytes = static_cast<uint8_t>(format.block_bytes),
            .factor_at = format.scale_at,
            .minimum_at = static_cast<uint8_t>(minimum ? format.minimum_at() : 0),
            .weights_at = format.low_at,
            .low_bits = format.low_bits,
            .high_at = format.high_at,
            .high_mask = static_cast<uint8_t>(high_mask),
            .offset = format.offset,
            .has_sign = has_sign,
            .whole = whole,
            .scales = format.part_scales,
            .scales_at = format.part_scales_at};
}
constexpr Format kFormats[] = {
    narrow_format(weight_format(TensorType::kQ8_0), true, false),
    narrow_format(weight_format(TensorType::kQ4_0), false, true),
    narrow_format(weight_format(TensorType::kQ4_1), false, true),
    narrow_format(weight_format(TensorType::kQ5_0), false, true),
    narrow_format(weight_format(TensorType::kQ5_1), false, true),
    narrow_format(weight_format(TensorType::kIQ4_NL), true, false),
    narrow_format(weight_format(TensorType::kQ2_K), false, false),
    narrow_format(weight_format(TensorType::kQ3_K), true, false),
    narrow_format(weight_format(TensorType::kQ4_K), false, true),
    narrow_format(weight_format(TensorType::kQ5_K), false, true),
    narrow_format(weight_format(TensorType::kQ6_K), true, false),
};

// Scales 0-3 and 4-7, then minimums 0-3 and 4-7.
constexpr ScaleWord kSixBitWords[] = {{0, 0, 0x3f, 0, 0, false},
                                      {2, 0, 0x0f, 0, 2, true},
                                      {1, 0, 0x3f, 0, 0, false},
                                      {2, 4, 0x0f, 1, 2, true}};
constexpr ScaleWord kSignedWords[] = {{0, 0, 0x0f, 2, -4, true},
                                      {1, 0, 0x0f, 2, -2, true},
                                      {0, 4, 0x0f, 2, 0, true},
                                      {1, 4, 0x0f, 2, 2, true}};

}  // namespace

const Format *format_of(TensorType type) {
    for (const Format &format : kFormats) {
        if (format.type == type) {
            return &format;
        }
    }
    return nullptr;
}

void NarrowBlocks::four_rows() {
    const auto activation = [](size_t offset) {
        return mem(kArgs, field(offsetof(GemvArgs, xq) + offset));
    };
    a_.mov(kX, activation(offsetof(QuantizedActivation, q)));
    a_.mov(kSums, activation(offsetof(QuantizedActivation, block_sums)));
    a_.mov(kGroupScale, activation(offsetof(QuantizedActivation, group_scales)));
    repeat(kGroups, shape_.cols / kGroupElements, [&] { group(kSuperParts); });
    const uint32_t tail_blocks = shape_.cols % kGroupElements / kBlockElements;
    if (tail_blocks != 0) {
        group(tail_blocks);
    }
}

void NarrowBlocks::group(uint32_t blocks) {
    if (format_->super()) {
        super_block();
        add_total(kTemp + 2);
    } else {
        zero(kTotal);
        zero(kTotal + 1);
        const uint32_t unroll = plan_.unroll;
        repeat(kBlocks, blocks / unroll, [&] { blocks_in_line(unroll); });
        blocks_in_line(blocks % unroll);
        add_total(kTotal);
    }
    a_.add(kGroupScale, 4);
}

void NarrowBlocks::add_total(unsigned total) {
    for (unsigned half = total; half < total + 2; ++half) {
        v(op::mulpd, half, everywhere(0x1p136));
        v(op::cvtpd2ps, half, half);
    }
    v(op::movlhps, total, total + 1);
    v(op::movss, kTemp, mem(kGroupScale));
    v(op::pshufd, kTemp, kTemp, 0);
    v(op::mulps, total, kTemp);
    v(op::addps, total, mem(Gp::kRsp, kYAt));
    store(kYAt, total);
}

void NarrowBlocks::blocks_in_line(uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) {
        ahead_ = i * format_->block_bytes;
        prefetch(format_->block_bytes);
        columns(0, static_cast<int32_t>(i * kBlockElements));
        transpose(kSum, 1, op::paddd);
        const Mem sum = mem(kSums, static_cast<int32_t>(4 * i));
        if (format_->offset != 0 || format_->minimum_at != 0) {
            v(op::movd_from, kSum + 1, sum);
            v(op::pshufd, kSum + 1, kSum + 1, 0);
        }
        if (format_->offset != 0) {
            shift(op::pslld, kSum + 1, static_cast<unsigned>(__builtin_ctz(format_->offset)));
            v(op::psubd, kSum, kSum + 1);
        }
        times_factors(kSum, format_->factor_at, kTemp + 2);
        v(op::addpd, kTotal, kTemp + 2);
        v(op::addpd, kTotal + 1, kTemp + 3);
        if (format_->minimum_at != 0) {
            times_factors(kSum + 1, format_->minimum_at, kOther);
            v(op::addpd, kTotal, kOther);
            v(op::addpd, kTotal + 1, kOther + 1);
        }
    }
    ahead_ = 0;
    if (count != 0) {
        a_.add(kAt, static_cast<int32_t>(count * format_->block_bytes));
        a_.add(kX, static_cast<int32_t>(count * kBlockElements));
        a_.add(kSums, static_cast<int32_t>(4 * count));
    }
}

void NarrowBlocks::times_factors(unsigned sums, uint32_t at, unsigned to) {
    zero(kTemp);
    for (uint32_t row = 0; row < kRows; ++row) {
        v(op::pinsrw, kTemp, weight(row, at), 2 * row + 1);
    }
    shift(op::psrad, kTemp, 3);
    v(op::pand, kTemp, everywhere(0x8fffe000u));
    for (unsigned half = 0; half < 2; ++half) {
        if (half != 0) {
            v(op::pshufd, kTemp, kTemp, 0xee);
            v(op::pshufd, sums, sums, 0xee);
        }
        v(op::cvtps2pd, kTemp + 1, kTemp);
        v(op::cvtdq2pd, to + half, sums);
        v(op::mulpd, to + half, kTemp + 1);
    }
}

void NarrowBlocks::super_block() {
    prefetch(format_->block_bytes);
    for (uint32_t row = 0; row < kRows; ++row) {
        part_scales(row, kScalesAt + static_cast<int32_t>(row) * kScalesBytes);
    }
    for (uint32_t part = 0; part < kSuperParts; ++part) {
        columns(part, static_cast<int32_t>(part * kBlockElements));
    }
    transpose(kSum, 1, op::paddd);
    times_factors(kSum, format_->factor_at, kTemp + 2);
    if (format_->minimum_at != 0) {
        transpose(kMinimum, 1, op::paddd);
        times_factors(kMinimum, format_->minimum_at, kOther);
        v(op::subpd, kTemp + 2, kOther);
        v(op::subpd, kTemp + 3, kOther + 1);
    }
    a_.add(kAt, format_->block_bytes);
    a_.add(kX, static_cast<int32_t>(kGroupElements));
}

void NarrowBlocks::part_scales(uint32_t row, int32_t to) {
    constexpr int32_t kMinimums = kScalesBytes / 2;
    const Scales scales = format_->scales;
    if (scales == Scales::kBytes || scales == Scales::kNibbles) {
        v(op::movdqu, kTemp, weight(row, format_->scales_at));
    } else {
        scale_words(row, scales == Scales::kSixBits ? kSixBitWords : kSignedWords);
        v(op::movdqa, kTemp, mem(Gp::kRsp, kWordsAt));
    }
    if (scales == Scales::kSigned6Bits) {
        v(op::psubb, kTemp, everywhere(uint8_t{32}));
    }
    if (scales == Scales::kNibbles) {
        v(op::movdqa, kTemp + 2, kTemp);
        shift(op::psrlw, kTemp + 2, 4);
        v(op::pand, kTemp, everywhere(uint8_t{15}));
        v(op::pand, kTemp + 2, everywhere(uint8_t{15}));
        widen(kTemp + 2, to + kMinimums, to + kMinimums + 16);
    }
    widen(kTemp, to, scales == Scales::kSixBits ? to + kMinimums : to + 16);
}

void NarrowBlocks::widen(unsigned from, int32_t low, int32_t high) {
    const VectorOp &down = format_->has_sign ? op::psraw : op::psrlw;
    v(op::movdqa, kTemp + 1, from);
    v(op::punpcklbw, from, from);
    v(op::punpckhbw, kTemp + 1, kTemp + 1);
    shift(down, from, 8);
    shift(down, kTemp + 1, 8);
    store(low, from);
    store(high, kTemp + 1);
}

void NarrowBlocks::scale_words(uint32_t row, std::span<const ScaleWord, 4> words) {
    int32_t to = kWordsAt;
    const auto load = [&](Gp into, uint32_t word, int shift, uint32_t mask) {
        a_.mov(into, weight(row, format_->scales_at + 4 * word), Width::k32);
        if (shift != 0) {
            a_.shift(shift < 0 ? Shift::kShl : Shift::kShr, into,
                     static_cast<unsigned>(shift < 0 ? -shift : shift), Width::k32);
        }
        a_.alu(Alu::kAnd, into, static_cast<int32_t>(mask * 0x01010101), Width::k32);
    };
    for (const ScaleWord &word : words) {
        load(kT, word.low, word.shift, word.mask);
        if (word.two) {
            load(kBlocks, word.high, word.high_shift, 0x30);
            a_.alu(Alu::kOr, kT, kBlocks, Width::k32);
        }
        a_.mov(mem(Gp::kRsp, to), kT, Width::k32);
        to += 4;
    }
}

void NarrowBlocks::columns(uint32_t part, int32_t x) {
    const bool minimums = format_->super() && format_->minimum_at != 0;
    for (unsigned half = 0; half < 2; ++half) {
        const unsigned q = 2 * half;
        v(op::movdqu, q, mem(kX, x + static_cast<int32_t>(16 * half)));
        if (!bytes_) {
            v(op::movdqa, q + 1, q);
            shift(op::psllw, q, 8);
            shift(op::psraw, q, 8);
            shift(op::psraw, q + 1, 8);
        }
        if (!minimums) {
            continue;
        }
        const unsigned sum = kTemp + half;
        if (bytes_) {
            v(op::movdqa, sum, everywhere(uint8_t{1}));
            v(op::pmaddubsw, sum, q);
        } else {
            v(op::movdqa, sum, q);
            v(op::paddw, sum, q + 1);
        }
        if (format_->whole && half != 0) {
            v(op::paddw, sum, kTemp);
        }
        store(kPartSumsAt + static_cast<int32_t>(16 * half), sum);
    }
    for (uint32_t row = 0; row < kRows; ++row) {
        for (unsigned half = 0; half < 2; ++half) {
            const unsigned sums = kTemp + 2 * half;
            half_sums(row, part, half, sums);
            if (half != 0 && format_->whole) {
                v(op::paddw, sums, kTemp);
            } else if (half == 0 && format_->whole) {
                continue;
            }
            const uint32_t index = format_->whole ? part : 2 * part + half;
            const bool first = part == 0 && (format_->whole || half == 0);
            if (format_->super()) {
                part_scale(row, index, 0);
                v(op::pmaddwd, sums, kTemp + 1);
            } else {
                v(op::pmaddwd, sums, everywhere(uint16_t{1}));
            }
            v(first ? op::movdqa : op::paddd, kSum + row, sums);
            if (minimums) {
                part_scale(row, index, kScalesBytes / 2);
                v(op::pmaddwd, kTemp + 1,
                  mem(Gp::kRsp, kPartSumsAt + static_cast<int32_t>(16 * half)));
                v(first ? op::movdqa : op::paddd, kMinimum + row, kTemp + 1);
            }
        }
    }
}

void NarrowBlocks::part_scale(uint32_t row, uint32_t index, int32_t from) {
    const bool low = index % 8 < 4;
    v(low ? op::pshuflw : op::pshufhw, kTemp + 1,
      mem(Gp::kRsp, kScalesAt + static_cast<int32_t>(row) * kScalesBytes + from +
                        static_cast<int32_t>(index / 8 * 16)),
      index % 4 * 0x55);
    v(op::pshufd, kTemp + 1, kTemp + 1, low ? 0x00 : 0xff);
}

void NarrowBlocks::half_sums(uint32_t row, uint32_t part, unsigned half, unsigned to) {
    const unsigned other = to + 1;
    decode(row, part, half, to);
    if (bytes_) {
        if (format_->has_sign) {
            v(op::movdqa, other, 2 * half);
            v(op::psignb, other, to);
            v(op::pabsb, to, to);
            return v(op::pmaddubsw, to, other);
        }
        return v(op::pmaddubsw, to, 2 * half);
    }
    v(op::movdqa, other, to);
    if (format_->has_sign) {
        shift(op::psllw, to, 8);
        shift(op::psraw, to, 8);
        shift(op::psraw, other, 8);
    } else {
        v(op::pand, to, everywhere(uint16_t{0xff}));
        shift(op::psrlw, other, 8);
    }
    v(op::pmullw, to, 2 * half);
    v(op::pmullw, other, 2 * half + 1);
    v(op::paddw, to, other);
}

void NarrowBlocks::decode(uint32_t row, uint32_t part, unsigned half, unsigned to) {
    const unsigned high = to + 1;
    uint32_t at = format_->weights_at;
    uint32_t down = 0;
    if (format_->super()) {
        const uint32_t fields = 8 / format_->low_bits;
        at += part / fields * 32 + 16 * half;
        down = part % fields * format_->low_bits;
        if (format_->type == TensorType::kQ6_K) {
            at = part / 4 * 64 + part % 2 * 32 + 16 * half;
            down = part / 2 % 2 * 4;
        }
    } else if (format_->low_bits == 8) {
        at += 16 * half;
    } else {
        down = 4 * half;
    }
    v(op::movdqu, to, weight(row, at));
    shift(op::psrlw, to, down);
    if (format_->low_bits != 8) {
        const uint32_t mask = (1u << format_->low_bits) - 1;
        v(op::pand, to, everywhere(static_cast<uint8_t>(mask)));
    }
    if (format_->type == TensorType::kIQ4_NL) {
        v(op::movdqa, high, to);
        v(op::movdqa, to, a_.constant_of(kNonLinear));
        v(op::pshufb, to, high);
    }
    if (format_->high_mask != 0) {
        format_->super() ? high_fields(row, part, half, high) : high_bits(row, half, high);
        v(op::pand, high, everywhere(format_->high_mask));
        v(op::por, to, high);
    }
    if (format_->has_sign && format_->offset != 0) {
        v(op::psubb, to, everywhere(format_->offset));
    }
}

void NarrowBlocks::high_fields(uint32_t row, uint32_t part, unsigned half, unsigned to) {
    const auto bits = static_cast<uint32_t>(__builtin_popcount(format_->high_mask));
    const auto place = static_cast<uint32_t>(__builtin_ctz(format_->high_mask));
    const uint32_t fields = 8 / bits;
    const uint32_t down = part % fields * bits;
    v(op::movdqu, to, weight(row, format_->high_at + part / fields * 32 + 16 * half));
    shift(op::psrlw, to, down > place ? down - place : 0);
    shift(op::psllw, to, down < place ? place - down : 0);
}

void NarrowBlocks::high_bits(uint32_t row, unsigned half, unsigned to) {
    constexpr uint64_t kBitOfByte = 0x8040201008040201;
    v(op::movd_from, to, weight(row, format_->high_at));
    v(op::punpcklbw, to, to);
    v(op::pshuflw, to, to, half == 0 ? 0x50 : 0xfa);
    v(op::pshufd, to, to, 0x50);  // each of two bytes eight times
    v(op::pand, to, everywhere(kBitOfByte));
    v(op::pcmpeqb, to, everywhere(kBitOfByte));
}

}  // namespace bareflow::compute::gemv_narrow

namespace bareflow::compute {

Result<size_t> generate_narrow_blocks(const GemvShape &shape, const GemvPlan &plan,
                                      std::span<uint8_t> out, jit::ConstantPool constants) {
    return gemv_narrow::NarrowBlocks(shape, plan, out, constants).run();
}

}  // namespace bareflow::compute
