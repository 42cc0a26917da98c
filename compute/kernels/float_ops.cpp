#include "compute/kernels/float_ops.h"

#include <array>
#include <utility>

#include "compute/kernels/instruction_set.h"
#include "compute/kernels/registry.h"

namespace bareflow::compute {
namespace {

constinit std::span<const FloatVariant *const> replaced;

void portable_norm(const float *x, const float *w, float eps, uint32_t n, float *y,
                   const QuantizedActivation *out, ActivationForms forms) {
    rms_norm(x, w, eps, n, y);
    if (out != nullptr) {
        quantize_activation(y, *out, forms, 0, group_count(n));
    }
}

const FloatVariant &last_that_does(FloatOp op, uint32_t head_size, InstructionSet most) {
    const FloatVariant *best = &portable_float_ops();
    for (const FloatVariant *const variant : float_variants()) {
        if (!variant->special && variant->needs <= most && variant->does(op, head_size)) {
            best = variant;
        }
    }
    return *best;
}

}  // namespace

bool FloatVariant::does(FloatOp op, uint32_t head) const {
    switch (op) {
        case FloatOp::kNorm:
            return norm != nullptr;
        case FloatOp::kQuantize:
            return quantize != nullptr;
        case FloatOp::kRope:
            return rope != nullptr;
        case FloatOp::kAttention:
            return scores != nullptr && (head_size == 0 || head_size == head);
        case FloatOp::kSilu:
            return silu != nullptr;
    }
    return false;
}

const FloatVariant &portable_float_ops() {
    static constexpr FloatVariant kVariant = {.name = "portable",
                                              .norm = portable_norm,
                                              .quantize = quantize_activation,
                                              .rope = rope_head,
                                              .store = kv_store,
                                              .scores = attention_scores,
                                              .exp = attention_exp,
                                              .mix = attention_mix,
                                              .silu = silu_mul};
    return kVariant;
}

std::span<const FloatVariant *const> float_variants() {
    static constinit std::array<const FloatVariant *, kMaxFloatVariants> list{};
    if (!replaced.empty()) {
        return replaced;
    }
    size_t count = 0;
    for (const FloatVariant *const variant : linked_float_variants()) {
        if (count < list.size() && may_use(variant->needs) &&
            (!variant->relaxed || relaxed_numerics())) {
            list[count++] = variant;
        }
    }
    return std::span(list).first(count);
}

std::span<const FloatVariant *const> set_float_variants(
    std::span<const FloatVariant *const> variants) {
    return std::exchange(replaced, variants);
}

const FloatVariant &float_rule_of_thumb(FloatOp op, uint32_t head_size) {
    return last_that_does(op, head_size, InstructionSet::kAmx);
}

const FloatVariant &float_variant_for(FloatOp op, uint32_t head_size) {
    return last_that_does(op, head_size,
                          is_emulated() ? InstructionSet::kSsse3 : InstructionSet::kAmx);
}

}  // namespace bareflow::compute
