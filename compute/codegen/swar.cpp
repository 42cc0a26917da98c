// The SWAR generator: 64-bit integer instructions multiply two (Q8_0) or four (Q4_0, Q4_1) weights
// with their activations at once. For each row and group of 256 columns the code computes the exact
// sum T, converts it once, and multiplies it with the group's scale.
//
// What must hold: no field of a word overflows into the next one (the bounds stand at `Format`),
// and distances within a row's blocks fit into displacements (swar_fits).
//
// Two ways to hold activations. Shared: words of activations are loaded into registers and serve
// all rows. Direct, for one or two rows: they stay operands in memory of the multiplications, which
// leaves registers for everything else.
#include "compute/codegen/swar.h"

#include <array>
#include <cstddef>

#include "compute/kernels/gemv.h"
#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"
#include "compute/numbers/weight_formats.h"
#include "kernel_lib/jit/assembler.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow::compute {
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
using jit::Ss;
using jit::Width;
using jit::Xmm;

constexpr uint32_t kGroupBlocks = kGroupElements / kBlockElements;

// Computes the mantissa of an f16 without a branch or a variable shift. With h = 1024 i + fraction,
// where i is sign and exponent:  M = h * factor[i] + offset[i].
struct MantissaTable {
    std::array<int64_t, 64> factor{};
    std::array<int64_t, 64> offset{};
};
constexpr MantissaTable make_mantissa_table() {
    MantissaTable table;
    for (int64_t i = 0; i < 64; ++i) {
        const int64_t exponent = i % 32;
        const int64_t normal = exponent != 0;
        const int64_t factor = (int64_t{1} << (exponent - normal)) * (i < 32 ? 1 : -1);
        table.factor[static_cast<size_t>(i)] = factor;
        table.offset[static_cast<size_t>(i)] = normal * 1024 * factor - i * 1024 * factor;
    }
    return table;
}
constexpr MantissaTable kMantissas = make_mantissa_table();

// What differs between the formats. The arithmetic of a block is modulo 2^64. W_j is a word of
// weights masked into fields, x_j its word of activations (compute/numbers/quant.h):
//
//   total word = start + sum_j W_j x_j;   dot = total word >> field_shift   (arithmetic)
//
//   Q8_0  has fields of 32 bits, W = byte ^ 0x80 = w + 128, 16 words. start = 2^31 - (128 X << 32),
//         where X is the sum of the block's q. The top field is sum w q, below 2^20. The low field
//         is at most 16 * 255 * 127 = 518,160 in magnitude, so adding 2^31 makes it non-negative
//         and below 2^32.
//   Q4_x  have fields of 16 bits, W = n, 8 words. start = 2^47 - E * sum_j x_j, where E has 8 in
//         every field. So the sum is that of (W_j - E) x_j: whole-word arithmetic with fields n - 8
//         in -8..7. Field k sums k + 1 products a word, at most 4 * 8 * 8 * 127 = 32,512 < 2^15, so
//         fields are shifted out once a block. The lower three fields together are below 2^47 in
//         magnitude: adding 2^47 makes them non-negative.
//   Q4_1  needs n instead of n - 8: dot + 8 X. Its minimum is the mantissa times X.
struct Format {
    uint32_t block_bytes;
    uint32_t header_bytes;
    uint32_t loads;  // loads of eight bytes a block; each becomes four words
    uint32_t field_bits;
    uint64_t mask;
    uint64_t constant;  // Q8_0: the sign bits, which are flipped; Q4_x: E
    ActivationForms form;
};
constexpr Format kQ8_0Format = {.block_bytes = weight_format(TensorType::kQ8_0).block_bytes,
                                .header_bytes = weight_format(TensorType::kQ8_0).low_at,
                                .loads = 4,
                                .field_bits = 8,
                                .mask = 0x000000ff000000ff,
                                .constant = 0x8080808080808080,
                                .form = kFormPairs};
