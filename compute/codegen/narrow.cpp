// Four rows side by side. A range's last rows are repeated where fewer are left; nothing beside a
// row is read. Floats: the contract's eight lanes of each row in two vectors; the columns that are
// missing in the last eight add +0 to their lanes, which are never -0. An f16 shifted into an f32
// is 2^-112 of its value, exactly, denormals included.
#include "compute/codegen/narrow_generator.h"
#include "compute/kernels/gemv.h"
#include "compute/kernels/instruction_set.h"
#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"

namespace bareflow::compute::gemv_narrow {
namespace {

constexpr bool is_float(TensorType type) {
    return type == TensorType::kF32 || type == TensorType::kF16 || type == TensorType::kBF16;
}

}  // namespace

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
    format_ == nullptr ? floats() : groups();
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

void NarrowGenerator::floats() {
    constexpr uint32_t kLanes = 8;
    const uint32_t element = shape_.type == TensorType::kF32 ? 4 : 2;
    a_.mov(kX, mem(kArgs, field(offsetof(GemvArgs, x))));
    for (unsigned i = 0; i < 2 * kRows; ++i) {
        zero(kSum + i);
    }
    const uint32_t chunks = shape_.cols / kLanes;
    const auto run = [&](uint32_t count) {
        prefetch(count * kLanes * element);
        for (uint32_t i = 0; i < count; ++i) {
            ahead_ = i * kLanes * element;
            eight(kLanes, static_cast<int32_t>(i * kLanes * 4));
        }
        ahead_ = 0;
        a_.add(kAt, static_cast<int32_t>(count * kLanes * element));
        a_.add(kX, static_cast<int32_t>(count * kLanes * 4));
    };
    repeat(kGroups, chunks / plan_.unroll, [&] { run(plan_.unroll); });
    repeat(kGroups, chunks % plan_.unroll, [&] { run(1); });
    if (shape_.cols % kLanes != 0) {
        eight(shape_.cols % kLanes, 0);
    }
    for (unsigned row = 0; row < kRows; ++row) {
        v(op::addps, kSum + 2 * row, kSum + 2 * row + 1);
    }
    transpose(kSum, 2, op::addps);
    store(kYAt, kSum);
}

void NarrowGenerator::eight(uint32_t count, int32_t x) {
    const uint32_t upper = count < 4 ? 0 : count - 4;
    load_floats(0, mem(kX, x), count - upper);
    load_floats(1, mem(kX, x + 16), upper);
    for (uint32_t row = 0; row < kRows; ++row) {
        constexpr unsigned kW = kTemp + 1;  // two
        if (shape_.type == TensorType::kF32) {
            load_floats(kW, weight(row, 0), count - upper);
            load_floats(kW + 1, weight(row, 16), upper);
        } else {
            load_halves(kTemp, row, count);
            zero(kW);
            zero(kW + 1);
            v(op::punpcklwd, kW, kTemp);
            v(op::punpckhwd, kW + 1, kTemp);
        }
        for (unsigned half = 0; half < 2; ++half) {
            if (shape_.type == TensorType::kF16) {
                shift(op::psrad, kW + half, 3);
                v(op::pand, kW + half, everywhere(0x8fffe000u));
                v(op::mulps, kW + half, everywhere(0x1p112f));
            }
            v(op::mulps, kW + half, half);
            v(op::addps, kSum + 2 * row + half, kW + half);
        }
    }
}

void NarrowGenerator::load_floats(unsigned to, const Mem &from, uint32_t count) {
    if (count == 4) {
        return v(op::movups, to, from);
    }
    zero(to);
    Mem half = from;
    for (unsigned i = 0; i < 2 * count; ++i, half.disp += 2) {
        v(op::pinsrw, to, half, i);
    }
}

void NarrowGenerator::load_halves(unsigned to, uint32_t row, uint32_t count) {
    if (count == 8) {
        return v(op::movdqu, to, weight(row, 0));
    }
    zero(to);
    for (unsigned i = 0; i < count; ++i) {
        v(op::pinsrw, to, weight(row, 2 * i), i);
    }
}

}  // namespace bareflow::compute::gemv_narrow

namespace bareflow::compute {

using namespace gemv_narrow;  // NOLINT: the generator itself

bool can_generate_narrow_type(TensorType type, InstructionSet set) {
    if (type == TensorType::kIQ4_NL || set != InstructionSet::kSse2) {  // bytes: `pshufb`
        return set == InstructionSet::kSsse3 && format_of(type) != nullptr;
    }
    return is_float(type) || format_of(type) != nullptr;
}

bool can_generate_narrow(const GemvShape &shape, const GemvPlan &plan) {
    constexpr uint64_t kReach = uint64_t{1} << 30;
    const TensorTypeInfo &info = tensor_type_info(shape.type);
    const bool super = info.block_elements == kGroupElements;
    return can_generate_narrow_type(shape.type, plan.set) && shape.cols != 0 &&
           shape.cols % info.block_elements == 0 && shape.row_bytes < kReach &&
           shape.row_bytes >= uint64_t{shape.cols} / info.block_elements * info.block_bytes &&
           plan.rows == kRows && (plan.unroll == 1 || (plan.unroll == 2 && !super)) && !plan.direct;
}

Result<size_t> generate_narrow(const GemvShape &shape, const GemvPlan &plan, std::span<uint8_t> out,
                               jit::ConstantPool constants) {
    return NarrowGenerator(shape, plan, out, constants).run();
}

}  // namespace bareflow::compute
