// The generator behind compute/codegen/vector.h, for its own files: vector.cpp (frame, loops,
// activations, floats), vector_blocks.cpp (blocks of 32) and vector_super.cpp (super-blocks of
// 256). vector.cpp explains the arithmetic.
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
inline constexpr uint32_t kMaxRowGroups = 8;    // whose totals become floats together
inline constexpr uint32_t kMaxColumns = 12288;  // of which the stack holds the activations
inline constexpr uint32_t kLine = 64;

struct Format {
    uint8_t block_bytes = 0;
    uint8_t header_bytes = 0;
    uint8_t window_blocks = 0;  // blocks whose scales are loaded by one vector of 64 bytes
    uint8_t offset_shift = 0;   // weight + 2^shift is never negative; 0: a stored weight never is
    bool nibbles = false;
    bool minimum = false;   // a minimum stands behind the scale
    bool fifth = false;     // the fifth bits of a block stand before its nibbles
    bool table = false;     // nibbles choose signed weights from a table
    bool two_bits = false;  // Q2_K, Q3_K
    // Super-blocks: their length, and where the 32 bits with the f16 scale d start (d and dmin, or
    // two other bytes and d).
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
inline constexpr Gp kQ = Gp::kRdx;        // copies of the next group: activations,
inline constexpr Gp kSums = Gp::kRcx;     // their sums,
inline constexpr Gp kScales = Gp::kR8;    // and scales
inline constexpr Gp kRowsLeft = Gp::kR9;
inline constexpr Gp kOut = Gp::kR10;
inline constexpr Gp kT = Gp::kRax;
inline constexpr Gp kU = Gp::kR11;
inline constexpr Gp kV = Gp::kRbx;
inline constexpr Gp kCount = Gp::kR12;
inline constexpr Gp kWord = Gp::kR13;
inline constexpr Gp kOtherWeights = Gp::kR14;  // of the other stream, which has the next row
inline constexpr Gp kOtherOut = Gp::kR15;
inline constexpr std::array<Gp, 6> kSaved = {Gp::kRbp, Gp::kRbx, Gp::kR12,
                                             Gp::kR13, Gp::kR14, Gp::kR15};

// Vector registers, by number.
inline constexpr unsigned kY = 0;
inline constexpr unsigned kProduct = 1;
inline constexpr unsigned kTotal = 2;        // four registers
inline constexpr unsigned kBlocks = 6;       // four registers
inline constexpr unsigned kTemp = 10;        // four registers
inline constexpr unsigned kBits = 14;        // 0x0f or 0x80 in every byte
inline constexpr unsigned kOnes = 15;        // a 1 in each 16 bits
inline constexpr unsigned kPairBits = 18;    // super-blocks: pair_bits() in every byte
inline constexpr unsigned kThirdBits = 19;   // Q3_K: third bits; upper half: shifted by 4
inline constexpr unsigned kScaleOrder = 16;  // orders() sets it; next register: for minimums
inline constexpr unsigned kFifthOrder = 19;  // fifth_order(0); next register: fifth_order(1)
inline constexpr unsigned kFifthBits = 21;   // 1, 2, 4 ... 128
inline constexpr unsigned kSixteens = 22;
// Mask registers. 1, 2, 3: the lanes of the blocks in that window.
inline constexpr unsigned kSecondRowGroup = 4;  // lanes of the second row group
inline constexpr unsigned kTailBytes = 5;       // bytes of the last window of a short group
inline constexpr unsigned kWindowBytes = 6;     // bytes of a whole window below 64 bytes
inline constexpr unsigned kFifths = 7;          // columns whose fifth bit is set

// Fifth bits of 16 columns in each lane: which byte has a column's bit (fifth_order), and which bit
// of that byte it is (kOneBitEach).
inline constexpr uint64_t kOneBitEach = 0x8040201008040201;
template <size_t kBytes>
constexpr std::array<uint8_t, kBytes> fifth_order(uint32_t half) {
    std::array<uint8_t, kBytes> order{};
    for (size_t i = 0; i < kBytes; ++i) {
        order[i] = static_cast<uint8_t>(half * 2 + i % 16 / 8);
    }
    return order;
}

// nullptr: no block type.
[[nodiscard]] const Format *format_of(TensorType type);

// The part of one row that meets one group of activations: 256 columns, or fewer at the row's end.
struct RowGroup {
    int32_t weights;  // distance of its weights from kWeights
    int32_t q;        // distance of its activations from kQ
    uint32_t blocks;  // 0: no row group
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
    // `value` repeated over a 256-bit vector in memory.
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
    // Bytes of the sums of `groups` groups. Two groups share a wide vector where rows are computed
    // one by one.
    [[nodiscard]] int32_t sums_bytes(uint32_t groups, uint32_t rows) const;
    // Bytes of a super-block's sums: 16 bits for each part.
    [[nodiscard]] int32_t super_sums_bytes() const { return has_part_minimums() ? 16 : 32; }
    // Distances from rsp: room for one vector of products, then the copies.
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

