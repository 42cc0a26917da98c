// The vector generator: frame, loops, activations, and the way from totals to floats. The other two
// parts are vector_blocks.cpp and vector_super.cpp.
//
// The arithmetic of a row group, eight blocks of 32 columns:
//
//   Weights are unsigned bytes, weight + offset each. (AVX2 without VNNI multiplies signed bytes,
//   as |w| and sign(q, w).) A 128-bit lane has 16 weights of a block. Two vectors, those of the
//   columns 0-15 and 16-31, times activations laid out alike, give one vector of sums, four of each
//   block. Four such vectors are added up to one: S of one row group (256 bits) or of two (512
//   bits), where lane 4l + c is the sum of vector c, lane l. offset * X, in the same order, is
//   subtracted.
//
//   T = sum of M S, with the mantissas M in the same order, in 64-bit lanes. The totals of up to
//   eight row groups are transposed into one vector, become floats, and are added row by row, group
//   by group.
//
// Bounds where sums are packed to 16 bits (nibbles): four sums of 8 * 15 * 127 = 15,240, then two
// of 30,480, both below 2^15. With a fifth bit only the first fits, 8 * 31 * 127 = 31,496.
//
// A super-block is a row group, too. Q4_K and Q5_K: sums of four (15,748 at most) are packed to 16
// bits and multiplied by the scales of their parts. Minimums times X stand beside them. Both are
// added up over lanes for pairs of row groups, and are multiplied by their factors as doubles,
// exactly. Q6_K likewise: its sums of four are at most 32,004, and 32 times scale times X is
// subtracted.
//
// What must hold: nothing beside a row is read. Where the last group is short, its activations and
// sums are followed by zeros in the copy, so that the lanes of missing blocks add nothing.
#include "compute/codegen/vector_generator.h"
#include "compute/kernels/gemv.h"
#include "compute/kernels/instruction_set.h"
#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"
#include "compute/numbers/weight_formats.h"

