// The float operations for one instruction set. See ops_fast_body.h.
#include <array>

#include "llama/float_ops.h"
#include "llama/math.h"
#include "llama/vec.h"

// Everything that takes or returns eight floats is inlined.
#pragma clang diagnostic ignored "-Wpsabi"

namespace bareflow::llama {
namespace {

constexpr bool kWide = false;
#include "llama/ops_fast_body.h"

}  // namespace
}  // namespace bareflow::llama

namespace bareflow::llama {

const FloatVariant &sse2_float_ops() {
    static constexpr FloatVariant kVariant = {.name = "sse2",
                                              .needs = InstructionSet::kSse2,
                                              .norm = fast_norm,
                                              .quantize = fast_quantize,
                                              .rope = fast_rope,
                                              .store = fast_store,
                                              .scores = fast_scores,
                                              .exp = fast_exp,
                                              .mix = fast_mix,
                                              .silu = fast_silu};
    return kVariant;
}

const FloatVariant &sse2_fused_float_ops() {
    static constexpr FloatVariant kVariant = {
        .name = "sse2 fused", .needs = InstructionSet::kSse2, .special = true, .norm = fused_norm};
    return kVariant;
}

}  // namespace bareflow::llama