constexpr Format kQ4_0Format = {.block_bytes = weight_format(TensorType::kQ4_0).block_bytes,
                                .header_bytes = weight_format(TensorType::kQ4_0).low_at,
                                .loads = 2,
                                .field_bits = 4,
                                .mask = 0x000f000f000f000f,
                                .constant = 0x0008000800080008,
                                .form = kFormQuads};
constexpr Format kQ4_1Format = {.block_bytes = weight_format(TensorType::kQ4_1).block_bytes,
                                .header_bytes = weight_format(TensorType::kQ4_1).low_at,
                                .loads = 2,
                                .field_bits = 4,
                                .mask = 0x000f000f000f000f,
                                .constant = 0x0008000800080008,
                                .form = kFormQuads};

const Format &format_of(TensorType type) {
    switch (type) {
        case TensorType::kQ8_0:
            return kQ8_0Format;
        case TensorType::kQ4_0:
            return kQ4_0Format;
        case TensorType::kQ4_1:
            return kQ4_1Format;
        default:
            platform::panic("no generator for this tensor type");
    }
}

// Register roles. Every general register but rsp has one; all other values lie in the frame.
constexpr Gp kT = Gp::kRax;
constexpr Gp kU = Gp::kRcx;
constexpr std::array<Gp, 4> kX = {Gp::kRbx, Gp::kRbp, Gp::kRdx, Gp::kR12};
constexpr std::array<Gp, kMaxSwarRows> kSum = {Gp::kR8, Gp::kR9, Gp::kR10, Gp::kR11};
// Plans of one or two rows keep more values in registers instead of the frame. Totals lie where the
// sums of rows 3 and 4 would be. With direct activations, the pointer to the next block sum and two
// products lie in registers as well.
constexpr uint32_t kRowsInRegisters = 2;
constexpr Gp kNextSumRegister = kX[1];
constexpr std::array<Gp, 2> kProducts = {kX[0], kX[2]};
constexpr Gp kBlockSum = kX[3];
constexpr Gp kWeights = Gp::kRsi;      // row 0's next block
constexpr Gp kActivations = Gp::kRdi;  // its packed activations
constexpr Gp kTable = Gp::kR13;
constexpr Gp kMask = Gp::kR14;
constexpr Gp kConstant = Gp::kR15;
constexpr std::array<Gp, 6> kSaved = {Gp::kRbx, Gp::kRbp, Gp::kR12, Gp::kR13, Gp::kR14, Gp::kR15};
constexpr Xmm kProduct = jit::xmm(4);  // rows' results are in 0..3
constexpr Xmm kGroupScale = jit::xmm(5);

// The frame, in words from rsp.
enum FrameWord : int32_t {
    kTotal,  // one for each row
    kRowsLeft = kTotal + kMaxSwarRows,
    kOut,              // y of the next row
    kFirstActivation,  // the next three: where each row starts
    kFirstSum,
    kFirstScale,
    kNextSum,
    kNextScale,
    kGroupsLeft,
    kRunsLeft,
    kFrameWords,
};
constexpr int32_t kFrameBytes = kFrameWords * 8;

constexpr Mem frame_word(int32_t index) {
    return mem(Gp::kRsp, index * 8);
}

class SwarGenerator {
  public:
    SwarGenerator(const GemvShape &shape, const GemvPlan &plan, std::span<uint8_t> out)
        : shape_(shape),
          plan_(plan),
          format_(format_of(shape.type)),
          direct_(plan.direct),
          a_(out) {}

    Result<size_t> run() {
        prologue();
        for (uint32_t rows = plan_.rows; rows != 0; rows = rows > 1 ? 1 : 0) {
            // Rows that do not fill a set of `rows` follow one by one, in a body without unrolling:
            // they are too few to be worth the space.
            row_loop(rows, rows == plan_.rows ? plan_.unroll : 1u);
        }
        a_.add(Gp::kRsp, kFrameBytes);
        for (size_t i = kSaved.size(); i != 0; --i) {
            a_.pop(kSaved[i - 1]);
        }
        a_.ret();
        return a_.finish();
    }