    // In: rdi: GemvArgs, esi: first row, edx: end.
    void prologue();

    // Sets the registers that say where the f16 scales are in a window, and which lanes each window
    // fills.
    void orders();
    static unsigned block_in_lane(unsigned lane) { return lane / 4 + lane % 2 * 4; }
    void set_mask(unsigned number, uint64_t value) {
        a_.mov(kT, value);
        a_.avx(op::kmovq_from, jit::mask(number), jit::general(kT));
    }

    // ------------------------------------------------------------------ rows

    // Computes `rows` rows together while at least `rows` rows are left. Where that does not divide
    // the range, the loop goes back to the last `rows` rows and computes some of them twice.
    void rows_at_once(uint32_t rows, uint32_t unroll);

    // Rows one by one: rows of the first and of the second half of the range alternate, so that
    // memory is read as two streams.
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

    // Copies activations, sums and scales to the frame, in the order in which weights meet them.
    // Sums are those of 2^offset_shift times q.
    void copy_activation();
    [[nodiscard]] Mem scale_copy(uint32_t group, uint32_t row) const {
        return mem(kScales, static_cast<int32_t>((group * rows_ + row) * 4));
    }

    // Q4_K and Q5_K: each part of 32 columns has a minimum.
    [[nodiscard]] bool has_part_minimums() const {
        return format_.super() && format_.minimum && !format_.two_bits;
    }

    // Where the activations of block `b` of a group go.
    [[nodiscard]] int32_t place_of(uint32_t b) const;

    // Copies the group `index` groups after the pointers. Missing blocks become zeros.
    void copy_group(uint32_t index, uint32_t blocks);

    // Writes the sums of sixteen q each, in 16 bits.
    void sum_sixteens(int32_t group);

    // ------------------------------------------------------------------ up to eight row groups

    // y += float(T) * scale for `whole` groups and, unless 0, `blocks` blocks of one more.
    void groups_in_line(uint32_t whole, uint32_t blocks);

    // `to` = T of row group a, or of a and b: 64-bit lanes that are still to be added up; odd lanes
    // belong to b. `sums`: distance of their sums from kSums.
    void total_of(unsigned to, const RowGroup &a, const RowGroup &b, int32_t sums);

    void prefetch(const RowGroup &row_group);

    // `to` = vector number `index` of the row group's sums: four sums of each block.
    void block_sums(unsigned to, const RowGroup &row_group, uint32_t index);

    // w = sums of four products each, w in -128..127. Two products are at most
    // 2 * 128 * 127 < 2^15.
    void signed_products(unsigned w, const Mem &q);
    [[nodiscard]] bool is_signed() const { return !format_.nibbles || format_.table; }

    // Adds 16 where a fifth bit is set. kTemp + 3 has the blocks' bits.
    void add_fifth_bits(unsigned to, uint32_t half);
    // Replaces nibbles by the weights that they stand for (IQ4_NL).
    void look_up(unsigned low, unsigned high);

    // Loads sixteen bytes of each of `blocks` blocks, each into a lane of its own.
    void gather(unsigned to, int32_t at, uint32_t blocks);
    // Loads 32 bytes of each of at most two blocks.
    void gather_wide(unsigned to, int32_t at, uint32_t blocks);

    // a = sums of neighbours: in each 128-bit lane two sums of a, then two of b.
    void add_pairs(unsigned a, unsigned b, bool fits_16 = false);

    // ------------------------------------------------------------------ scales

    // kTemp = the f16 scales of all blocks in the order of the sums. AVX2: each as the lower half
    // of 32 bits; the upper half is the two bytes that follow it in the file.
    void halves(const RowGroup &a, const RowGroup &b);

    // AVX-512: `minimum` 0 for scales, 1 for minimums.
    void halves_of_both(const RowGroup &a, const RowGroup &b, unsigned minimum);
    void halves_of(unsigned to, const RowGroup &row_group, unsigned minimum);

