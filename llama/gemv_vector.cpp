// The arithmetic, for a unit of 256 columns of one row (eight blocks of 32):
//
//   weights as unsigned bytes, weight + offset each (AVX2 without VNNI has a signed multiplication
//   of bytes, made of |w| and sign(q, w)), 16 of a block in a 128-bit lane: two vectors, those of
//   the columns 0-15 and 16-31, times activations laid out alike, are one vector of sums, four of
//   each block. Four such vectors are added up to one: S of one unit (256 bits) or of two (512
//   bits), lane 4l + c = the sum of vector c, lane l. Off go offset * X in the same order.
//
//   T = sum of M S, the mantissas M in the same order, in 64-bit lanes; the totals of up to eight
//   units are transposed into one vector, become floats, and are added row by row, group by group.
//
// Bounds where sums are packed to 16 bits (nibbles): four sums of 8 * 15 * 127 = 15,240, then two
// of 30,480, both below 2^15.
//
// A super-block of Q4_K is a unit, too: sums of four (7,620 at most) are packed to 16 bits and
// multiplied by the scales of their parts; minimums times X stand beside them. Both are added up
// over lanes for pairs of units, and meet their factors as doubles, exactly. Q6_K likewise, its
// sums of four at most 32,004; 32 times scale times X is taken off.
//
// Nothing beside a row is read: where the last group is short, its activations and sums are
// followed by zeros in the copy, so that what stands in the lanes of missing blocks has no say.
#include "llama/gemv_vector.h"

#include <algorithm>
#include <array>
#include <bit>

#include "kernel_lib/platform/platform.h"

namespace bareflow::llama {
namespace {

using jit::Alu;
using jit::Assembler;
using jit::Condition;
using jit::Gp;
using jit::Label;
using jit::Mem;
using jit::mem;
using jit::Scale;
using jit::Shift;
using jit::Vec;
using jit::VectorOp;
using jit::Width;
using jit::xmm;
using jit::ymm;
using jit::zmm;
namespace op = jit::op;

constexpr uint32_t kGroupBlocks = kGroupElements / kBlockElements;
constexpr uint32_t kMaxUnits = 8;        // multiplied before they are added up
constexpr uint32_t kMaxColumns = 12288;  // their copy lies on the stack
constexpr uint32_t kLine = 64;

struct Format {
    uint8_t block_bytes;
    uint8_t header_bytes;
    uint8_t window_blocks;  // whose scales lie within 64 bytes
    uint8_t offset_shift;   // weight + 2^shift is not negative; 0: it isn't anyway
    bool nibbles;
    bool minimum;  // behind the scale
    // Super-blocks: their length, and where the f16 is (with dmin, or what stands before it).
    uint16_t super_bytes;
    uint16_t factor_at;

