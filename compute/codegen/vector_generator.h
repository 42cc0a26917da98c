// The generator behind compute/codegen/vector.h, for its own files: vector.cpp (frame, loops,
// activations, floats), vector_blocks.cpp (blocks of 32) and vector_super.cpp
// (super-blocks of 256). The arithmetic stands in the first of them.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <span>

#include "compute/codegen/vector.h"
#include "compute/kernels/instruction_set.h"
#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"
#include "compute/numbers/weight_blocks.h"

namespace bareflow::compute::gemv_vector {

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

inline constexpr uint32_t kGroupBlocks = kGroupElements / kBlockElements;
inline constexpr uint32_t kMaxUnits = 8;        // multiplied before they are added up
inline constexpr uint32_t kMaxColumns = 12288;  // their copy lies on the stack
inline constexpr uint32_t kLine = 64;

struct Format {
    uint8_t block_bytes = 0;
    uint8_t header_bytes = 0;
    uint8_t window_blocks = 0;  // whose scales lie within 64 bytes
    uint8_t offset_shift = 0;   // weight + 2^shift is not negative; 0: it isn't anyway
    bool nibbles = false;
    bool minimum = false;   // behind the scale
    bool fifth = false;     // bits of the blocks stand before the nibbles
    bool table = false;     // of signed values that nibbles choose
    bool two_bits = false;  // Q2_K, Q3_K
    // Super-blocks: their length, and where the f16 is (with dmin, or what stands before it).
    uint16_t super_bytes = 0;
    uint16_t factor_at = 0;

    [[nodiscard]] constexpr bool super() const { return super_bytes != 0; }
    [[nodiscard]] constexpr uint32_t group_bytes() const {
        return super() ? super_bytes : kGroupBlocks * block_bytes;
    }
    [[nodiscard]] constexpr uint64_t row_bytes(uint32_t cols) const {
        return uint64_t{cols} / kGroupElements * group_bytes() +
               cols % kGroupElements / kBlockElements * block_bytes;
    }
};

// General registers.
inline constexpr Gp kArgs = Gp::kRdi;
inline constexpr Gp kWeights = Gp::kRsi;  // row 0's next group
inline constexpr Gp kQ = Gp::kRdx;        // the next group's activations, sums, scales: copies
inline constexpr Gp kSums = Gp::kRcx;
inline constexpr Gp kScales = Gp::kR8;
inline constexpr Gp kRowsLeft = Gp::kR9;
inline constexpr Gp kOut = Gp::kR10;
inline constexpr Gp kT = Gp::kRax;
inline constexpr Gp kU = Gp::kR11;
inline constexpr Gp kV = Gp::kRbx;
inline constexpr Gp kCount = Gp::kR12;
inline constexpr Gp kWord = Gp::kR13;
inline constexpr Gp kOtherWeights = Gp::kR14;  // of the stream whose turn it is not
inline constexpr Gp kOtherOut = Gp::kR15;
inline constexpr std::array<Gp, 6> kSaved = {Gp::kRbp, Gp::kRbx, Gp::kR12,
                                             Gp::kR13, Gp::kR14, Gp::kR15};

// Vector registers, by number.
inline constexpr unsigned kY = 0;
inline constexpr unsigned kProduct = 1;
inline constexpr unsigned kTotal = 2;        // four
inline constexpr unsigned kBlocks = 6;       // four
inline constexpr unsigned kTemp = 10;        // four
inline constexpr unsigned kBits = 14;        // 0x0f or 0x80 in every byte
inline constexpr unsigned kOnes = 15;        // in 16 bits each
inline constexpr unsigned kPairBits = 18;    // of super-blocks: bits 4 and 5, or 4, of every byte
inline constexpr unsigned kThirdBits = 19;   // Q3_K: those of columns 0-31, four further up 128-159
inline constexpr unsigned kScaleOrder = 16;  // and that of minimums
inline constexpr unsigned kFifthOrder = 19;  // of columns 0-15, 16-31: bytes with their bits
inline constexpr unsigned kFifthBits = 21;   // 1, 2, 4 ... 128
inline constexpr unsigned kSixteens = 22;
// Mask registers: lanes of the blocks in window 1, 2, 3, of the second unit; bytes of the last
// window of a short group.
inline constexpr unsigned kSecondUnit = 4;
inline constexpr unsigned kTailBytes = 5;
inline constexpr unsigned kWindowBytes = 6;  // of a whole window that is shorter than a vector
inline constexpr unsigned kFifths = 7;

// Fifth bits: the byte that has a column's bit, for 16 columns in each lane, and the bit in it.
inline constexpr uint64_t kOneBitEach = 0x8040201008040201;
template <size_t kBytes>
constexpr std::array<uint8_t, kBytes> fifth_order(uint32_t half) {
    std::array<uint8_t, kBytes> order{};
    for (size_t i = 0; i < kBytes; ++i) {
        order[i] = static_cast<uint8_t>(half * 2 + i % 16 / 8);
    }
    return order;
}

// nullptr: not generated.
[[nodiscard]] const Format *format_of(TensorType type);

// One row's 256 columns, or fewer.
struct Unit {
    int32_t weights;  // from kWeights
    int32_t q;        // from kQ
    uint32_t blocks;  // 0: there is no unit
};

class VectorGenerator {
  public:
    VectorGenerator(const GemvShape &shape, const GemvPlan &plan, std::span<uint8_t> out,
                    jit::ConstantPool constants)
        : shape_(shape),
          plan_(plan),
          format_(*format_of(shape.type)),
          wide_(plan.set == InstructionSet::kAvx512),
          vnni_(plan.set != InstructionSet::kAvx2),
          natural_(format_.super() ? !wide_ || !format_.minimum : !vnni_ && !format_.nibbles),
          has_offset_(format_.offset_shift != 0 && (vnni_ || !is_signed())),
          lanes_(wide_ ? 4 : 2),
          bytes_(16 * static_cast<int32_t>(lanes_)),
          groups_(shape.cols / kGroupElements),
          tail_blocks_(shape.cols % kGroupElements / kBlockElements),
          a_(out, constants) {}

