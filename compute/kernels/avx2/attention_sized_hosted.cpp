// Attention for the usual sizes of heads with AVX2: per_target/attention_sized_inl.h.

#include <array>
#include <span>

#include "compute/kernels/float_ops.h"
#include "compute/kernels/instruction_set.h"
#include "compute/numbers/exp_lanes.h"
#include "compute/numbers/math.h"
#include "compute/numbers/vec.h"

#include "compute/kernels/avx2/target_inl.h"

namespace bareflow::compute {
namespace {

constexpr bool kWide = true;
#include "compute/kernels/per_target/attention_sized_inl.h"

}  // namespace
}  // namespace bareflow::compute

#include "compute/kernels/per_target/end_target_inl.h"

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