namespace bareflow::compute::gemv_vector {

namespace {

// What the code adds to the facts: windows, and how stored weights become unsigned.
constexpr Format block_format(const WeightFormat &format, uint8_t window_blocks,
                              uint8_t offset_shift = 0) {
    return {.block_bytes = static_cast<uint8_t>(format.block_bytes),
            .header_bytes = format.low_at,
            .window_blocks = window_blocks,
            .offset_shift = offset_shift,
            .nibbles = format.low_bits == 4,
            .minimum = format.has_minimum(),
            .fifth = format.high_bits == 1,
            .table = format.stored == Stored::kTable};
}
constexpr Format super_format(const WeightFormat &format) {
    const uint32_t before = format.has_minimum() ? 0 : 2;
    return {.nibbles = format.low_bits == 4,
            .minimum = format.has_minimum(),
            .fifth = format.low_bits == 4 && format.high_bits == 1,
            .two_bits = format.low_bits == 2,
            .super_bytes = format.block_bytes,
            .factor_at = static_cast<uint16_t>(format.scale_at - before)};
}
constexpr Format kQ8_0Format = block_format(weight_format(TensorType::kQ8_0), 2, 7);
constexpr Format kQ4_0Format = block_format(weight_format(TensorType::kQ4_0), 4, 3);
constexpr Format kQ4_1Format = block_format(weight_format(TensorType::kQ4_1), 4);
constexpr Format kQ5_0Format = block_format(weight_format(TensorType::kQ5_0), 2, 4);
constexpr Format kQ5_1Format = block_format(weight_format(TensorType::kQ5_1), 2);
constexpr Format kIQ4_NLFormat = block_format(weight_format(TensorType::kIQ4_NL), 4, 7);
constexpr Format kQ2_KFormat = super_format(weight_format(TensorType::kQ2_K));
constexpr Format kQ3_KFormat = super_format(weight_format(TensorType::kQ3_K));
constexpr Format kQ4_KFormat = super_format(weight_format(TensorType::kQ4_K));
constexpr Format kQ5_KFormat = super_format(weight_format(TensorType::kQ5_K));
constexpr Format kQ6_KFormat = super_format(weight_format(TensorType::kQ6_K));

}  // namespace

const Format *format_of(TensorType type) {
    switch (type) {
        case TensorType::kQ8_0:
            return &kQ8_0Format;
        case TensorType::kQ4_0:
            return &kQ4_0Format;
        case TensorType::kQ4_1:
            return &kQ4_1Format;
        case TensorType::kQ5_0:
            return &kQ5_0Format;
        case TensorType::kQ5_1:
            return &kQ5_1Format;
        case TensorType::kIQ4_NL:
            return &kIQ4_NLFormat;
        case TensorType::kQ2_K:
            return &kQ2_KFormat;
        case TensorType::kQ3_K:
            return &kQ3_KFormat;
        case TensorType::kQ4_K:
            return &kQ4_KFormat;
        case TensorType::kQ5_K:
            return &kQ5_KFormat;
        case TensorType::kQ6_K:
            return &kQ6_KFormat;
        default:
            return nullptr;
    }
}

// The frame of the longest rows, eight together, and 64 bytes for its alignment. Workers have
// stacks of 32 KiB with an unmapped page below. Interrupts and exceptions have stacks of their own.
constexpr uint32_t kMostGroups = kMaxColumns / kGroupElements;
constexpr uint32_t kMostFrame =
    64 + kMostGroups * (kGroupElements + 64 + kMaxRowGroups * 4) + 64 + 64;
static_assert(kMostFrame + 64 <= 17 << 10);

Result<size_t> VectorGenerator::run() {
    prologue();
    rows_at_once(plan_.rows, plan_.unroll);
    if (plan_.rows > 1) {
        rows_at_once(1, 2);  // for ranges of fewer rows
    }
    a_.vzeroupper();
    a_.mov(Gp::kRsp, Gp::kRbp);
    for (size_t i = kSaved.size(); i != 0; --i) {
        a_.pop(kSaved[i - 1]);
    }
    a_.ret();
    return a_.finish();
}

int32_t VectorGenerator::sums_bytes(uint32_t groups, uint32_t rows) const {
    if (format_.super()) {
        return static_cast<int32_t>(groups) * super_sums_bytes();
    }
    return static_cast<int32_t>(wide_ && rows == 1 ? (groups + 1) / 2 * 64
                                                   : groups * (wide_ ? 64 : 32));
}

void VectorGenerator::prologue() {
    for (const Gp reg : kSaved) {
        a_.push(reg);
    }
    a_.mov(Gp::kRbp, Gp::kRsp);
    a_.alu(Alu::kSub, Gp::kRsp, frame_bytes());
    a_.alu(Alu::kAnd, Gp::kRsp, -64);
    a_.mov(kT, Gp::kRsi, Width::k32);
    a_.mov(kRowsLeft, Gp::kRdx, Width::k32);
    a_.sub(kRowsLeft, kT);
    a_.mov(kOut, mem(kArgs, field(offsetof(GemvArgs, y))));
    a_.lea(kOut, mem(kOut, kT, Scale::k4));
    a_.imul(kWeights, kT, static_cast<int32_t>(shape_.row_bytes));
    a_.add(kWeights, mem(kArgs, field(offsetof(GemvArgs, weights))));
    a_.avx(op::vpbroadcastd, v(kBits),
           a_.constant_of(format_.nibbles    ? 0x0f0f0f0fu
                          : format_.two_bits ? 0x03030303u
                                             : 0x80808080u));
    a_.avx(op::vpbroadcastd, v(kOnes), a_.constant_of(0x00010001u));
    if (wide_ && !format_.super()) {
        orders();
    } else if (wide_) {
        a_.avx(op::vpbroadcastb, v(kPairBits), a_.constant_of(pair_bits()));
    }
}

void VectorGenerator::orders() {
    for (unsigned minimum = 0; minimum <= (format_.minimum ? 1u : 0u); ++minimum) {
        std::array<uint16_t, 16> order{};
        for (unsigned lane = 0; lane < order.size(); ++lane) {
            const unsigned block = block_in_lane(lane) % format_.window_blocks;
            order[lane] = static_cast<uint16_t>(block * format_.block_bytes / 2 + minimum);
        }
        a_.avx(op::movups, ymm(kScaleOrder + minimum), a_.constant_of(order));
    }
    for (unsigned window = 1; window < kGroupBlocks / format_.window_blocks; ++window) {
        uint64_t lanes = 0;
        for (unsigned lane = 0; lane < 16; ++lane) {
            const bool in = block_in_lane(lane) / format_.window_blocks == window;
            lanes |= uint64_t{in} << lane;
        }
        set_mask(window, lanes);
    }
    set_mask(kSecondRowGroup, 0xcccc);
    const uint32_t window_bytes = format_.window_blocks * format_.block_bytes;
    if (window_bytes < 64) {
        set_mask(kWindowBytes, ~uint64_t{0} >> (64 - window_bytes));
    }
    if (format_.fifth) {
        for (uint32_t half = 0; half < 2; ++half) {
            a_.avx(op::vbroadcasti32x4, v(kFifthOrder + half),
                   a_.constant_of(fifth_order<16>(half)));
        }
        a_.avx(op::vpbroadcastq, v(kFifthBits), a_.constant_of(kOneBitEach));
        a_.avx(op::vpbroadcastb, v(kSixteens), a_.constant_of(uint8_t{16}));
    }
    const uint32_t tail_bytes = tail_blocks_ % format_.window_blocks * format_.block_bytes;
    if (tail_bytes != 0) {
        set_mask(kTailBytes, ~uint64_t{0} >> (64 - tail_bytes));
    }
}

void VectorGenerator::rows_at_once(uint32_t rows, uint32_t unroll) {
    rows_ = rows;
    const auto stride = static_cast<int32_t>(shape_.row_bytes);
    const auto count = static_cast<int32_t>(rows);
    const Label next = a_.new_label();
    const Label end = a_.new_label();
    a_.alu(Alu::kCmp, kRowsLeft, count);
    a_.jcc(Condition::kLess, end);
    copy_activation();
    if (rows == 1) {
        halve_rows();
    }
    a_.bind(next);
    point_to_copies();
    clear(kY);
    if (groups_ >= unroll) {
        repeat(groups_ / unroll, [&] { groups_in_line(unroll, 0); });
    }
    if (groups_ % unroll != 0 || tail_blocks_ != 0) {
        groups_in_line(groups_ % unroll, tail_blocks_);
    }
    store_rows();
    a_.alu(Alu::kSub, kRowsLeft, count);
    a_.add(kOut, 4 * count);
    const auto passed = static_cast<int32_t>(format_.row_bytes(shape_.cols));
    a_.add(kWeights, count * stride - passed);
    if (rows == 1) {
        change_streams();
    }
    a_.alu(Alu::kCmp, kRowsLeft, count);
    a_.jcc(Condition::kGreaterEqual, next);
    if (rows > 1) {
        a_.mov(kT, rows);
        a_.sub(kT, kRowsLeft);
        a_.alu(Alu::kCmp, kRowsLeft, 0);
        a_.jcc(Condition::kEqual, end);
        a_.mov(kRowsLeft, rows);
        a_.imul(kU, kT, stride);
        a_.sub(kWeights, kU);
        a_.shift(Shift::kShl, kT, 2);
        a_.sub(kOut, kT);
        a_.jmp(next);
    }
    a_.bind(end);
}

void VectorGenerator::halve_rows() {
    a_.lea(kT, mem(kRowsLeft, 1));
    a_.shift(Shift::kShr, kT, 1);
    a_.imul(kOtherWeights, kT, static_cast<int32_t>(shape_.row_bytes));
    a_.add(kOtherWeights, kWeights);
    a_.lea(kOtherOut, mem(kOut, kT, Scale::k4));
}

void VectorGenerator::change_streams() {
    const auto exchange = [&](Gp a, Gp b) {
        a_.mov(kT, a);
        a_.mov(a, b);
        a_.mov(b, kT);
    };
    exchange(kWeights, kOtherWeights);
    exchange(kOut, kOtherOut);
}

void VectorGenerator::point_to_copies() {
    a_.lea(kQ, mem(Gp::kRsp, kQAt));
    a_.lea(kSums, mem(Gp::kRsp, sums_at()));
    a_.lea(kScales, mem(Gp::kRsp, scales_at()));
}

void VectorGenerator::store_rows() {
    const Mem to = mem(kOut);
    switch (rows_) {
        case 8:
            return a_.avx(op::movups_store, to, ymm(kY));
        case 4:
            return a_.avx(op::movups_store, to, xmm(kY));
        case 2:
            return a_.avx(op::movq_store, to, xmm(kY));
        default:
            return a_.avx(op::movss_store, to, xmm(kY));
    }
}

void VectorGenerator::copy_activation() {
    const auto from = [](size_t offset) {
        return mem(kArgs, field(offsetof(GemvArgs, xq) + offset));
    };
    a_.mov(kT, from(offsetof(QuantizedActivation, q)));
    a_.mov(kU, from(offsetof(QuantizedActivation, block_sums)));
    a_.mov(kV, from(offsetof(QuantizedActivation, group_scales)));
    point_to_copies();
    const uint32_t step = wide_ && rows_ == 1 ? 2 : 1;
    repeat(groups_ / step, [&] {
        for (uint32_t i = 0; i < step; ++i) {
            copy_group(i, kGroupBlocks);
        }
        const auto times = static_cast<int32_t>(step);
        a_.add(kT, 256 * times);
        a_.add(kU, 32 * times);
        a_.add(kV, 4 * times);
        a_.add(kQ, 256 * times);
        a_.add(kSums, sums_bytes(step, rows_));
        a_.add(kScales, static_cast<int32_t>(4 * rows_) * times);
    });
    const uint32_t odd = groups_ % step;
    if (odd != 0) {
        copy_group(0, kGroupBlocks);
    }
    if (tail_blocks_ != 0) {
        copy_group(odd, tail_blocks_);
    }
    // Zeros follow the last scales.
    clear(kTemp);
    a_.avx(op::movups_store, scale_copy(odd + (tail_blocks_ != 0), 0), ymm(kTemp));
}

int32_t VectorGenerator::place_of(uint32_t b) const {
    if (format_.two_bits && wide_) {  // 64 bytes have the blocks 0 and 4, 1 and 5 ...
        return static_cast<int32_t>((b % 4 * 2 + b / 4) * 32);
    }
    if (has_part_minimums() && wide_) {  // 64 lower nibbles have two blocks: 0 and 2, 4 and 6
        return static_cast<int32_t>((b / 4 * 2 + b % 2) * 64 + b / 2 % 2 * 32);
    }
    return static_cast<int32_t>(b / lanes_) * 2 * bytes_ +
           static_cast<int32_t>(b % lanes_) * (natural_ ? 32 : 16);
}

void VectorGenerator::copy_group(uint32_t index, uint32_t blocks) {
    const auto group = static_cast<int32_t>(index);
    clear(kTemp + 1);
    for (uint32_t b = 0; b < kGroupBlocks; ++b) {
        const int32_t to = group * 256 + place_of(b);
        for (int32_t half = 0; half < 2; ++half) {
            const unsigned chunk = kTemp + (b < blocks ? 0 : 1);
            if (b < blocks) {
                a_.avx(op::movups, xmm(kTemp),
                       mem(kT, group * 256 + static_cast<int32_t>(b) * 32 + half * 16));
            }
            a_.avx(op::movups_store,
                   mem(kQ, to + half * (natural_ || format_.super() ? 16 : bytes_)), xmm(chunk));
        }
    }
    for (uint32_t b = 0; b < kGroupBlocks && !format_.super() && (has_offset_ || format_.minimum);
         ++b) {
        if (b < blocks) {
            a_.mov(kWord, mem(kU, group * 32 + static_cast<int32_t>(b) * 4), Width::k32);
            if (format_.offset_shift != 0) {
                a_.shift(Shift::kShl, kWord, format_.offset_shift, Width::k32);
            }
        } else {
            a_.mov(kWord, uint64_t{0});
        }
        const auto lane = static_cast<int32_t>(b % lanes_ * 4 + b / lanes_);
        const int32_t second = wide_ ? 8 : 0;
        a_.mov(mem(kSums, lane * 4 + group * second), kWord, Width::k32);
        if (wide_ && rows_ > 1) {
            a_.mov(mem(kSums, lane * 4 + second), kWord, Width::k32);
        }
    }
    if (has_part_minimums()) {  // sums of 32: 32 * 127 fits 16 bits
        a_.avx(op::movups, xmm(kTemp), mem(kU, group * 32));
        a_.avx(op::packssdw, xmm(kTemp), xmm(kTemp), mem(kU, group * 32 + 16));
        a_.avx(op::movups_store, mem(kSums, group * 16), xmm(kTemp));
    } else if (format_.super()) {
        sum_sixteens(group);
    }
    a_.mov(kWord, mem(kV, group * 4), Width::k32);
    for (uint32_t row = 0; row < rows_; ++row) {
        a_.mov(scale_copy(index, row), kWord, Width::k32);
    }
}

void VectorGenerator::sum_sixteens(int32_t group) {
    constexpr std::array<uint32_t, 4> kOneBytes = {0x01010101, 0x01010101, 0x01010101, 0x01010101};
    for (int32_t eight = 0; eight < 2; ++eight) {
        for (int32_t four = 0; four < 2; ++four) {
            for (int32_t i = 0; i < 4; ++i) {
                const Vec sum = xmm(kBlocks + static_cast<unsigned>(i));
                a_.avx(op::movups, sum, a_.constant_of(kOneBytes));
                a_.avx(op::pmaddubsw, sum, sum,
                       mem(kT, group * 256 + eight * 128 + four * 64 + i * 16));
                a_.avx(op::pmaddwd, sum, sum, xmm(kOnes));
            }
            const Vec to = xmm(kTemp + static_cast<unsigned>(four));
            a_.avx(op::phaddd, xmm(kBlocks), xmm(kBlocks), xmm(kBlocks + 1));
            a_.avx(op::phaddd, xmm(kBlocks + 2), xmm(kBlocks + 2), xmm(kBlocks + 3));
            a_.avx(op::phaddd, to, xmm(kBlocks), xmm(kBlocks + 2));
        }
        a_.avx(op::packssdw, xmm(kTemp), xmm(kTemp), xmm(kTemp + 1));
        a_.avx(op::movups_store, mem(kSums, group * 32 + eight * 16), xmm(kTemp));
    }
}

void VectorGenerator::groups_in_line(uint32_t whole, uint32_t blocks) {
    const uint32_t groups = whole + (blocks != 0);
    std::array<RowGroup, kMaxRowGroups> row_groups{};
    for (uint32_t i = 0; i < groups * rows_; ++i) {
        const uint32_t group = i / rows_;
        row_groups[i] = {static_cast<int32_t>(i % rows_ * shape_.row_bytes) +
                             static_cast<int32_t>(group) * group_bytes(),
                         static_cast<int32_t>(group * kGroupElements),
                         group < whole ? kGroupBlocks : blocks};
    }
    const uint32_t count = groups * rows_;
    const uint32_t at_once = wide_ ? 8 : 4;
    for (uint32_t first = 0; first < count; first += at_once) {
        if (format_.super()) {
            super_floats(std::span(row_groups).subspan(first, std::min(count - first, at_once)),
                         static_cast<int32_t>(first * 4));
            continue;
        }
        const uint32_t vectors = std::min(count - first, at_once) / (wide_ ? 2 : 1);
        const uint32_t odd = wide_ ? std::min(count - first, at_once) % 2 : 0;
        for (uint32_t i = 0; i < vectors + odd; ++i) {
            const uint32_t index = first + (wide_ ? 2 * i : i);
            const uint32_t sums = rows_ == 1 && wide_ ? index / 2 : index / rows_;
            total_of(kTotal + i, row_groups[index], wide_ ? row_groups[index + 1] : RowGroup{},
                     static_cast<int32_t>(sums) * bytes_);
        }
        floats_of(vectors + odd, static_cast<int32_t>(first * 4));
    }
    add_products(groups);
    a_.add(kWeights, static_cast<int32_t>(whole) * group_bytes() +
                         static_cast<int32_t>(blocks * format_.block_bytes));
    a_.add(kQ, static_cast<int32_t>(groups * kGroupElements));
    a_.add(kSums, sums_bytes(groups, rows_));
    a_.add(kScales, static_cast<int32_t>(groups * rows_ * 4));
}

void VectorGenerator::prefetch(const RowGroup &row_group) {
    if (plan_.ahead == 0 || row_group.blocks == 0) {
        return;
    }
    const int32_t bytes = row_group.blocks == kGroupBlocks
                              ? group_bytes()
                              : static_cast<int32_t>(row_group.blocks * format_.block_bytes);
    const int32_t start = row_group.q / 256 * group_bytes();  // within the row
    const int32_t first = (start + 63) / 64 * 64;
    for (int32_t at = first; at < start + bytes; at += static_cast<int32_t>(kLine)) {
        a_.prefetch(jit::Prefetch::kT0,
                    mem(kWeights, row_group.weights - start + at + plan_.ahead));
    }
}

void VectorGenerator::add_pairs(unsigned a, unsigned b, bool fits_16) {
    if (fits_16) {
        op3(op::packssdw, a, a, b);
        return op3(op::pmaddwd, a, a, kOnes);
    }
    op3(op::shufps, kTemp, a, b, 0x88);
    op3(op::shufps, a, a, b, 0xdd);
    op3(op::paddd, a, a, kTemp);
}

void VectorGenerator::factors(unsigned to, unsigned from, unsigned upper) {
    std::array<uint8_t, 32> order;
    for (unsigned i = 0; i < order.size(); ++i) {
        const unsigned byte = i % 16 < 8 ? i % 8 / 2 * 4 + i % 2 + 2 * upper : 0x80;
        order[i] = static_cast<uint8_t>(byte);
    }
    a_.avx(op::pshufb, ymm(to), ymm(from), a_.constant_of(order));
    a_.avx(op::vpermq, ymm(to), ymm(to), 0x08);
    a_.avx(op::vcvtph2ps, ymm(to), xmm(to));
    a_.avx(op::mulps, ymm(to), ymm(to), mantissa_factor());
}

void VectorGenerator::floats_of(uint32_t vectors, int32_t to) {
    std::array<unsigned, 4> t{};
    for (uint32_t i = 0; i < t.size(); ++i) {
        t[i] = kTotal + std::min(i, vectors - 1);  // missing ones: any register
    }
    if (wide_) {
        fold(kTemp, t[0], t[1]);
        fold(kTemp + 1, t[2], t[3]);
        fold(kTemp, kTemp, kTemp + 1);
        a_.avx(op::vcvtqq2ps, ymm(kProduct), zmm(kTemp));
        a_.avx(op::mulps, ymm(kProduct), ymm(kProduct), mem(kScales, to));
        return a_.avx(op::movups_store, mem(Gp::kRsp, to), ymm(kProduct));
    }
    const auto interleave = [&](unsigned into, unsigned a, unsigned b) {
        op3(op::punpcklqdq, kTemp + 2, a, b);
        op3(op::punpckhqdq, into, a, b);
        op3(op::paddq, into, into, kTemp + 2);
    };
    interleave(kTemp, t[0], t[1]);
    interleave(kTemp + 1, t[2], t[3]);
    op3(op::vperm2i128, kTemp + 2, kTemp, kTemp + 1, 0x20);
    op3(op::vperm2i128, kTemp, kTemp, kTemp + 1, 0x31);
    op3(op::paddq, kTemp, kTemp, kTemp + 2);
    // As doubles, exactly (compute/kernels/avx2/gemv_inl.h, to_f64).
    op2(op::psrlq, kTemp + 1, kTemp, 32);
    op_mem(op::pxor, kTemp + 1, kTemp + 1, everywhere(uint64_t{0x4530000080000000}));
    a_.avx(op::vpblendd, v(kTemp), v(kTemp), everywhere(uint64_t{0x4330000000000000}), 0xaa);
    op_mem(op::subpd, kTemp + 1, kTemp + 1, everywhere(uint64_t{0x4530000080100000}));
    op3(op::addpd, kTemp, kTemp, kTemp + 1);
    a_.avx(op::cvtpd2ps, xmm(kProduct), ymm(kTemp));
    a_.avx(op::mulps, xmm(kProduct), xmm(kProduct), mem(kScales, to));
    a_.avx(op::movups_store, mem(Gp::kRsp, to), xmm(kProduct));
}

void VectorGenerator::fold(unsigned to, unsigned a, unsigned b, const VectorOp &add) {
    op3(op::vshufi32x4, kTemp + 2, a, b, 0x88);
    op3(op::vshufi32x4, kTemp + 3, a, b, 0xdd);
    op3(add, to, kTemp + 2, kTemp + 3);
}

void VectorGenerator::add_products(uint32_t groups) {
    for (uint32_t group = 0; group < groups; ++group) {
        const Mem product = mem(Gp::kRsp, static_cast<int32_t>(group * rows_ * 4));
        if (rows_ == 1) {
            a_.avx(op::addss, xmm(kY), xmm(kY), product);
        } else if (rows_ == 2) {
            a_.avx(op::movq, xmm(kTemp), product);
            a_.avx(op::addps, xmm(kY), xmm(kY), xmm(kTemp));
        } else {
            const Vec y = rows_ == 8 ? ymm(kY) : xmm(kY);
            a_.avx(op::addps, y, y, product);
        }
    }
}

}  // namespace bareflow::compute::gemv_vector