  private:
    static constexpr int32_t field(size_t offset) { return static_cast<int32_t>(offset); }

    // In: rdi: GemvArgs, esi: first row, edx: end.
    void prologue() {
        for (const Gp reg : kSaved) {
            a_.push(reg);
        }
        a_.alu(Alu::kSub, Gp::kRsp, kFrameBytes);
        const auto activation = [](size_t offset) {
            return mem(Gp::kRdi, field(offsetof(GemvArgs, xq) + offset));
        };
        a_.mov(kT, Gp::kRsi, Width::k32);
        a_.mov(kU, Gp::kRdx, Width::k32);
        a_.sub(kU, kT);
        a_.mov(frame_word(kRowsLeft), kU);
        a_.mov(kU, mem(Gp::kRdi, field(offsetof(GemvArgs, y))));
        a_.lea(kU, mem(kU, kT, Scale::k4));
        a_.mov(frame_word(kOut), kU);
        a_.mov(kU, activation(offsetof(QuantizedActivation, block_sums)));
        a_.mov(frame_word(kFirstSum), kU);
        a_.mov(kU, activation(offsetof(QuantizedActivation, group_scales)));
        a_.mov(frame_word(kFirstScale), kU);
        a_.mov(kU, format_.form == kFormPairs ? activation(offsetof(QuantizedActivation, pairs))
                                              : activation(offsetof(QuantizedActivation, quads)));
        a_.mov(frame_word(kFirstActivation), kU);
        a_.imul(kT, kT, static_cast<int32_t>(shape_.row_bytes));
        a_.add(kT, mem(Gp::kRdi, field(offsetof(GemvArgs, weights))));
        a_.mov(kWeights, kT);
        a_.mov(kMask, format_.mask);
        // Direct sums have no `start`: Q4_x add half of the top field's unit instead of using E.
        a_.mov(kConstant,
               direct_ && format_.form == kFormQuads ? uint64_t{1} << 47 : format_.constant);
        a_.mov(kTable, reinterpret_cast<uintptr_t>(&kMantissas));
    }

    // Computes `rows` rows together while at least `rows` rows are left.
    void row_loop(uint32_t rows, uint32_t unroll) {
        rows_ = rows;
        const Label next = a_.new_label();
        const Label end = a_.new_label();
        a_.bind(next);
        a_.alu(Alu::kSub, frame_word(kRowsLeft), static_cast<int32_t>(rows));
        a_.jcc(Condition::kLess, end);

        const uint32_t blocks = shape_.cols / kBlockElements;
        const uint32_t groups = blocks / kGroupBlocks;
        for (uint32_t row = 0; row < rows; ++row) {
            a_.xorps(jit::xmm(row), jit::xmm(row));
        }
        a_.mov(kActivations, frame_word(kFirstActivation));
        a_.mov(direct_ ? kNextSumRegister : kT, frame_word(kFirstSum));
        if (!direct_) {
            a_.mov(frame_word(kNextSum), kT);
        }
        a_.mov(kT, frame_word(kFirstScale));
        a_.mov(frame_word(kNextScale), kT);
        repeat(kGroupsLeft, groups, [&] { group(kGroupBlocks, unroll); });
        if (blocks % kGroupBlocks != 0) {
            group(blocks % kGroupBlocks, unroll);
        }
        a_.mov(kT, frame_word(kOut));
        for (uint32_t row = 0; row < rows; ++row) {
            a_.movss(mem(kT, static_cast<int32_t>(4 * row)), jit::xmm(row));
        }
        a_.alu(Alu::kAdd, frame_word(kOut), static_cast<int32_t>(4 * rows));
        a_.add(kWeights, static_cast<int32_t>(rows * shape_.row_bytes) -
                             static_cast<int32_t>(blocks * format_.block_bytes));
        a_.jmp(next);
        a_.bind(end);
        a_.alu(Alu::kAdd, frame_word(kRowsLeft), static_cast<int32_t>(rows));
    }