    [[nodiscard]] constexpr bool super() const { return super_bytes != 0; }
    [[nodiscard]] constexpr uint32_t group_bytes() const {
        return super() ? super_bytes : kGroupBlocks * block_bytes;
    }
    [[nodiscard]] constexpr uint64_t row_bytes(uint32_t cols) const {
        return uint64_t{cols} / kGroupElements * group_bytes() +
               cols % kGroupElements / kBlockElements * block_bytes;
    }
};
constexpr Format kQ8_0Format = {kQ8_0BlockBytes, 2, 2, 7, false, false, 0, 0};
constexpr Format kQ4_0Format = {kQ4_0BlockBytes, 2, 4, 3, true, false, 0, 0};
constexpr Format kQ4_1Format = {kQ4_1BlockBytes, 4, 4, 0, true, true, 0, 0};
constexpr Format kQ4_KFormat = {0, 0, 0, 0, true, true, 144, 0};
constexpr Format kQ6_KFormat = {0, 0, 0, 0, true, false, 210, 206};

const Format *format_of(TensorType type) {
    switch (type) {
        case TensorType::kQ8_0:
            return &kQ8_0Format;
        case TensorType::kQ4_0:
            return &kQ4_0Format;
        case TensorType::kQ4_1:
            return &kQ4_1Format;
        case TensorType::kQ4_K:
            return &kQ4_KFormat;
        case TensorType::kQ6_K:
            return &kQ6_KFormat;
        default:
            return nullptr;
    }
}

// General registers.
constexpr Gp kArgs = Gp::kRdi;
constexpr Gp kWeights = Gp::kRsi;  // row 0's next group
constexpr Gp kQ = Gp::kRdx;        // the next group's activations, sums, scales: copies
constexpr Gp kSums = Gp::kRcx;
constexpr Gp kScales = Gp::kR8;
constexpr Gp kRowsLeft = Gp::kR9;
constexpr Gp kOut = Gp::kR10;
constexpr Gp kT = Gp::kRax;
constexpr Gp kU = Gp::kR11;
constexpr Gp kV = Gp::kRbx;
constexpr Gp kCount = Gp::kR12;
constexpr Gp kWord = Gp::kR13;
constexpr std::array<Gp, 4> kSaved = {Gp::kRbp, Gp::kRbx, Gp::kR12, Gp::kR13};

// Vector registers, by number.
constexpr unsigned kY = 0;
constexpr unsigned kProduct = 1;
constexpr unsigned kTotal = 2;        // four
constexpr unsigned kBlocks = 6;       // four
constexpr unsigned kTemp = 10;        // four
constexpr unsigned kBits = 14;        // 0x0f or 0x80 in every byte
constexpr unsigned kOnes = 15;        // in 16 bits each
constexpr unsigned kPairBits = 18;    // 0x30 in every byte
constexpr unsigned kScaleOrder = 16;  // and that of minimums
// Mask registers: lanes of the blocks in window 1, 2, 3, of the second unit; bytes of the last
// window of a short group.
constexpr unsigned kSecondUnit = 4;
constexpr unsigned kTailBytes = 5;

// One row's 256 columns, or fewer.
struct Unit {
    int32_t weights;  // from kWeights
    int32_t q;        // from kQ
    uint32_t blocks;  // 0: there is no unit
};

class Generator {
  public:
    Generator(const GemvShape &shape, const GemvPlan &plan, std::span<uint8_t> out,
              jit::ConstantPool constants)
        : shape_(shape),
          plan_(plan),
          format_(*format_of(shape.type)),
          wide_(plan.set == InstructionSet::kAvx512),
          vnni_(plan.set != InstructionSet::kAvx2),
          natural_(format_.super() ? !wide_ || !format_.minimum : !vnni_ && !format_.nibbles),
          has_offset_(format_.offset_shift != 0 && (vnni_ || format_.nibbles)),
          lanes_(wide_ ? 4 : 2),
          bytes_(16 * static_cast<int32_t>(lanes_)),
          groups_(shape.cols / kGroupElements),
          tail_blocks_(shape.cols % kGroupElements / kBlockElements),
          a_(out, constants) {}

    Result<size_t> run() {
        prologue();
        rows_at_once(plan_.rows, plan_.unroll);
        if (plan_.rows > 1) {
            rows_at_once(1, 2);  // of a range that is shorter
        }
        a_.vzeroupper();
        a_.mov(Gp::kRsp, Gp::kRbp);
        for (size_t i = kSaved.size(); i != 0; --i) {
            a_.pop(kSaved[i - 1]);
        }
        a_.ret();
        return a_.finish();
    }

  private:
    // A vector of the plan's length.
    [[nodiscard]] Vec v(unsigned number) const {
        return {static_cast<uint8_t>(number), static_cast<uint8_t>(wide_ ? 2 : 1)};
    }
    void op3(const VectorOp &what, unsigned to, unsigned a, unsigned b, unsigned value = 0) {
        a_.avx(what, v(to), v(a), v(b), value);
    }
    void op2(const VectorOp &what, unsigned to, unsigned from, unsigned value = 0) {
        a_.avx(what, v(to), v(from), value);
    }
    void op_mem(const VectorOp &what, unsigned to, unsigned a, const Mem &b) {
        a_.avx(what, v(to), v(a), b);
    }
    void clear(unsigned number) { a_.avx(op::pxor, xmm(number), xmm(number), xmm(number)); }
    void bits(unsigned to, unsigned a) {
        op3(format_.nibbles ? (wide_ ? op::vpandd : op::pand) : (wide_ ? op::vpxord : op::pxor), to,
            a, kBits);
    }
    // `value` in every 32-bit lane, for vectors that are multiplied from memory.
    template <typename T>
    Mem everywhere(T value) {
        std::array<T, 32 / sizeof(T)> all;
        all.fill(value);
        return a_.constant_of(all);
    }