namespace bareflow::compute {

using namespace gemv_vector;  // NOLINT: the generator itself

namespace {

constexpr bool is_power_up_to_8(uint32_t value) {
    return std::has_single_bit(value) && value <= 8;
}

}  // namespace

bool vector_fits(const GemvShape &shape, const GemvPlan &plan) {
    const Format *const format = format_of(shape.type);
    constexpr uint64_t kReach = uint64_t{1} << 30;
    // One row alone: two of its groups share a wide vector.
    const bool divides = plan.rows != 1 || plan.unroll != 1;
    return !plan.direct && shape.cols != 0 &&
           shape.cols % (format->super() ? kGroupElements : kBlockElements) == 0 &&
           shape.cols <= kMaxColumns && shape.row_bytes < kReach / kMaxRowGroups &&
           shape.row_bytes >= format->row_bytes(shape.cols) && is_power_up_to_8(plan.rows) &&
           is_power_up_to_8(plan.unroll) && divides &&
           uint32_t{plan.rows} * plan.unroll <= kMaxRowGroups;
}

size_t vector_code_room(const GemvPlan &plan) {
    constexpr size_t kRowGroupRoom = 1600;
    constexpr size_t kFrameRoom = 3072;
    const size_t row_groups = 2 * size_t{plan.rows} * plan.unroll + (plan.rows > 1 ? 4 : 0);
    return row_groups * kRowGroupRoom + kFrameRoom;
}

Result<size_t> generate_vector(const GemvShape &shape, const GemvPlan &plan, std::span<uint8_t> out,
                               jit::ConstantPool constants) {
    return VectorGenerator(shape, plan, out, constants).run();
}

}  // namespace bareflow::compute
