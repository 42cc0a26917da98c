// The narrow generator for float types. The eight lanes that the numeric contract gives a row are
// two vectors. An f16 shifted into the place of an f32 is 2^-112 of its value, exactly, denormals
// included.
//
// What must hold: columns that are missing in the last eight add +0 to their lanes, which are never
// -0; and nothing beside a row is read.
#include "compute/codegen/narrow.h"
#include "compute/codegen/narrow_generator.h"
#include "compute/kernels/gemv.h"
#include "compute/numbers/tensor_types.h"

namespace bareflow::compute::gemv_narrow {
namespace {

class NarrowFloats final : public NarrowGenerator {
  public:
    NarrowFloats(const GemvShape &shape, const GemvPlan &plan, std::span<uint8_t> out,
                 jit::ConstantPool constants)
        : NarrowGenerator(shape, plan, out, constants) {}

  private:
    void four_rows() override;
    // lane_i += w_i * x_i for the next `count` columns, at most eight. x: distance of their
    // activations from kX.
    void eight(uint32_t count, int32_t x);
    // `to` = `count` floats, then zeros.
    void load_floats(unsigned to, const Mem &from, uint32_t count);
    // `to` = the row's next `count` weights of 16 bits, then zeros.
    void load_halves(unsigned to, uint32_t row, uint32_t count);
};

void NarrowFloats::four_rows() {
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

void NarrowFloats::eight(uint32_t count, int32_t x) {
    const uint32_t upper = count < 4 ? 0 : count - 4;
    load_floats(0, mem(kX, x), count - upper);
    load_floats(1, mem(kX, x + 16), upper);
    for (uint32_t row = 0; row < kRows; ++row) {
        constexpr unsigned kW = kTemp + 1;  // two registers
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

void NarrowFloats::load_floats(unsigned to, const Mem &from, uint32_t count) {
    if (count == 4) {
        return v(op::movups, to, from);
    }
    zero(to);
    Mem half = from;
    for (unsigned i = 0; i < 2 * count; ++i, half.disp += 2) {
        v(op::pinsrw, to, half, i);
    }
}

void NarrowFloats::load_halves(unsigned to, uint32_t row, uint32_t count) {
    if (count == 8) {
        return v(op::movdqu, to, weight(row, 0));
    }
    zero(to);
    for (unsigned i = 0; i < count; ++i) {
        v(op::pinsrw, to, weight(row, 2 * i), i);
    }
}

}  // namespace
}  // namespace bareflow::compute::gemv_narrow

namespace bareflow::compute {

Result<size_t> generate_narrow_floats(const GemvShape &shape, const GemvPlan &plan,
                                      std::span<uint8_t> out, jit::ConstantPool constants) {
    return gemv_narrow::NarrowFloats(shape, plan, out, constants).run();
}

}  // namespace bareflow::compute
