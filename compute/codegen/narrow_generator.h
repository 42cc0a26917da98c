// The generator behind compute/codegen/narrow.h, for its own files: narrow.cpp (rows, floats)
// and narrow_blocks_hosted.cpp (quantised types, where the arithmetic stands).
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
    uint8_t factor_at;   // the f16
    uint8_t minimum_at;  // 0: none (the scale or the weights stand there)
    uint8_t weights_at;  // the low bits
    uint8_t low_bits;    // 8, 4 or 2
    uint8_t high_at;     // further bits: of blocks of 32 one each, in 32 bits
    uint8_t high_mask;   // where they go; 0: none
    uint8_t offset;      // what is taken off each stored weight
    bool has_sign;       // weights have a sign once the offset is off
    bool whole;          // a part is 32 columns; else 16 (or sums of 32 don't fit 16 bits)
    Scales scales = Scales::kNone;
    uint8_t scales_at = 0;

    [[nodiscard]] constexpr bool super() const { return scales != Scales::kNone; }
};
// nullptr: not generated, or floats.
[[nodiscard]] const Format *format_of(TensorType type);

// Word k of four bytes each is (word `low` of the packed scales >> shift & mask) | (word `high`,
// shifted right, or left if below zero) & 0x30 (weight_blocks.cpp has the layouts).
struct ScaleWord {
    uint8_t low;
    uint8_t shift;
    uint8_t mask;
    uint8_t high;
    int8_t high_shift;
    bool two;  // has bits in `high`
};
// General registers.
inline constexpr Gp kArgs = Gp::kRdi;
inline constexpr std::array<Gp, kRows> kRow = {Gp::kRsi, Gp::kR8, Gp::kR9, Gp::kR10};
inline constexpr Gp kAt = Gp::kRcx;  // bytes into the rows
inline constexpr Gp kX = Gp::kRdx;   // the next activations,
inline constexpr Gp kSums = Gp::kR11;
inline constexpr Gp kGroupScale = Gp::kRbx;
inline constexpr Gp kFirst = Gp::kR12;  // row
inline constexpr Gp kEnd = Gp::kR13;
inline constexpr Gp kGroups = Gp::kR14;  // counters
inline constexpr Gp kBlocks = Gp::kR15;
inline constexpr Gp kT = Gp::kRax;
inline constexpr std::array<Gp, 6> kSaved = {Gp::kRbp, Gp::kRbx, Gp::kR12,
                                             Gp::kR13, Gp::kR14, Gp::kR15};

// Vector registers. 0-3: activations.
inline constexpr unsigned kSum = 4;      // one a row; floats: two
inline constexpr unsigned kMinimum = 8;  // one a row; or
inline constexpr unsigned kTotal = 8;    // doubles of rows 0 and 1, of 2 and 3
inline constexpr unsigned kOther = 10;   // two
inline constexpr unsigned kTemp = 12;    // four

// The frame, from rsp.
inline constexpr int32_t kOutAt = 0;  // where each row's result goes
inline constexpr int32_t kYAt = 32;
inline constexpr int32_t kWordsAt = 48;
inline constexpr int32_t kPartSumsAt = 64;  // of activations, in lanes of 16 bits
inline constexpr int32_t kScalesAt = 96;    // of each row 16 scales, then 16 minimums, 16 bits each
inline constexpr int32_t kScalesBytes = 64;
inline constexpr int32_t kFrameBytes = kScalesAt + static_cast<int32_t>(kRows) * kScalesBytes;

class NarrowGenerator {
  public:
    NarrowGenerator(const GemvShape &shape, const GemvPlan &plan, std::span<uint8_t> out,
                    jit::ConstantPool constants)
        : shape_(shape),
          plan_(plan),
          format_(format_of(shape.type)),
          bytes_(plan.set != InstructionSet::kSse2),
          a_(out, constants) {}

    [[nodiscard]] Result<size_t> run();

  private:
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
    // In all of a vector.
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

    void point_to_rows();
    void prefetch(uint32_t bytes);
    // Four vectors, `step` registers apart, to one: the sum of each, in the order
    // (0 + 2) + (1 + 3), in a lane.
    void transpose(unsigned first, unsigned step, const VectorOp &add);

    // ------------------------------------------------------------------ quantised

    void groups();
    void group(uint32_t blocks);
    // y += float(T) * scale.
    void add_total(unsigned total);
    void blocks_in_line(uint32_t count);
    // to, to + 1 = `sums` times the f16 at `at` in each row, as doubles, 2^-136 of it.
    void times_factors(unsigned sums, uint32_t at, unsigned to);
    void super_block();
    void part_scales(uint32_t row, int32_t to);
    // The lower and the upper eight bytes to 16 bits.
    void widen(unsigned from, int32_t low, int32_t high);
    void scale_words(uint32_t row, std::span<const ScaleWord, 4> words);
    // Adds 32 columns of every row, those of part number `part`, to kSum and kMinimum.
    void columns(uint32_t part, int32_t x);
    // kTemp + 1 = the scale everywhere, in 16 bits.
    void part_scale(uint32_t row, uint32_t index, int32_t from);
    // `to` = eight sums of two products each, of 16 columns; to + 1 is lost.
    void half_sums(uint32_t row, uint32_t part, unsigned half, unsigned to);
    // Bytes of 16 weights.
    void decode(uint32_t row, uint32_t part, unsigned half, unsigned to);
    void high_fields(uint32_t row, uint32_t part, unsigned half, unsigned to);
    // All ones where a bit is set, of the lower or upper 16.
    void high_bits(uint32_t row, unsigned half, unsigned to);

    // ------------------------------------------------------------------ floats

    void floats();
    // lane_i += w_i * x_i for the next `count` columns; the lanes of missing ones get +0.
    void eight(uint32_t count, int32_t x);
    void load_floats(unsigned to, const Mem &from, uint32_t count);
    void load_halves(unsigned to, uint32_t row, uint32_t count);

    const GemvShape &shape_;
    const GemvPlan &plan_;
    const Format *const format_;  // nullptr: floats
    const bool bytes_;            // SSSE3: bytes are multiplied
    Assembler a_;
    uint32_t ahead_ = 0;  // bytes into the rows, of what is being written
};

}  // namespace bareflow::compute::gemv_narrow