    // Writes a loop that runs `body` `times` times. The counter is kept in the frame.
    template <typename Body>
    void repeat(FrameWord counter, uint32_t times, Body body) {
        if (times == 0) {
            return;
        }
        const Label again = a_.new_label();
        if (times > 1) {
            a_.mov(kT, times);
            a_.mov(frame_word(counter), kT);
            a_.bind(again);
        }
        body();
        if (times > 1) {
            a_.alu(Alu::kSub, frame_word(counter), 1);
            a_.jcc(Condition::kNotEqual, again);
        }
    }

    // y = y + float(T) * scale for each row, T summed over `blocks` blocks.
    void group(uint32_t blocks, uint32_t unroll) {
        if (rows_ > kRowsInRegisters) {
            a_.alu(Alu::kXor, kT, kT, Width::k32);
        }
        for (uint32_t row = 0; row < rows_; ++row) {
            if (rows_ <= kRowsInRegisters) {
                a_.alu(Alu::kXor, total_register(row), total_register(row), Width::k32);
            } else {
                a_.mov(total_word(row), kT);
            }
        }
        repeat(kRunsLeft, blocks / unroll, [&] { blocks_in_line(unroll); });
        if (blocks % unroll != 0) {
            blocks_in_line(blocks % unroll);
        }
        a_.mov(kT, frame_word(kNextScale));
        a_.movss(kGroupScale, mem(kT));
        a_.alu(Alu::kAdd, frame_word(kNextScale), 4);
        for (uint32_t row = 0; row < rows_; ++row) {
            // The conversion keeps the upper lanes: without a cleared register it would wait for
            // the last value of kProduct.
            a_.xorps(kProduct, kProduct);
            if (rows_ <= kRowsInRegisters) {
                a_.cvtsi2ss(kProduct, total_register(row));
            } else {
                a_.cvtsi2ss(kProduct, total_word(row));
            }
            a_.ss(Ss::kMul, kProduct, kGroupScale);
            a_.ss(Ss::kAdd, jit::xmm(row), kProduct);
        }
    }
    static Mem total_word(uint32_t row) { return frame_word(kTotal + static_cast<int32_t>(row)); }
    static Gp total_register(uint32_t row) { return kSum[kRowsInRegisters + row]; }

    void blocks_in_line(uint32_t count) {
        for (uint32_t i = 0; i < count; ++i) {
            block(i);
        }
        a_.add(kWeights, static_cast<int32_t>(count * format_.block_bytes));
        a_.add(kActivations, static_cast<int32_t>(count * format_.loads * 4 * 8));
        if (direct_) {
            a_.add(kNextSumRegister, static_cast<int32_t>(count * 4));
        } else {
            a_.alu(Alu::kAdd, frame_word(kNextSum), static_cast<int32_t>(count * 4));
        }
    }

    // `to` = the sum of a block's activations. Changes kT.
    void load_block_sum(Gp to, uint32_t index) {
        if (!direct_) {
            a_.mov(kT, frame_word(kNextSum));
        }
        a_.movsxd(to, mem(direct_ ? kNextSumRegister : kT, static_cast<int32_t>(4 * index)));
    }

    // Byte `offset` of the block `index` blocks after the next one.
    [[nodiscard]] Mem weight(uint32_t row, uint32_t index, uint32_t offset) const {
        return mem(kWeights, static_cast<int32_t>(row * shape_.row_bytes +
                                                  index * format_.block_bytes + offset));
    }
    [[nodiscard]] Mem activation(uint32_t index, uint32_t word) const {
        return mem(kActivations, static_cast<int32_t>((index * format_.loads * 4 + word) * 8));
    }

    void block(uint32_t index) {
        direct_ ? direct_sums(index) : shared_sums(index);
        for (uint32_t row = 0; row < rows_; ++row) {
            const Gp dot = kSum[row];
            if (shape_.type == TensorType::kQ4_1 && !direct_) {
                a_.lea(dot, mem(dot, kBlockSum, Scale::k8));
            }
            mantissa(kU, weight(row, index, 0));
            a_.imul(dot, kU);
            if (shape_.type == TensorType::kQ4_1) {
                mantissa(kU, weight(row, index, 2));
                a_.imul(kU, kBlockSum);
                a_.lea(dot, mem(dot, kU, Scale::k1));
            }
            if (rows_ <= kRowsInRegisters) {
                a_.add(total_register(row), dot);
            } else {
                a_.alu(Alu::kAdd, total_word(row), dot);
            }
        }
    }

