// The generators behind compute/codegen/narrow.h, for their own files: narrow.cpp (what both
// share), narrow_floats.cpp, and narrow_blocks_hosted.cpp, which explains the arithmetic of block
// types.
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "compute/codegen/narrow.h"
#include "compute/kernels/instruction_set.h"
#include "compute/numbers/tensor_types.h"
#include "compute/numbers/weight_formats.h"

namespace bareflow::compute::gemv_narrow {

using jit::Alu;
using jit::Assembler;
using jit::Condition;
using jit::Gp;
using jit::Label;
using jit::Mem;
using jit::mem;
using jit::Scale;
using jit::Shift;
using jit::VectorOp;
using jit::Width;
using jit::xmm;
namespace op = jit::op;

inline constexpr uint32_t kRows = 4;

using Scales = PartScales;

struct Format {
    TensorType type;
    uint8_t block_bytes;
    uint8_t factor_at;   // where the f16 scale lies
    uint8_t minimum_at;  // where the f16 minimum lies; 0: none
    uint8_t weights_at;  // where the low bits lie
    uint8_t low_bits;    // 8, 4 or 2
    uint8_t high_at;     // where further bits lie; blocks of 32 have one a weight, in 32 bits
    uint8_t high_mask;   // the place of further bits in a weight; 0: there are none
    uint8_t offset;      // subtracted from each stored weight
    bool has_sign;       // weights have a sign once the offset is subtracted
    bool whole;          // 32 columns are added in 16 bits; else 16, as parts or bounds demand
    Scales scales = Scales::kNone;
    uint8_t scales_at = 0;

    [[nodiscard]] constexpr bool super() const { return scales != Scales::kNone; }
};
// nullptr: no block type.
[[nodiscard]] const Format *format_of(TensorType type);

// How a word of four unpacked scales is made of words of the packed ones: (word `low` >> shift &
// mask) | (word `high` >> high_shift & 0x30). A negative high_shift shifts left. The layouts stand
// in compute/numbers/weight_blocks.cpp.
struct ScaleWord {
    uint8_t low;
    uint8_t shift;
    uint8_t mask;
    uint8_t high;
    int8_t high_shift;
    bool two;  // there are bits in `high`
};
// General registers.
inline constexpr Gp kArgs = Gp::kRdi;
inline constexpr std::array<Gp, kRows> kRow = {Gp::kRsi, Gp::kR8, Gp::kR9, Gp::kR10};
inline constexpr Gp kAt = Gp::kRcx;  // bytes into the rows
inline constexpr Gp kX = Gp::kRdx;   // the next activations
inline constexpr Gp kSums = Gp::kR11;
inline constexpr Gp kGroupScale = Gp::kRbx;
inline constexpr Gp kFirst = Gp::kR12;  // the next row
inline constexpr Gp kEnd = Gp::kR13;
inline constexpr Gp kGroups = Gp::kR14;  // counters
inline constexpr Gp kBlocks = Gp::kR15;
inline constexpr Gp kT = Gp::kRax;
inline constexpr std::array<Gp, 6> kSaved = {Gp::kRbp, Gp::kRbx, Gp::kR12,
                                             Gp::kR13, Gp::kR14, Gp::kR15};

// Vector registers. 0-3: activations.
inline constexpr unsigned kSum = 4;      // one register a row; floats: two
inline constexpr unsigned kMinimum = 8;  // super-blocks: one register a row
inline constexpr unsigned kTotal = 8;    // blocks: doubles of rows 0 and 1, then of 2 and 3
inline constexpr unsigned kOther = 10;   // two registers
inline constexpr unsigned kTemp = 12;    // four registers

// The frame, from rsp.
inline constexpr int32_t kOutAt = 0;  // where each row's result goes
inline constexpr int32_t kYAt = 32;
inline constexpr int32_t kWordsAt = 48;
inline constexpr int32_t kPartSumsAt = 64;  // sums of a part's activations, in lanes of 16 bits
inline constexpr int32_t kScalesAt = 96;    // each row: 16 scales, then 16 minimums, 16 bits each
inline constexpr int32_t kScalesBytes = 64;
inline constexpr int32_t kFrameBytes = kScalesAt + static_cast<int32_t>(kRows) * kScalesBytes;

// What the generators of float types and of block types share: frame, loops over rows, and helpers.
class NarrowGenerator {
  public:
    [[nodiscard]] Result<size_t> run();

  protected:
    NarrowGenerator(const GemvShape &shape, const GemvPlan &plan, std::span<uint8_t> out,
                    jit::ConstantPool constants)
        : shape_(shape), plan_(plan), a_(out, constants) {}
    ~NarrowGenerator() = default;