    // ------------------------------------------------------------------ frame

    [[nodiscard]] uint32_t all_groups() const { return groups_ + (tail_blocks_ != 0); }
    [[nodiscard]] int32_t group_bytes() const {
        return static_cast<int32_t>(format_.group_bytes());
    }
    // Of a group's sums; two groups share a wide vector when rows come one by one.
    [[nodiscard]] int32_t sums_bytes(uint32_t groups, uint32_t rows) const {
        if (format_.super()) {
            return static_cast<int32_t>(groups) * super_sums_bytes();
        }
        return static_cast<int32_t>(wide_ && rows == 1 ? (groups + 1) / 2 * 64
                                                       : groups * (wide_ ? 64 : 32));
    }
    // 16 bits of each part.
    [[nodiscard]] int32_t super_sums_bytes() const { return format_.minimum ? 16 : 32; }
    // Where things are from rsp: room for one vector of products, then copies.
    static constexpr int32_t kQAt = 64;
    [[nodiscard]] int32_t sums_at() const {
        return kQAt + static_cast<int32_t>(all_groups() * kGroupElements);
    }
    [[nodiscard]] int32_t scales_at() const {
        return sums_at() + static_cast<int32_t>(all_groups() * 64);
    }
    [[nodiscard]] int32_t frame_bytes() const {
        return scales_at() + static_cast<int32_t>(all_groups() * plan_.rows * 4 + 64 + 64);
    }
    static int32_t field(size_t offset) { return static_cast<int32_t>(offset); }

    // rdi: GemvArgs, esi: first row, edx: end.
    void prologue() {
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
               a_.constant_of(format_.nibbles ? 0x0f0f0f0fu : 0x80808080u));
        a_.avx(op::vpbroadcastd, v(kOnes), a_.constant_of(0x00010001u));
        if (wide_ && !format_.super()) {
            orders();
        } else if (wide_) {
            a_.avx(op::vpbroadcastd, v(kPairBits), a_.constant_of(0x30303030u));
        }
    }

    // Where the mantissas' halves are in a window, and which lanes each window fills.
    void orders() {
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
        set_mask(kSecondUnit, 0xcccc);
        const uint32_t rest = tail_blocks_ % format_.window_blocks * format_.block_bytes;
        if (rest != 0) {
            set_mask(kTailBytes, ~uint64_t{0} >> (64 - rest));
        }
    }
    static unsigned block_in_lane(unsigned lane) { return lane / 4 + lane % 2 * 4; }
    void set_mask(unsigned number, uint64_t value) {
        a_.mov(kT, value);
        a_.avx(op::kmovq_from, jit::mask(number), jit::general(kT));
    }

    // ------------------------------------------------------------------ rows