    // kSum = each row's dot product. Q4_1: the dot product minus 8 X, and kBlockSum = X.
    void shared_sums(uint32_t index) {
        start_sums(index);
        for (uint32_t load = 0; load < format_.loads; ++load) {
            if (load != 0 || format_.form == kFormPairs) {
                load_activations(index, load);
            }
            for (uint32_t row = 0; row < rows_; ++row) {
                load_weights(row, index, load);
                products(row);
            }
        }
        for (uint32_t row = 0; row < rows_; ++row) {
            a_.shift(Shift::kSar, kSum[row], format_.form == kFormPairs ? 32 : 48);
        }
        if (shape_.type == TensorType::kQ4_1) {
            load_block_sum(kBlockSum, index);  // the registers kX are free again
        }
    }

    // The same with activations in memory. This is made for an emulator, which keeps registers and
    // flags in memory between two loads: sums are trees, not chains, and are added with lea.
    // Q4_x shift the field out after each load: four products a field are at most
    // 4 * 4 * 15 * 127 = 30,480 < 2^15. They subtract 8 X, which is cheaper here than `start`.
    void direct_sums(uint32_t index) {
        load_block_sum(kBlockSum, index);
        if (format_.form == kFormPairs) {
            a_.shift(Shift::kShl, kBlockSum, 32 + 7);
            a_.mov(kT, uint64_t{1} << 31);
            a_.sub(kT, kBlockSum);
            a_.mov(kBlockSum, kT);
        }
        for (uint32_t row = 0; row < rows_; ++row) {
            const Gp sum = kSum[row];
            for (uint32_t load = 0; load < format_.loads; ++load) {
                load_weights(row, index, load);
                direct_products(index, load);
                if (format_.form == kFormQuads) {
                    a_.lea(kT, mem(kT, kConstant, Scale::k1));
                    a_.shift(Shift::kSar, kT, 48);
                }
                if (load == 0) {
                    a_.mov(sum, kT);
                } else {
                    a_.lea(sum, mem(sum, kT, Scale::k1));
                }
            }
            if (format_.form == kFormPairs) {
                a_.lea(sum, mem(sum, kBlockSum, Scale::k1));
                a_.shift(Shift::kSar, sum, 32);
            }
        }
        if (shape_.type == TensorType::kQ4_0) {
            a_.shift(Shift::kShl, kBlockSum, 3);
            for (uint32_t row = 0; row < rows_; ++row) {
                a_.sub(kSum[row], kBlockSum);
            }
        }
    }

    void load_weights(uint32_t row, uint32_t index, uint32_t load) {
        a_.mov(kU, weight(row, index, format_.header_bytes + 8 * load));
        if (format_.form == kFormPairs) {
            a_.alu(Alu::kXor, kU, kConstant);
        }
    }

    void load_activations(uint32_t index, uint32_t load) {
        for (uint32_t i = 0; i < 4; ++i) {
            a_.mov(kX[i], activation(index, 4 * load + i));
        }
    }

    // kSum = `start` of the format, the same for all rows. Q4_x leave the first four words of
    // activations in kX.
    void start_sums(uint32_t index) {
        if (format_.form == kFormPairs) {
            load_block_sum(kU, index);
            a_.shift(Shift::kShl, kU, 32 + 7);
            a_.mov(kT, uint64_t{1} << 31);
        } else {
            load_activations(index, 0);
            a_.lea(kU, mem(kX[0], kX[1], Scale::k1));
            a_.add(kU, kX[2]);
            a_.add(kU, kX[3]);
            for (uint32_t i = 4; i < 8; ++i) {
                a_.add(kU, activation(index, i));
            }
            a_.imul(kU, kConstant);
            a_.mov(kT, uint64_t{1} << 47);
        }
        a_.sub(kT, kU);
        for (uint32_t row = 0; row < rows_; ++row) {
            a_.mov(kSum[row], kT);
        }
    }