    // Writes the products of the four rows at kRow with the activations. The results go to the
    // frame at kYAt, which has zeros before.
    virtual void four_rows() = 0;

    void v(const VectorOp &what, unsigned to, unsigned from, unsigned value = 0) {
        a_.sse(what, xmm(to), xmm(from), value);
    }
    void v(const VectorOp &what, unsigned to, const Mem &from, unsigned value = 0) {
        a_.sse(what, xmm(to), from, value);
    }
    void shift(const VectorOp &what, unsigned to, unsigned by) {
        if (by != 0) {
            a_.sse(what, xmm(to), by);
        }
    }
    void store(int32_t at, unsigned from) {
        a_.sse(op::movaps_store, mem(Gp::kRsp, at), xmm(from));
    }
    // `value` repeated over a vector in memory.
    template <typename T>
    Mem everywhere(T value) {
        std::array<T, 16 / sizeof(T)> all;
        all.fill(value);
        return a_.constant_of(all);
    }
    void zero(unsigned to) { v(op::pxor, to, to); }

    [[nodiscard]] Mem weight(uint32_t row, uint32_t at) const {
        return mem(kRow[row], kAt, Scale::k1, static_cast<int32_t>(ahead_ + at));
    }
    static int32_t field(size_t offset) { return static_cast<int32_t>(offset); }

    template <typename Body>
    void repeat(Gp counter, uint32_t times, Body body) {
        if (times == 0) {
            return;
        }
        const Label again = a_.new_label();
        a_.mov(counter, times);
        a_.bind(again);
        body();
        a_.alu(Alu::kSub, counter, 1);
        a_.jcc(Condition::kNotEqual, again);
    }

    // Prefetches `bytes` of each row, at the plan's distance.
    void prefetch(uint32_t bytes);
    // Adds up four vectors, `step` registers apart, in the order (0 + 2) + (1 + 3). The sum of each
    // becomes one lane of `first`.
    void transpose(unsigned first, unsigned step, const VectorOp &add);

    const GemvShape &shape_;
    const GemvPlan &plan_;
    Assembler a_;
    uint32_t ahead_ = 0;  // bytes from kAt to the block that is being written

  private:
    void point_to_rows();
};

class NarrowBlocks final : public NarrowGenerator {
  public:
    NarrowBlocks(const GemvShape &shape, const GemvPlan &plan, std::span<uint8_t> out,
                 jit::ConstantPool constants)
        : NarrowGenerator(shape, plan, out, constants),
          format_(format_of(shape.type)),
          bytes_(plan.set != InstructionSet::kSse2) {}

  private:
    void four_rows() override;
    // `blocks` blocks of a group, at most eight.
    void group(uint32_t blocks);
    // y += float(T) * scale. T lies in `total` and the next register.
    void add_total(unsigned total);
    void blocks_in_line(uint32_t count);
    // to, to + 1 = `sums` times the f16 at `at` in each row, as doubles. They are 2^-136 of it.
    void times_factors(unsigned sums, uint32_t at, unsigned to);
    void super_block();
    // Stores a row's scales and minimums in the frame at `to`, in 16 bits each.
    void part_scales(uint32_t row, int32_t to);
    // Stores the lower eight bytes of `from` at `low` and the upper eight at `high`, in 16 bits
    // each.
    void widen(unsigned from, int32_t low, int32_t high);
    // Stores four words of unpacked scales in the frame at kWordsAt.
    void scale_words(uint32_t row, std::span<const ScaleWord, 4> words);
    // Adds 32 columns of every row, those of part number `part`, to kSum and kMinimum. x: distance
    // of their activations from kX.
    void columns(uint32_t part, int32_t x);
    // kTemp + 1 = scale number `index` of the row in all lanes of 16 bits. from: 0 for scales, the
    // distance to the minimums for those.
    void part_scale(uint32_t row, uint32_t index, int32_t from);
    // `to` = eight sums of two products each, of 16 columns. Changes to + 1.
    void half_sums(uint32_t row, uint32_t part, unsigned half, unsigned to);
    // `to` = 16 weights, one a byte.
    void decode(uint32_t row, uint32_t part, unsigned half, unsigned to);
    // `to` = further bits of 16 weights, at their place, and other bits beside them.
    void high_fields(uint32_t row, uint32_t part, unsigned half, unsigned to);
    // `to` = bytes with all bits set where a further bit is set, of the lower or the upper 16.
    void high_bits(uint32_t row, unsigned half, unsigned to);

    const Format *const format_;
    const bool bytes_;  // SSSE3: bytes are multiplied. SSE2: 16 bits
};

}  // namespace bareflow::compute::gemv_narrow
