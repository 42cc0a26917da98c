// The generator for float types. A vector has the eight lanes of one row.
//
// The range of rows is cut into `rows` sections, which are computed side by side, so memory is read
// as that many streams. Where a range has many rows, a section is a row longer than it must be:
// otherwise all streams would reach new pages together. A row beyond the range is replaced by the
// range's last row.
//
// What must hold: columns that are missing in the last eight add +0 to their lanes, which are never
// -0; and nothing beside a row is read.
#include "compute/codegen/floats.h"

#include <array>
#include <bit>

#include "compute/kernels/gemv.h"
#include "compute/kernels/instruction_set.h"
#include "compute/numbers/tensor_types.h"
#include "kernel_lib/jit/assembler.h"

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
using jit::Width;
using jit::xmm;
using jit::ymm;
namespace op = jit::op;

constexpr uint32_t kLanes = 8;
constexpr uint32_t kMostRows = 8;
constexpr uint32_t kLine = 64;
constexpr int32_t kManyRows = 256;  // from here on, one more row costs nothing

constexpr Gp kArgs = Gp::kRdi;
constexpr std::array<Gp, kMostRows> kRow = {Gp::kRsi, Gp::kRdx, Gp::kRcx, Gp::kR8,
                                            Gp::kR9,  Gp::kR10, Gp::kR11, Gp::kRbx};
constexpr Gp kAt = Gp::kRax;  // in columns(): bytes into the rows; before: a row's number
constexpr Gp kX = Gp::kR12;   // in columns(): the activations; before: a row within the range
constexpr Gp kFirst = Gp::kR13;
constexpr Gp kEnd = Gp::kR14;
constexpr Gp kSectionEnd = Gp::kR15;  // of the first section
constexpr Gp kSection = Gp::kRbp;     // rows of a section
constexpr std::array<Gp, 6> kSaved = {Gp::kRbp, Gp::kRbx, Gp::kR12, Gp::kR13, Gp::kR14, Gp::kR15};

// Vector registers. 0-7: the lanes of each row.
constexpr unsigned kUpper = 12;
constexpr unsigned kW = 13;
constexpr unsigned kXs = 14;

// The frame, from rsp: where each row's result goes.
constexpr int32_t kFrameBytes = 8 * static_cast<int32_t>(kMostRows);

int32_t field(size_t offset) {
    return static_cast<int32_t>(offset);
}

class FloatGenerator {
  public:
    FloatGenerator(const GemvShape &shape, const GemvPlan &plan, std::span<uint8_t> out,
                   jit::ConstantPool constants)
        : shape_(shape),
          plan_(plan),
          element_(shape.type == TensorType::kF32 ? 4 : 2),
          a_(out, constants) {}

    Result<size_t> run() {
        for (const Gp reg : kSaved) {
            a_.push(reg);
        }
        a_.alu(Alu::kSub, Gp::kRsp, kFrameBytes);
        a_.mov(kFirst, Gp::kRsi, Width::k32);
        a_.mov(kEnd, Gp::kRdx, Width::k32);
        find_sections();
        const Label next = a_.new_label();
        const Label end = a_.new_label();
        a_.bind(next);
        a_.cmp(kFirst, kSectionEnd);
        a_.jcc(Condition::kGreaterEqual, end);
        point_to_rows();
        columns();
        for (uint32_t row = 0; row < plan_.rows; ++row) {
            store(row);
        }
        a_.add(kFirst, 1);
        a_.jmp(next);
        a_.bind(end);
        a_.vzeroupper();
        a_.add(Gp::kRsp, kFrameBytes);
        for (size_t i = kSaved.size(); i != 0; --i) {
            a_.pop(kSaved[i - 1]);
        }
        a_.ret();
        return a_.finish();
    }

  private:
    void find_sections() {
        const Label few_rows = a_.new_label();
        a_.mov(kAt, kEnd);
        a_.sub(kAt, kFirst);
        a_.lea(kSection, mem(kAt, plan_.rows - 1));
        if (plan_.rows > 1) {
            a_.shift(Shift::kShr, kSection, static_cast<unsigned>(std::countr_zero(plan_.rows)));
            a_.alu(Alu::kCmp, kAt, kManyRows);
            a_.jcc(Condition::kLess, few_rows);
            a_.add(kSection, 1);
        }
        a_.bind(few_rows);
        a_.lea(kSectionEnd, mem(kFirst, kSection, Scale::k1));
    }

    void point_to_rows() {
        a_.mov(kAt, kFirst);
        for (uint32_t row = 0; row < plan_.rows; ++row) {
            const Label there = a_.new_label();
            a_.mov(kX, kAt);
            a_.cmp(kX, kEnd);
            a_.jcc(Condition::kLess, there);
            a_.lea(kX, mem(kEnd, -1));
            a_.bind(there);
            a_.imul(kRow[row], kX, static_cast<int32_t>(shape_.row_bytes));
            a_.add(kRow[row], mem(kArgs, field(offsetof(GemvArgs, weights))));
            a_.shift(Shift::kShl, kX, 2);
            a_.add(kX, mem(kArgs, field(offsetof(GemvArgs, y))));
            a_.mov(mem(Gp::kRsp, 8 * static_cast<int32_t>(row)), kX);
            a_.add(kAt, kSection);
            a_.avx(op::pxor, xmm(row), xmm(row), xmm(row));
        }
        a_.alu(Alu::kXor, kAt, kAt, Width::k32);
        a_.mov(kX, mem(kArgs, field(offsetof(GemvArgs, x))));
    }