    Result<size_t> run();

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
        op3(format_.nibbles || format_.two_bits ? (wide_ ? op::vpandd : op::pand)
                                                : (wide_ ? op::vpxord : op::pxor),
            to, a, kBits);
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
    [[nodiscard]] int32_t sums_bytes(uint32_t groups, uint32_t rows) const;
    // 16 bits of each part.
    [[nodiscard]] int32_t super_sums_bytes() const { return has_part_minimums() ? 16 : 32; }
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
    void prologue();

    // Where the mantissas' halves are in a window, and which lanes each window fills.
    void orders();
    static unsigned block_in_lane(unsigned lane) { return lane / 4 + lane % 2 * 4; }
    void set_mask(unsigned number, uint64_t value) {
        a_.mov(kT, value);
        a_.avx(op::kmovq_from, jit::mask(number), jit::general(kT));
    }

    // ------------------------------------------------------------------ rows

    // As long as there are `rows` rows left. Of a range that doesn't divide, the last rows are
    // computed twice.
    void rows_at_once(uint32_t rows, uint32_t unroll);

    // Rows one by one: those of the first and of the second half take turns, so that memory is read
    // as two streams.
    void halve_rows();
    void change_streams();

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

    void point_to_copies();

    void store_rows();

    // ------------------------------------------------------------------ activations

    // Copies them in the order in which weights meet them. Sums are those of `offset` times q.
    void copy_activation();
    [[nodiscard]] Mem scale_copy(uint32_t group, uint32_t row) const {
        return mem(kScales, static_cast<int32_t>((group * rows_ + row) * 4));
    }

    // Of 32 columns each: Q4_K and Q5_K.
    [[nodiscard]] bool has_part_minimums() const {
        return format_.super() && format_.minimum && !format_.two_bits;
    }

    // Where a block's activations go.
    [[nodiscard]] int32_t place_of(uint32_t b) const;

    // Group number `index` from the pointers on.
    void copy_group(uint32_t index, uint32_t blocks);

    // The sums of sixteen q each, in 16 bits.
    void sum_sixteens(int32_t group);

    // ------------------------------------------------------------------ up to eight units

    // y += float(T) * scale for `whole` groups and, if there are any, `blocks` of one more.
    void batch(uint32_t whole, uint32_t blocks);

    // `to` = T of one unit, or of two: 64-bit lanes that are still to be added up, those of the
    // second one odd. `sums`: where theirs are, from kSums.
    void total_of(unsigned to, const Unit &a, const Unit &b, int32_t sums);

    void prefetch(const Unit &unit);

    // Vector number `index` of the unit's sums: four of each block.
    void block_sums(unsigned to, const Unit &unit, uint32_t index);

    // Sums of four of a block, w in -128..127: two products are at most 2 * 128 * 127 < 2^15.
    void signed_products(unsigned w, const Mem &q);
    [[nodiscard]] bool is_signed() const { return !format_.nibbles || format_.table; }

