// The narrow generators' common part: the frame, the loop over four rows at a time, and helpers.
//
// What must hold: nothing beside a row is read, and nothing beside the range is written. Where a
// range has fewer than four rows left, its last row is computed again in the place of those
// missing.
#include "compute/codegen/narrow.h"

#include "compute/codegen/narrow_generator.h"
#include "compute/kernels/gemv.h"
#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"

namespace bareflow::compute::gemv_narrow {

Result<size_t> NarrowGenerator::run() {
    for (const Gp reg : kSaved) {
        a_.push(reg);
    }
    a_.mov(Gp::kRbp, Gp::kRsp);
    a_.alu(Alu::kSub, Gp::kRsp, kFrameBytes);
    a_.alu(Alu::kAnd, Gp::kRsp, -16);
    a_.mov(kFirst, Gp::kRsi, Width::k32);
    a_.mov(kEnd, Gp::kRdx, Width::k32);
    const Label next = a_.new_label();
    const Label end = a_.new_label();
    a_.bind(next);
    a_.cmp(kFirst, kEnd);
    a_.jcc(Condition::kGreaterEqual, end);
    point_to_rows();
    four_rows();
    for (uint32_t row = 0; row < kRows; ++row) {
        const auto i = static_cast<int32_t>(row);
        a_.mov(kT, mem(Gp::kRsp, kYAt + 4 * i), Width::k32);
        a_.mov(kAt, mem(Gp::kRsp, kOutAt + 8 * i));
        a_.mov(mem(kAt), kT, Width::k32);
    }
    a_.add(kFirst, static_cast<int32_t>(kRows));
    a_.jmp(next);
    a_.bind(end);
    a_.mov(Gp::kRsp, Gp::kRbp);
    for (size_t i = kSaved.size(); i != 0; --i) {
        a_.pop(kSaved[i - 1]);
    }
    a_.ret();
    return a_.finish();
}

void NarrowGenerator::point_to_rows() {
    for (uint32_t row = 0; row < kRows; ++row) {
        a_.lea(kT, mem(kFirst, static_cast<int32_t>(row)));
        const Label there = a_.new_label();
        a_.cmp(kT, kEnd);
        a_.jcc(Condition::kLess, there);
        a_.lea(kT, mem(kEnd, -1));
        a_.bind(there);
        a_.imul(kRow[row], kT, static_cast<int32_t>(shape_.row_bytes));
        a_.add(kRow[row], mem(kArgs, field(offsetof(GemvArgs, weights))));
        a_.mov(kAt, mem(kArgs, field(offsetof(GemvArgs, y))));
        a_.lea(kAt, mem(kAt, kT, Scale::k4));
        a_.mov(mem(Gp::kRsp, kOutAt + static_cast<int32_t>(8 * row)), kAt);
    }
    a_.alu(Alu::kXor, kAt, kAt, Width::k32);
    zero(kTemp);
    store(kYAt, kTemp);
}

void NarrowGenerator::prefetch(uint32_t bytes) {
    constexpr uint32_t kLine = 64;
    for (uint32_t row = 0; row < kRows && plan_.ahead != 0; ++row) {
        for (uint32_t at = 0; at < bytes; at += kLine) {
            a_.prefetch(jit::Prefetch::kT0, weight(row, at + plan_.ahead));
        }
    }
}

void NarrowGenerator::transpose(unsigned first, unsigned step, const VectorOp &add) {
    const auto halve = [&](const VectorOp &low, const VectorOp &high, unsigned a, unsigned b) {
        v(op::movdqa, kTemp, a);
        v(low, a, b);
        v(high, kTemp, b);
        v(add, a, kTemp);
    };
    halve(op::punpckldq, op::punpckhdq, first, first + step);
    halve(op::punpckldq, op::punpckhdq, first + 2 * step, first + 3 * step);
    halve(op::punpcklqdq, op::punpckhqdq, first, first + 2 * step);
}

}  // namespace bareflow::compute::gemv_narrow

namespace bareflow::compute {

bool narrow_fits(const GemvShape &shape, const GemvPlan &plan) {
    constexpr uint64_t kReach = uint64_t{1} << 30;
    const TensorTypeInfo &info = tensor_type_info(shape.type);
    const bool super = info.block_elements == kGroupElements;
    return shape.cols != 0 && shape.cols % info.block_elements == 0 && shape.row_bytes < kReach &&
           shape.row_bytes >= uint64_t{shape.cols} / info.block_elements * info.block_bytes &&
           plan.rows == gemv_narrow::kRows && (plan.unroll == 1 || (plan.unroll == 2 && !super)) &&
           !plan.direct;
}

size_t narrow_code_room(const GemvPlan &) {
    return kNarrowCodeRoom;
}

}  // namespace bareflow::compute