    // `to` = the mantissas of the f16 in `from`, as integers. AVX2: of the lower (`upper` 0) or the
    // upper halves (1) of its 32-bit lanes.
    void mantissas(unsigned to, unsigned from, unsigned upper);
    // `to` = the same of eight lanes, as floats.
    void factors(unsigned to, unsigned from, unsigned upper);
    Mem mantissa_factor() {
        constexpr float kFactor = 0x1p24f;
        return wide_ ? jit::broadcast(a_.constant_of(kFactor)) : everywhere(kFactor);
    }

    // to = a * b, the products of two neighbouring 32-bit lanes added up. Changes a and b.
    void multiply(unsigned to, unsigned a, unsigned b);

    // ------------------------------------------------------------------ super-blocks

    // Stores the totals of up to eight row groups (AVX2: four), as floats times their scales, in
    // the frame at `to`.
    void super_floats(std::span<const RowGroup> row_groups, int32_t to);

    [[nodiscard]] Vec half(unsigned number) const { return wide_ ? ymm(number) : xmm(number); }

    // sums = 32-bit sums as doubles, times the lower or upper f16 in kTemp.
    void times_factors(unsigned sums, unsigned upper);

    // Q4_K and Q5_K: the lanes of `scaled` add up to the sum of scale * S, the lanes of
    // `minimums` to that of minimum * X.
    void super_sums(const RowGroup &row_group, unsigned scaled, unsigned minimums);

    // Q6_K: the lanes of `scaled` add up to the sum of scale * (S - 32 X). Sums of four are at most
    // 4 * 63 * 127 = 32,004.
    void super_sums_16(const RowGroup &row_group, unsigned scaled);
    // Q2_K: as super_sums(). Q3_K: the lanes of `scaled` add up to the sum of scale * (S - 4 X).
    void super_sums_2_bits(const RowGroup &row_group, unsigned scaled, unsigned minimums);
    // `to` = the scales of all sixteen parts, as bytes. Q2_K: `minimums` as above, `scaled` = 0.
    // Q3_K: `scaled` = -4 times the sum of scale * X.
    void two_bit_scales(const RowGroup &row_group, unsigned to, unsigned scaled, unsigned minimums);
    // `to` = the weights of block `block`, one a byte: two bits, and Q3_K's third bit. Wide: those
    // of `block` + 4 in the upper 256 bits.
    void two_bit_weights(unsigned to, const RowGroup &row_group, uint32_t block);
    // Q5_K: `to` has the fifth bits of a part as bit 4 of its bytes, and those of the next part as
    // bit 5. Wide: the upper 256 bits belong to the part two parts later.
    void part_bits(unsigned to, int32_t bits, uint32_t part);
    // The bits that add_pair_bits() takes from every byte of `from`.
    [[nodiscard]] uint8_t pair_bits() const {
        return format_.two_bits ? 0x04 : format_.fifth ? 0x10 : 0x30;
    }
    void add_pair_bits(unsigned to, unsigned from);
    // Of the next scales, as signed words: number `low` + lane in the lower four words of each
    // lane, number `high` + lane in the upper four.
    void spread_signed(unsigned to, int32_t low, int32_t high);

    // `to` = the next parts' scales in 16 bits each, in the lanes of their sums. Wide: two parts in
    // a lane (parts 0 1, 0 1, 2 3, 2 3). Else: one part in all lanes.
    void spread(unsigned to, unsigned from, unsigned part);

    // `to` = eight scales, then eight minimums, six bits each, as bytes
    // (compute/numbers/weight_blocks.cpp has the layout).
    void part_scales(unsigned to, int32_t block);

    // ------------------------------------------------------------------ floats

    // Stores the totals in `vectors` registers from kTotal on, as floats times their scales, in the
    // frame at `to` and in kProduct.
    void floats_of(uint32_t vectors, int32_t to);
    // `to` = sums of neighbouring 128-bit lanes, two of a, then two of b.
    void fold(unsigned to, unsigned a, unsigned b, const VectorOp &add = op::paddq);

    // Adds the products in the frame to kY. The frame has all rows of one group, then those of the
    // next.
    void add_products(uint32_t groups);

    const GemvShape &shape_;
    const GemvPlan &plan_;
    const Format &format_;
    const bool wide_;
    const bool vnni_;
    const bool natural_;  // activations lie in the order of the columns
    const bool has_offset_;
    const uint32_t lanes_;  // lanes of 128 bits in a vector
    const int32_t bytes_;   // bytes of a vector
    const uint32_t groups_;
    const uint32_t tail_blocks_;
    Assembler a_;
    uint32_t rows_ = 1;  // rows of the loop that is being written
};

}  // namespace bareflow::compute::gemv_vector