    // As long as there are `rows` rows left. Of a range that doesn't divide, the last rows are
    // computed twice.
    void rows_at_once(uint32_t rows, uint32_t unroll) {
        rows_ = rows;
        const auto stride = static_cast<int32_t>(shape_.row_bytes);
        const auto count = static_cast<int32_t>(rows);
        const Label next = a_.new_label();
        const Label end = a_.new_label();
        a_.alu(Alu::kCmp, kRowsLeft, count);
        a_.jcc(Condition::kLess, end);
        copy_activation();
        a_.bind(next);
        point_to_copies();
        clear(kY);
        if (groups_ >= unroll) {
            repeat(groups_ / unroll, [&] { batch(unroll, 0); });
        }
        if (groups_ % unroll != 0 || tail_blocks_ != 0) {
            batch(groups_ % unroll, tail_blocks_);
        }
        store_rows();
        a_.alu(Alu::kSub, kRowsLeft, count);
        a_.add(kOut, 4 * count);
        const auto passed = static_cast<int32_t>(format_.row_bytes(shape_.cols));
        a_.add(kWeights, count * stride - passed);
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

    template <typename Body>
    void repeat(uint32_t times, Body body) {
        if (times == 0) {
            return;
        }
        const Label again = a_.new_label();
        if (times > 1) {
            a_.mov(kCount, times);
            a_.bind(again);
        }
        body();
        if (times > 1) {
            a_.alu(Alu::kSub, kCount, 1);
            a_.jcc(Condition::kNotEqual, again);
        }
    }

    void point_to_copies() {
        a_.lea(kQ, mem(Gp::kRsp, kQAt));
        a_.lea(kSums, mem(Gp::kRsp, sums_at()));
        a_.lea(kScales, mem(Gp::kRsp, scales_at()));
    }

    void store_rows() {
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

    // ------------------------------------------------------------------ activations

    // Copies them in the order in which weights meet them. Sums are those of `offset` times q.
    void copy_activation() {
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
        const uint32_t rest = groups_ % step;
        if (rest != 0) {
            copy_group(0, kGroupBlocks);
        }
        if (tail_blocks_ != 0) {
            copy_group(rest, tail_blocks_);
        }
        // Behind the last scales, zeros.
        clear(kTemp);
        a_.avx(op::movups_store, scale_copy(rest + (tail_blocks_ != 0), 0), ymm(kTemp));
    }
    [[nodiscard]] Mem scale_copy(uint32_t group, uint32_t row) const {
        return mem(kScales, static_cast<int32_t>((group * rows_ + row) * 4));
    }

    // Q4_K, not Q6_K.
    [[nodiscard]] bool has_part_minimums() const { return format_.super() && format_.minimum; }

    // Where a block's activations go.
    [[nodiscard]] int32_t place_of(uint32_t b) const {
        if (has_part_minimums() && wide_) {  // 64 lower nibbles are two blocks: 0 and 2, 4 and 6
            return static_cast<int32_t>((b / 4 * 2 + b % 2) * 64 + b / 2 % 2 * 32);
        }
        return static_cast<int32_t>(b / lanes_) * 2 * bytes_ +
               static_cast<int32_t>(b % lanes_) * (natural_ ? 32 : 16);
    }

    // Group number `index` from the pointers on.
    void copy_group(uint32_t index, uint32_t blocks) {
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
                       mem(kQ, to + half * (natural_ || format_.super() ? 16 : bytes_)),
                       xmm(chunk));
            }
        }
        for (uint32_t b = 0;
             b < kGroupBlocks && !format_.super() && (has_offset_ || format_.minimum); ++b) {
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
        if (has_part_minimums()) {  // 32 * 127 fit 16 bits
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

    // The sums of sixteen q each, in 16 bits.
    void sum_sixteens(int32_t group) {
        constexpr std::array<uint32_t, 4> kOneBytes = {0x01010101, 0x01010101, 0x01010101,
                                                       0x01010101};
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

    // ------------------------------------------------------------------ up to eight units

    // y += float(T) * scale for `whole` groups and, if there are any, `blocks` of one more.
    void batch(uint32_t whole, uint32_t blocks) {
        const uint32_t groups = whole + (blocks != 0);
        std::array<Unit, kMaxUnits> units{};
        for (uint32_t i = 0; i < groups * rows_; ++i) {
            const uint32_t group = i / rows_;
            units[i] = {static_cast<int32_t>(i % rows_ * shape_.row_bytes) +
                            static_cast<int32_t>(group) * group_bytes(),
                        static_cast<int32_t>(group * kGroupElements),
                        group < whole ? kGroupBlocks : blocks};
        }
        const uint32_t count = groups * rows_;
        const uint32_t at_once = wide_ ? 8 : 4;
        for (uint32_t first = 0; first < count; first += at_once) {
            if (format_.super()) {
                super_floats(std::span(units).subspan(first, std::min(count - first, at_once)),
                             static_cast<int32_t>(first * 4));
                continue;
            }
            const uint32_t vectors = std::min(count - first, at_once) / (wide_ ? 2 : 1);
            const uint32_t odd = wide_ ? std::min(count - first, at_once) % 2 : 0;
            for (uint32_t i = 0; i < vectors + odd; ++i) {
                const uint32_t unit = first + (wide_ ? 2 * i : i);
                total_of(
                    kTotal + i, units[unit], wide_ ? units[unit + 1] : Unit{},
                    static_cast<int32_t>(rows_ == 1 && wide_ ? unit / 2 : unit / rows_) * bytes_);
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

    // `to` = T of one unit, or of two: 64-bit lanes that are still to be added up, those of the
    // second one odd. `sums`: where theirs are, from kSums.
    void total_of(unsigned to, const Unit &a, const Unit &b, int32_t sums) {
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
        if (format_.nibbles) {
            add_pairs_16(kBlocks, kBlocks + 1);
            add_pairs_16(kBlocks + 2, kBlocks + 3);
            add_pairs_16(kBlocks, kBlocks + 2);
        } else {
            add_pairs(kBlocks, kBlocks + 1);
            add_pairs(kBlocks + 2, kBlocks + 3);
            add_pairs(kBlocks, kBlocks + 2);
        }
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

    void prefetch(const Unit &unit) {
        if (plan_.ahead == 0 || unit.blocks == 0) {
            return;
        }
        const int32_t bytes = unit.blocks == kGroupBlocks
                                  ? group_bytes()
                                  : static_cast<int32_t>(unit.blocks * format_.block_bytes);
        const int32_t start = unit.q / 256 * group_bytes();  // within the row
        const int32_t first = (start + 63) / 64 * 64;
        for (int32_t at = first; at < start + bytes; at += static_cast<int32_t>(kLine)) {
            a_.prefetch(jit::Prefetch::kT0, mem(kWeights, unit.weights - start + at + plan_.ahead));
        }
    }

    // Vector number `index` of the unit's sums: four of each block.
    void block_sums(unsigned to, const Unit &unit, uint32_t index) {
        const uint32_t first = index * lanes_;
        clear(to);
        if (unit.blocks <= first) {
            return;
        }
        const uint32_t blocks = std::min(unit.blocks - first, lanes_);
        const int32_t at =
            unit.weights + static_cast<int32_t>(first * format_.block_bytes + format_.header_bytes);
        const Mem q = mem(kQ, unit.q + static_cast<int32_t>(index) * 2 * bytes_);
        const Mem q_high = mem(kQ, q.disp + bytes_);
        constexpr unsigned kLow = kTemp;
        constexpr unsigned kHigh = kTemp + 1;
        if (format_.nibbles) {
            gather(kLow, at, blocks);
            op2(op::psrlw, kHigh, kLow, 4);
            bits(kLow, kLow);
            bits(kHigh, kHigh);
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
        } else if (format_.nibbles) {
            // Four products: below 2^15.
            op_mem(op::pmaddubsw, kLow, kLow, q);
            op_mem(op::pmaddubsw, kHigh, kHigh, q_high);
            op3(op::paddw, kLow, kLow, kHigh);
            op3(op::pmaddwd, to, kLow, kOnes);
        } else {
            signed_products(kLow, at, q);
            clear(kHigh);
            if (blocks > 1) {
                signed_products(kHigh, at + format_.block_bytes, q_high);
            }
            op3(op::vperm2i128, to, kLow, kHigh, 0x20);
            op3(op::vperm2i128, kLow, kLow, kHigh, 0x31);
            op3(op::paddd, to, to, kLow);
        }
    }

    // Sums of four of a block, w in -128..127: two products are at most 2 * 128 * 127 < 2^15.
    void signed_products(unsigned w, int32_t at, const Mem &q) {
        a_.avx(op::movdqu, v(w), mem(kWeights, at));
        a_.avx(op::movdqu, v(kTemp + 2), q);
        op3(op::psignb, kTemp + 2, kTemp + 2, w);
        op2(op::pabsb, w, w);
        op3(op::pmaddubsw, w, w, kTemp + 2);
        op3(op::pmaddwd, w, w, kOnes);
    }

    // Sixteen bytes of each of `blocks` blocks, in a lane each.
    void gather(unsigned to, int32_t at, uint32_t blocks) {
        a_.avx(op::movdqu, xmm(to), mem(kWeights, at));
        for (uint32_t b = 1; b < blocks; ++b) {
            const Mem from = mem(kWeights, at + static_cast<int32_t>(b) * format_.block_bytes);
            a_.avx(wide_ ? op::vinserti32x4 : op::vinserti128, v(to), v(to), from, b);
        }
    }
    // 32 bytes of each of up to two.
    void gather_wide(unsigned to, int32_t at, uint32_t blocks) {
        if (blocks == 0) {
            return clear(to);
        }
        a_.avx(op::movdqu, ymm(to), mem(kWeights, at));
        if (blocks > 1) {
            a_.avx(op::vinserti64x4, v(to), v(to), mem(kWeights, at + format_.block_bytes), 1);
        }
    }

    // Sums of neighbours: in each 128-bit lane two of a, then two of b; to a.
    void add_pairs(unsigned a, unsigned b) {
        op3(op::shufps, kTemp, a, b, 0x88);
        op3(op::shufps, a, a, b, 0xdd);
        op3(op::paddd, a, a, kTemp);
    }
    void add_pairs_16(unsigned a, unsigned b) {
        op3(op::packssdw, a, a, b);
        op3(op::pmaddwd, a, a, kOnes);
    }

    // ------------------------------------------------------------------ scales

    // kTemp = the f16 of all blocks in the order of the sums; AVX2: as the lower halves of 32 bits,
    // with what follows them in the file as the upper ones.
    void halves(const Unit &a, const Unit &b) {
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
                a_.avx(op::vpblendd, v(kTemp), v(kTemp), mem(kWeights, a.weights + around),
                       1u << lane);
            } else {
                a_.avx(op::vpbroadcastd, v(kTemp + 1), mem(kWeights, a.weights + at));
                a_.avx(op::vpblendd, v(kTemp), v(kTemp), v(kTemp + 1), 1u << lane);
            }
        }
    }

    void halves_of_both(const Unit &a, const Unit &b, unsigned minimum) {
        halves_of(kTemp, a, minimum);
        if (b.blocks != 0) {
            halves_of(kTemp + 3, b, minimum);
            a_.avx(op::vmovdqu16, v(kTemp).masked(kSecondUnit), v(kTemp + 3));
        }
    }
    void halves_of(unsigned to, const Unit &unit, unsigned minimum) {
        const uint32_t window_bytes = format_.window_blocks * format_.block_bytes;
        for (uint32_t window = 0; window * format_.window_blocks < unit.blocks; ++window) {
            const uint32_t left = unit.blocks * format_.block_bytes - window * window_bytes;
            const Mem from =
                mem(kWeights, unit.weights + static_cast<int32_t>(window * window_bytes));
            const Vec filled = window == 0 ? v(to) : v(to).masked(window);
            if (left >= 64) {
                a_.avx(op::vpermw, filled, v(kScaleOrder + minimum), from);
            } else {
                a_.avx(op::vmovdqu8, v(kProduct).masked(kTailBytes, true), from);
                a_.avx(op::vpermw, filled, v(kScaleOrder + minimum), v(kProduct));
            }
        }
    }

    // `to` = integers, 2^24 times `from`; AVX2: of its lower or upper halves.
    void mantissas(unsigned to, unsigned from, unsigned upper) {
        if (wide_) {
            a_.avx(op::vcvtph2ps, v(to), ymm(from));
            op_mem(op::mulps, to, to, units_of_f16());
        } else {
            factors(to, from, upper);
        }
        op2(op::cvtps2dq, to, to);
    }
    // As floats, eight lower or upper halves of 32 bits.
    void factors(unsigned to, unsigned from, unsigned upper) {
        std::array<uint8_t, 32> order;
        for (unsigned i = 0; i < order.size(); ++i) {
            const unsigned byte = i % 16 < 8 ? i % 8 / 2 * 4 + i % 2 + 2 * upper : 0x80;
            order[i] = static_cast<uint8_t>(byte);
        }
        a_.avx(op::pshufb, ymm(to), ymm(from), a_.constant_of(order));
        a_.avx(op::vpermq, ymm(to), ymm(to), 0x08);
        a_.avx(op::vcvtph2ps, ymm(to), xmm(to));
        a_.avx(op::mulps, ymm(to), ymm(to), units_of_f16());
    }
    Mem units_of_f16() {
        constexpr float kUnits = 0x1p24f;
        return wide_ ? jit::broadcast(a_.constant_of(kUnits)) : everywhere(kUnits);
    }

    // to = a * b, pairs of 32-bit lanes added up; a and b are lost.
    void multiply(unsigned to, unsigned a, unsigned b) {
        op3(op::pmuldq, to, a, b);
        op2(op::psrlq, a, a, 32);
        op2(op::pshufd, b, b, 0xf5);
        op3(op::pmuldq, a, a, b);
        op3(op::paddq, to, to, a);
    }

    // ------------------------------------------------------------------ super-blocks

    // The totals of up to eight units (AVX2: four) as floats times their scales, to the frame at
    // `to`.
    void super_floats(std::span<const Unit> units, int32_t to) {
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

    [[nodiscard]] Vec half(unsigned number) const { return wide_ ? ymm(number) : xmm(number); }

    // 32-bit sums to doubles, times the lower or upper halves in kTemp.
    void times_factors(unsigned sums, unsigned upper) {
        factors(kTemp + 2, kTemp, upper);
        a_.avx(op::cvtps2pd, v(kTemp + 2), half(kTemp + 2));
        a_.avx(op::cvtdq2pd, v(sums), half(sums));
        op3(op::mulpd, sums, sums, kTemp + 2);
    }

    // `scaled` = lanes of the sum of scale * S; `minimums`: of minimum * X, in 128 bits.
    void super_sums(const Unit &unit, unsigned scaled, unsigned minimums) {
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
            a_.avx(op::movups, v(kLow), mem(kWeights, unit.weights + 16 + at));
            op2(op::psrlw, kHigh, kLow, 4);
            bits(kLow, kLow);
            bits(kHigh, kHigh);
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

    // Q6_K: lanes of the sum of scale * (S - 32 X). Sums of four are at most 4 * 63 * 127 = 32,004.
    void super_sums_16(const Unit &unit, unsigned scaled) {
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
    // Adds bits 4 and 5 of every byte.
    void add_pair_bits(unsigned to, unsigned from) {
        if (wide_) {
            op3(op::vpternlogd, to, from, kPairBits, 0xf8);  // to | from & bits
        } else {
            op_mem(op::pand, from, from, everywhere(uint8_t{0x30}));
            op3(op::por, to, to, from);
        }
    }
    // Of the scales that are next, `low` + lane in the lower four words of each lane, `high` + lane
    // above.
    void spread_signed(unsigned to, int32_t low, int32_t high) {
        std::array<uint8_t, 64> order;
        for (unsigned i = 0; i < order.size(); ++i) {
            const auto first = static_cast<unsigned>(i % 16 < 8 ? low : high);
            order[i] = static_cast<uint8_t>(i % 2 == 0 ? 0x80 : first + i / 16);
        }
        op_mem(op::pshufb, to, kTemp,
               a_.constant(std::span(order).first(static_cast<size_t>(bytes_))));
        op2(op::psraw, to, to, 8);
    }

    // The next parts' scales, in 16 bits each, beside their sums: wide, four of two parts in a
    // lane (parts 0 1, 0 1, 2 3, 2 3); else of one.
    void spread(unsigned to, unsigned from, unsigned part) {
        std::array<uint8_t, 64> order;
        for (unsigned i = 0; i < order.size(); ++i) {
            const unsigned of = wide_ ? i / 32 * 2 + i % 16 / 8 : part;
            order[i] = static_cast<uint8_t>(i % 2 == 0 ? of : 0x80);
        }
        op_mem(op::pshufb, to, from,
               a_.constant(std::span(order).first(static_cast<size_t>(bytes_))));
    }

    // Eight scales, then eight minimums, six bits each, as bytes (weight_blocks.cpp has the
    // layout).
    void part_scales(unsigned to, int32_t block) {
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

    // ------------------------------------------------------------------ floats

    // The totals in `vectors` registers, as floats times their scales, to the frame at `to`, and in
    // kProduct.
    void floats_of(uint32_t vectors, int32_t to) {
        std::array<unsigned, 4> t{};
        for (uint32_t i = 0; i < t.size(); ++i) {
            t[i] = kTotal + std::min(i, vectors - 1);  // any, where there are fewer
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
        // As doubles, exactly (kernels_avx2_body.h, to_f64).
        op2(op::psrlq, kTemp + 1, kTemp, 32);
        op_mem(op::pxor, kTemp + 1, kTemp + 1, everywhere(uint64_t{0x4530000080000000}));
        a_.avx(op::vpblendd, v(kTemp), v(kTemp), everywhere(uint64_t{0x4330000000000000}), 0xaa);
        op_mem(op::subpd, kTemp + 1, kTemp + 1, everywhere(uint64_t{0x4530000080100000}));
        op3(op::addpd, kTemp, kTemp, kTemp + 1);
        a_.avx(op::cvtpd2ps, xmm(kProduct), ymm(kTemp));
        a_.avx(op::mulps, xmm(kProduct), xmm(kProduct), mem(kScales, to));
        a_.avx(op::movups_store, mem(Gp::kRsp, to), xmm(kProduct));
    }
    // Sums of neighbouring 128-bit lanes, two of a, then two of b.
    void fold(unsigned to, unsigned a, unsigned b, const VectorOp &add = op::paddq) {
        op3(op::vshufi32x4, kTemp + 2, a, b, 0x88);
        op3(op::vshufi32x4, kTemp + 3, a, b, 0xdd);
        op3(add, to, kTemp + 2, kTemp + 3);
    }

    // The frame has the rows of one group beside each other, then those of the next.
    void add_products(uint32_t groups) {
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

    const GemvShape &shape_;
    const GemvPlan &plan_;
    const Format &format_;
    const bool wide_;
    const bool vnni_;
    const bool natural_;  // activations in the order of the columns
    const bool has_offset_;
    const uint32_t lanes_;  // of 128 bits in a vector
    const int32_t bytes_;   // of a vector
    const uint32_t groups_;
    const uint32_t tail_blocks_;
    Assembler a_;
    uint32_t rows_ = 1;  // of the loop that is being written
};

constexpr bool is_power_up_to_8(uint32_t value) {
    return std::has_single_bit(value) && value <= 8;
}

}  // namespace

bool can_generate_vector_type(TensorType type, InstructionSet set) {
    const Format *const format = format_of(type);
    // With small scales per part, 256-bit VNNI has nothing to offer over AVX2.
    return format != nullptr && !(format->super() && set == InstructionSet::kAvxVnni);
}

bool can_generate_vector(const GemvShape &shape, const GemvPlan &plan) {
    const Format *const format = format_of(shape.type);
    constexpr uint64_t kReach = uint64_t{1} << 30;
    // Two groups of a row share a wide vector when there is one row.
    const bool divides = plan.rows != 1 || plan.unroll != 1;
    return can_generate_vector_type(shape.type, plan.set) && !plan.direct && shape.cols != 0 &&
           shape.cols % (format->super() ? kGroupElements : kBlockElements) == 0 &&
           shape.cols <= kMaxColumns && shape.row_bytes < kReach / kMaxUnits &&
           shape.row_bytes >= format->row_bytes(shape.cols) && is_power_up_to_8(plan.rows) &&
           is_power_up_to_8(plan.unroll) && divides &&
           uint32_t{plan.rows} * plan.unroll <= kMaxUnits;
}

size_t vector_code_room(const GemvPlan &plan) {
    constexpr size_t kUnitRoom = 960;
    constexpr size_t kFrameRoom = 3072;
    const size_t units = 2 * size_t{plan.rows} * plan.unroll + (plan.rows > 1 ? 4 : 0);
    return units * kUnitRoom + kFrameRoom;
}

Result<size_t> generate_vector(const GemvShape &shape, const GemvPlan &plan, std::span<uint8_t> out,
                               jit::ConstantPool constants) {
    return Generator(shape, plan, out, constants).run();
}

}  // namespace bareflow::llama
