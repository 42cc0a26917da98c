// The float operations with SSE2, which every x86-64 has, so there is no target to set:
// per_target/float_ops_inl.h, and attention for heads of 16 elements (attention_head16_inl.h).
#include <array>

#include "compute/kernels/float_ops.h"
#include "compute/kernels/instruction_set.h"
#include "compute/numbers/exp_lanes.h"
#include "compute/numbers/math.h"
#include "compute/numbers/vec.h"

// Everything that takes or returns eight floats is inlined.
#pragma clang diagnostic ignored "-Wpsabi"

namespace bareflow::compute {
namespace {

constexpr bool kWide = false;
#include "compute/kernels/per_target/attention_head16_inl.h"

}  // namespace

const FloatVariant &sse2_float_ops() {
    static constexpr FloatVariant kVariant = general_variant("sse2", InstructionSet::kSse2);
    return kVariant;
}

const FloatVariant &sse2_head16_float_ops() {
    static constexpr FloatVariant kVariant = head16_variant("sse2 head 16", InstructionSet::kSse2);
    return kVariant;
}

const FloatVariant &sse2_relaxed_float_ops() {
    static constexpr FloatVariant kVariant = relaxed_variant("sse2 fast", InstructionSet::kSse2);
    return kVariant;
}

const FloatVariant &sse2_fused_float_ops() {
    static constexpr FloatVariant kVariant = fused_variant("sse2 fused", InstructionSet::kSse2);
    return kVariant;
}

}  // namespace bareflow::compute