    // A row's weights, `bytes` after the next column.
    [[nodiscard]] Mem weights(uint32_t row, uint32_t bytes) const {
        return mem(kRow[row], kAt, Scale::k1, static_cast<int32_t>(bytes));
    }
    [[nodiscard]] Mem xs(uint32_t column) const {
        return mem(kX, kAt, element_ == 4 ? Scale::k1 : Scale::k2,
                   static_cast<int32_t>(column * 4));
    }

    void columns() {
        const uint32_t run_columns = kLanes * plan_.unroll;
        const uint32_t runs = shape_.cols / run_columns;
        if (runs != 0) {
            const Label again = a_.new_label();
            a_.bind(again);
            prefetch(run_columns * element_);
            for (uint32_t i = 0; i < plan_.unroll; ++i) {
                eight(i * kLanes, kLanes);
            }
            a_.add(kAt, static_cast<int32_t>(run_columns * element_));
            a_.alu(Alu::kCmp, kAt, static_cast<int32_t>(runs * run_columns * element_));
            a_.jcc(Condition::kLess, again);
        }
        const uint32_t left = shape_.cols % run_columns;
        for (uint32_t at = 0; at < left; at += kLanes) {
            eight(at, left - at < kLanes ? left - at : kLanes);
        }
    }

    void prefetch(uint32_t bytes) {
        for (uint32_t at = 0; at < bytes && plan_.ahead != 0; at += kLine) {
            for (uint32_t row = 0; row < plan_.rows; ++row) {
                a_.prefetch(jit::Prefetch::kT0, weights(row, at + plan_.ahead));
            }
        }
    }

    // lane_i += w_i * x_i for `count` columns from `column` on, at most eight.
    void eight(uint32_t column, uint32_t count) {
        load_floats(kXs, xs(column), count);
        for (uint32_t row = 0; row < plan_.rows; ++row) {
            const Mem from = weights(row, column * element_);
            if (shape_.type == TensorType::kF32) {
                load_floats(kW, from, count);
            } else if (shape_.type == TensorType::kF16) {
                count == kLanes ? a_.avx(op::vcvtph2ps, ymm(kW), from)
                                : a_.avx(op::vcvtph2ps, ymm(kW), some_halves(from, count));
            } else {
                count == kLanes ? a_.avx(op::pmovzxwd, ymm(kW), from)
                                : a_.avx(op::pmovzxwd, ymm(kW), some_halves(from, count));
                a_.avx(op::pslld, ymm(kW), ymm(kW), 16);
            }
            a_.avx(op::mulps, ymm(kW), ymm(kW), ymm(kXs));
            a_.avx(op::addps, ymm(row), ymm(row), ymm(kW));
        }
    }

    void load_floats(unsigned to, const Mem &from, uint32_t count) {
        if (count == kLanes) {
            return a_.avx(op::movups, ymm(to), from);
        }
        a_.avx(op::pxor, xmm(to), xmm(to), xmm(to));
        a_.avx(op::pxor, xmm(kUpper), xmm(kUpper), xmm(kUpper));
        Mem one = from;
        for (uint32_t i = 0; i < count; ++i, one.disp += 4) {
            const auto into = xmm(i < 4 ? to : kUpper);
            a_.avx(op::pinsrd, into, into, one, i % 4);
        }
        a_.avx(op::vinserti128, ymm(to), ymm(to), xmm(kUpper), 1);
    }

    jit::Vec some_halves(const Mem &from, uint32_t count) {
        a_.avx(op::pxor, xmm(kW), xmm(kW), xmm(kW));
        Mem one = from;
        for (uint32_t i = 0; i < count; ++i, one.disp += 2) {
            a_.avx(op::pinsrw, xmm(kW), xmm(kW), one, i);
        }
        return xmm(kW);
    }

    // y = the lanes in the contract's order: ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7)).
    void store(uint32_t row) {
        a_.avx(op::vextractf128, xmm(kUpper), ymm(row), 1);
        a_.avx(op::addps, xmm(row), xmm(row), xmm(kUpper));
        a_.avx(op::pshufd, xmm(kUpper), xmm(row), 0xee);
        a_.avx(op::addps, xmm(row), xmm(row), xmm(kUpper));
        a_.avx(op::pshufd, xmm(kUpper), xmm(row), 0x55);
        a_.avx(op::addss, xmm(row), xmm(row), xmm(kUpper));
        a_.mov(kAt, mem(Gp::kRsp, 8 * static_cast<int32_t>(row)));
        a_.avx(op::movss_store, mem(kAt), xmm(row));
    }

    const GemvShape &shape_;
    const GemvPlan &plan_;
    const uint32_t element_;  // bytes of a weight
    Assembler a_;
};

constexpr bool is_power_up_to_8(uint32_t value) {
    return std::has_single_bit(value) && value <= kMostRows;
}

}  // namespace

bool floats_fit(const GemvShape &shape, const GemvPlan &plan) {
    constexpr uint64_t kReach = uint64_t{1} << 29;
    const uint64_t element = shape.type == TensorType::kF32 ? 4 : 2;
    return !plan.direct && shape.cols != 0 && shape.row_bytes < kReach &&
           shape.row_bytes >= shape.cols * element && is_power_up_to_8(plan.rows) &&
           is_power_up_to_8(plan.unroll) && uint32_t{plan.rows} * plan.unroll <= 8;
}

Result<size_t> generate_floats(const GemvShape &shape, const GemvPlan &plan, std::span<uint8_t> out,
                               jit::ConstantPool constants) {
    return FloatGenerator(shape, plan, out, constants).run();
}

}  // namespace bareflow::compute
