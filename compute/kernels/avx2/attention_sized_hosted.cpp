// Attention for the usual sizes of heads with AVX2. See
// compute/kernels/per_target/attention_sized_inl.h.
#include <array>

#include "compute/kernels/float_ops.h"
#include "compute/numbers/exp_lanes.h"
#include "compute/numbers/math.h"
#include "compute/numbers/vec.h"

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)

namespace bareflow::compute {
namespace {

constexpr bool kWide = true;
#include "compute/kernels/instruction_set.h"
#include "compute/kernels/per_target/attention_sized_inl.h"

}  // namespace
}  // namespace bareflow::compute

#pragma clang attribute pop

namespace bareflow::compute {

std::span<const FloatVariant> avx2_sized_float_ops() {
    constexpr InstructionSet kSet = InstructionSet::kAvx2;
    static constexpr FloatVariant kVariants[] = {
        sized_variant<16>("avx2 head 16", kSet),
        sized_variant<16, true>("avx2 fast head 16", kSet),
        sized_variant<32>("avx2 head 32", kSet),
        sized_variant<32, true>("avx2 fast head 32", kSet),
        sized_variant<48>("avx2 head 48", kSet),
        sized_variant<48, true>("avx2 fast head 48", kSet),
        sized_variant<64>("avx2 head 64", kSet),
        sized_variant<64, true>("avx2 fast head 64", kSet),
        sized_variant<80>("avx2 head 80", kSet),
        sized_variant<80, true>("avx2 fast head 80", kSet),
        sized_variant<96>("avx2 head 96", kSet),
        sized_variant<96, true>("avx2 fast head 96", kSet),
        sized_variant<128>("avx2 head 128", kSet),
        sized_variant<128, true>("avx2 fast head 128", kSet),
    };
    return kVariants;
}

}  // namespace bareflow::compute