    // Adds 16 where a bit is set; kTemp + 3 has the blocks' bits.
    void add_fifth_bits(unsigned to, uint32_t half);
    void look_up(unsigned low, unsigned high);

    // Sixteen bytes of each of `blocks` blocks, in a lane each.
    void gather(unsigned to, int32_t at, uint32_t blocks);
    // 32 bytes of each of up to two.
    void gather_wide(unsigned to, int32_t at, uint32_t blocks);

    // Sums of neighbours: in each 128-bit lane two of a, then two of b; to a.
    void add_pairs(unsigned a, unsigned b, bool fits_16 = false);

    // ------------------------------------------------------------------ scales

    // kTemp = the f16 of all blocks in the order of the sums; AVX2: as the lower halves of 32 bits,
    // with what follows them in the file as the upper ones.
    void halves(const Unit &a, const Unit &b);

    void halves_of_both(const Unit &a, const Unit &b, unsigned minimum);
    void halves_of(unsigned to, const Unit &unit, unsigned minimum);

    // `to` = integers, 2^24 times `from`; AVX2: of its lower or upper halves.
    void mantissas(unsigned to, unsigned from, unsigned upper);
    // As floats, eight lower or upper halves of 32 bits.
    void factors(unsigned to, unsigned from, unsigned upper);
    Mem units_of_f16() {
        constexpr float kUnits = 0x1p24f;
        return wide_ ? jit::broadcast(a_.constant_of(kUnits)) : everywhere(kUnits);
    }

    // to = a * b, pairs of 32-bit lanes added up; a and b are lost.
    void multiply(unsigned to, unsigned a, unsigned b);

    // ------------------------------------------------------------------ super-blocks

    // The totals of up to eight units (AVX2: four) as floats times their scales, to the frame at
    // `to`.
    void super_floats(std::span<const Unit> units, int32_t to);

    [[nodiscard]] Vec half(unsigned number) const { return wide_ ? ymm(number) : xmm(number); }

    // 32-bit sums to doubles, times the lower or upper halves in kTemp.
    void times_factors(unsigned sums, unsigned upper);

    // `scaled` = lanes of the sum of scale * S; `minimums`: of minimum * X, in 128 bits.
    void super_sums(const Unit &unit, unsigned scaled, unsigned minimums);

    // Q6_K: lanes of the sum of scale * (S - 32 X). Sums of four are at most 4 * 63 * 127 = 32,004.
    void super_sums_16(const Unit &unit, unsigned scaled);
    // Q2_K and Q3_K: the same with minimums, or of scale * (S - 4 X).
    void super_sums_2_bits(const Unit &unit, unsigned scaled, unsigned minimums);
    // Of all sixteen parts, as bytes; Q2_K: `minimums`, too, or `scaled` = -4 times the sum of
    // scale * X.
    void two_bit_scales(const Unit &unit, unsigned to, unsigned scaled, unsigned minimums);
    // Two bits of 32 columns a 256-bit lane, and Q3_K's third: those of block `block`, wide of
    // `block` + 4 above it.
    void two_bit_weights(unsigned to, const Unit &unit, uint32_t block);
    // Q5_K: the bits of a part, and the part two further on (wide), as bit 4; above it those of
    // the next parts.
    void part_bits(unsigned to, int32_t bits, uint32_t part);
    // Adds bits 4 and 5 of every byte, or bit 4.
    [[nodiscard]] uint8_t pair_bits() const {
        return format_.two_bits ? 0x04 : format_.fifth ? 0x10 : 0x30;
    }
    void add_pair_bits(unsigned to, unsigned from);
    // Of the scales that are next, `low` + lane in the lower four words of each lane, `high` + lane
    // above.
    void spread_signed(unsigned to, int32_t low, int32_t high);

    // The next parts' scales, in 16 bits each, beside their sums: wide, four of two parts in a
    // lane (parts 0 1, 0 1, 2 3, 2 3); else of one.
    void spread(unsigned to, unsigned from, unsigned part);

    // Eight scales, then eight minimums, six bits each, as bytes (weight_blocks.cpp has the
    // layout).
    void part_scales(unsigned to, int32_t block);

    // ------------------------------------------------------------------ floats

    // The totals in `vectors` registers, as floats times their scales, to the frame at `to`, and in
    // kProduct.
    void floats_of(uint32_t vectors, int32_t to);
    // Sums of neighbouring 128-bit lanes, two of a, then two of b.
    void fold(unsigned to, unsigned a, unsigned b, const VectorOp &add = op::paddq);

    // The frame has the rows of one group beside each other, then those of the next.
    void add_products(uint32_t groups);

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

}  // namespace bareflow::compute::gemv_vector
