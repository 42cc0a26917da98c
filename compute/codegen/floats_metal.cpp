#include "compute/codegen/floats.h"
#include "compute/kernels/instruction_set.h"
#include "compute/numbers/tensor_types.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow::compute {

bool can_generate_float_type(TensorType, InstructionSet) {
    return false;
}

bool can_generate_float(const GemvShape &, const GemvPlan &) {
    return false;
}

Result<size_t> generate_float(const GemvShape &, const GemvPlan &, std::span<uint8_t>,
                              jit::ConstantPool) {
    platform::panic("no generator for this tensor type");
}

}  // namespace bareflow::compute
