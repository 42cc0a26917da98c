// The float operations with AVX2: per_target/float_ops_inl.h.

#include <array>

#include "compute/kernels/float_ops.h"
#include "compute/kernels/instruction_set.h"
#include "compute/numbers/exp_lanes.h"
#include "compute/numbers/math.h"
#include "compute/numbers/vec.h"

#include "compute/kernels/avx2/target_inl.h"

namespace bareflow::compute {
namespace {

constexpr bool kWide = true;
#include "compute/kernels/per_target/float_ops_inl.h"

}  // namespace
}  // namespace bareflow::compute

#include "compute/kernels/per_target/end_target_inl.h"

namespace bareflow::compute {

const FloatVariant &avx2_float_ops() {
    static constexpr FloatVariant kVariant = general_variant("avx2", InstructionSet::kAvx2);
    return kVariant;
}

const FloatVariant &avx2_relaxed_float_ops() {
    static constexpr FloatVariant kVariant = relaxed_variant("avx2 fast", InstructionSet::kAvx2);
    return kVariant;
}

const FloatVariant &avx2_fused_float_ops() {
    static constexpr FloatVariant kVariant = fused_variant("avx2 fused", InstructionSet::kAvx2);
    return kVariant;
}

}  // namespace bareflow::compute
