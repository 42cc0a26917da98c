// The float operations of a transformer behind one seam, as gemv.h is for matrix products: an
// operation of one shape is a FloatBinding, and what runs is the FloatVariant that the binding
// points at. All variants of an operation but those called relaxed equal the portable one bit for
// bit (docs/decisions/0001-numeric-contract.md; of a NaN, that it is one), read and write the same
// intermediate states, and can therefore be exchanged between any two calls.
//
// Everything here is compiled; nothing allocates, fails or traps.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "compute/kernels/instruction_set.h"
#include "compute/numbers/attention.h"
#include "compute/numbers/ops.h"
#include "compute/numbers/quant.h"
#include "compute/numbers/rope_pairing.h"

namespace bareflow::compute {

enum class FloatOp : uint8_t {
    kNorm,       // rms_norm, and its q8
    kQuantize,   // quantize_activation
    kRope,       // rope_head and kv_store
    kAttention,  // the three passes
    kSilu,       // silu_mul
};
inline constexpr uint32_t kFloatOps = 5;
inline constexpr size_t kMaxFloatVariants = 32;
// What a result of a relaxed variant may differ from the reference's, as part of the greatest
// magnitude among the results: for the numbers that models compute.
inline constexpr float kRelaxedTolerance = 0x1p-12f;

// rms_norm(x, w, eps, n, y), then, unless `out` is nullptr, quantize_activation of all of y.
using NormKernel = void (*)(const float *x, const float *w, float eps, uint32_t n, float *y,
                            const QuantizedActivation *out, ActivationForms forms);
using QuantizeKernel = void (*)(const float *x, const QuantizedActivation &out,
                                ActivationForms forms, uint32_t group_begin, uint32_t group_end);
using RopeKernel = void (*)(RopePairing pairing, const float *cos_sin, uint32_t pairs, float *x);
using StoreKernel = void (*)(KvType type, const float *x, uint32_t head_size, uint8_t *to);
using AttentionKernel = void (*)(const AttentionTile &tile, uint32_t begin, uint32_t end);
using SiluKernel = void (*)(const float *g, const float *u, uint32_t begin, uint32_t end, float *y);

// One way of doing the operations; what it does not do is nullptr.
struct FloatVariant {
    std::string_view name;  // "portable", "avx2"
    InstructionSet needs = InstructionSet::kSse2;
    // Several operations in one pass, or made for some shapes only: tried for what is very hot.
    bool special = false;
    // Breaks the numeric contract, within kRelaxedTolerance; `special` as well. In the lists with
    // allow_relaxed_numerics() only.
    bool relaxed = false;
    NormKernel norm = nullptr;
    QuantizeKernel quantize = nullptr;
    RopeKernel rope = nullptr;
    StoreKernel store = nullptr;  // with `rope`
    AttentionKernel scores = nullptr;
    AttentionKernel exp = nullptr;  // with `scores`
    AttentionKernel mix = nullptr;  // with `scores`
    SiluKernel silu = nullptr;
    uint32_t head_size = 0;  // what `scores` and `mix` are made for; 0: any
    bool f16_only = false;   // gains nothing with another kind of cache

    [[nodiscard]] bool does(FloatOp op, uint32_t head) const;
};

// An operation of one shape and what serves it. Written between two calls of Engine::advance.
struct FloatBinding {
    const char *name = nullptr;  // "rms_norm 288", as in the profile; never freed
    FloatOp op = FloatOp::kNorm;
    uint32_t n = 0;          // elements of a vector (kRope, kAttention: query heads)
    uint32_t kv_heads = 0;   // kRope, kAttention
    uint32_t head_size = 0;  // kRope, kAttention
    uint32_t pairs = 0;      // kRope: that are rotated
    RopePairing pairing = RopePairing::kAdjacent;
    KvType kv_type = KvType::kF16;
    const FloatVariant *variant = nullptr;
};

// Those that this processor can run, below limit_instruction_set(), the portable one first and what
// a rule of thumb thinks better behind it; the special ones last.
[[nodiscard]] std::span<const FloatVariant *const> float_variants();
[[nodiscard]] const FloatVariant &portable_float_ops();
// For tests: these instead, whatever they need; returns what was there before (empty: those that
// are linked).
std::span<const FloatVariant *const> set_float_variants(
    std::span<const FloatVariant *const> variants);
// The one to start with: the rule of thumb, but where the processor says that it is emulated by
// QEMU the best one without wide vectors, as kernel_for().
[[nodiscard]] const FloatVariant &float_variant_for(FloatOp op, uint32_t head_size);
// The best by CPUID alone.
[[nodiscard]] const FloatVariant &float_rule_of_thumb(FloatOp op, uint32_t head_size);

// What is linked, in that order.
[[nodiscard]] std::span<const FloatVariant *const> linked_float_variants();
[[nodiscard]] const FloatVariant &sse2_float_ops();
// Attention of one row, heads of 16 elements.
[[nodiscard]] const FloatVariant &sse2_head16_float_ops();
[[nodiscard]] const FloatVariant &sse2_fused_float_ops();
[[nodiscard]] const FloatVariant &sse2_relaxed_float_ops();
[[nodiscard]] const FloatVariant &avx2_float_ops();
[[nodiscard]] const FloatVariant &avx2_relaxed_float_ops();
[[nodiscard]] const FloatVariant &avx2_fused_float_ops();
// Hosted only: attention for the usual sizes of heads; each size exact, then relaxed.
[[nodiscard]] std::span<const FloatVariant> avx2_sized_float_ops();

}  // namespace bareflow::compute