    // `to` = word number i of the four words in kU.
    void field_word(Gp to, uint32_t i) {
        if (to != kU) {
            a_.mov(to, kU);
        }
        if (i != 0) {
            a_.shift(Shift::kShr, to, i * format_.field_bits);
        }
        a_.alu(Alu::kAnd, to, kMask);
    }

    // Adds the four words in kU, times those in kX, to the row's sum.
    void products(uint32_t row) {
        for (uint32_t i = 0; i < 4; ++i) {
            const Gp word = i < 3 ? kT : kU;
            field_word(word, i);
            a_.imul(word, kX[i]);
            a_.add(kSum[row], word);
        }
    }

    // kT = the sum of the four words in kU times the activations in memory.
    void direct_products(uint32_t index, uint32_t load) {
        const std::array<Gp, 4> word = {kT, kProducts[0], kProducts[1], kU};
        for (uint32_t i = 0; i < 4; ++i) {
            field_word(word[i], i);
            a_.imul(word[i], activation(index, 4 * load + i));
        }
        a_.lea(word[0], mem(word[0], word[1], Scale::k1));
        a_.lea(word[2], mem(word[2], word[3], Scale::k1));
        a_.lea(word[0], mem(word[0], word[2], Scale::k1));
    }

    // `to` = the mantissa of the f16 at `from`. Changes kT.
    void mantissa(Gp to, Mem from) {
        constexpr auto kOffsets = static_cast<int32_t>(offsetof(MantissaTable, offset));
        a_.movzx16(to, from);
        a_.mov(kT, to, Width::k32);
        a_.shift(Shift::kShr, kT, 10, Width::k32);
        a_.imul(to, mem(kTable, kT, Scale::k8));
        a_.add(to, mem(kTable, kT, Scale::k8, kOffsets));
    }

    const GemvShape &shape_;
    const GemvPlan &plan_;
    const Format &format_;
    const bool direct_;
    Assembler a_;
    uint32_t rows_ = 1;  // rows of the loop that is being written
};

}  // namespace

bool swar_fits(const GemvShape &shape, const GemvPlan &plan) {
    // Displacements reach over the rows computed together and one run of blocks.
    constexpr uint64_t kReach = uint64_t{1} << 30;
    return shape.cols != 0 && shape.cols % kBlockElements == 0 &&
           shape.row_bytes < kReach / kMaxSwarRows &&
           shape.row_bytes >=
               uint64_t{shape.cols} / kBlockElements * format_of(shape.type).block_bytes &&
           plan.rows >= 1 && plan.rows <= (plan.direct ? kRowsInRegisters : kMaxSwarRows) &&
           (plan.unroll == 1 || plan.unroll == 2 || plan.unroll == 4 || plan.unroll == 8);
}

// A row's block is below 448 bytes (Q8_0: 16 words of five instructions, and some more; a test
// looks). There is one run of `unroll` blocks, and another for the last, shorter group. The blocks
// of that group that fill no run follow. These three are at most 15 blocks together. Single rows
// need two blocks more.
size_t swar_code_room(const GemvPlan &plan) {
    constexpr size_t kBlockRoom = 448;
    constexpr size_t kFrameRoom = 1024;
    const size_t blocks = plan.unroll == 8 ? 15 : 3 * size_t{plan.unroll};
    return (plan.rows * blocks + 2) * kBlockRoom + kFrameRoom;
}

ActivationForms swar_forms(TensorType type) {
    return format_of(type).form;
}

Result<size_t> generate_swar(const GemvShape &shape, const GemvPlan &plan, std::span<uint8_t> out,
                             jit::ConstantPool) {
    return SwarGenerator(shape, plan, out).run();
}

}  // namespace bareflow::compute
