// The float operations for one instruction set. See ops_fast_body.h.
#include <array>

#include "llama/float_ops.h"
#include "llama/math.h"
#include "llama/vec.h"

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)

namespace bareflow::llama {
namespace {

constexpr bool kWide = true;
#include "llama/ops_fast_body.h"

}  // namespace
}  // namespace bareflow::llama

#pragma clang attribute pop

namespace bareflow::llama {

const FloatVariant &avx2_float_ops() {
    static constexpr FloatVariant kVariant = {.name = "avx2",
                                              .needs = InstructionSet::kAvx2,
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

const FloatVariant &avx2_fused_float_ops() {
    static constexpr FloatVariant kVariant = {
        .name = "avx2 fused", .needs = InstructionSet::kAvx2, .special = true, .norm = fused_norm};
    return kVariant;
}

}  // namespace bareflow::llama
