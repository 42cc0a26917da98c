// The float operations of a transformer behind one seam, as gemv.h is the seam of matrix products.
// A FloatBinding is an operation of one shape; it points at the FloatVariant that runs.
//
// All variants that are not relaxed have the bits of the portable one
// (docs/decisions/0001-numeric-contract.md; of a NaN only that it is one). They read and write the
// same intermediate states, so they can be exchanged between any two calls.
//
// Every variant is compiled. Nothing allocates, fails or traps.
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
// How far a result of a relaxed variant may be from the reference's, as a fraction of the greatest
// magnitude among the results. It holds for the numbers that models compute.
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

// One way to compute some of the operations; a kernel that it does not have is nullptr.
struct FloatVariant {
    std::string_view name;  // "portable", "avx2"
    InstructionSet needs = InstructionSet::kSse2;
    // Several operations in one pass, or for some shapes only. The optimiser tries it for very hot
    // functions.
    bool special = false;
    // Differs from the numeric contract by at most kRelaxedTolerance, and is `special` as well.
    // Listed after allow_relaxed_numerics() only.
    bool relaxed = false;
    NormKernel norm = nullptr;
    QuantizeKernel quantize = nullptr;
    RopeKernel rope = nullptr;
    StoreKernel store = nullptr;  // with `rope`
    AttentionKernel scores = nullptr;
    AttentionKernel exp = nullptr;  // with `scores`
    AttentionKernel mix = nullptr;  // with `scores`
    SiluKernel silu = nullptr;
    uint32_t head_size = 0;  // the head size that `scores` and `mix` are made for; 0: any
    bool f16_only = false;   // no faster with a cache of another type

    [[nodiscard]] bool does(FloatOp op, uint32_t head) const;
};

// An operation of one shape and the variant that serves it. It is written between two calls of
// Engine::advance.
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

// The variants that this processor can run, within limit_instruction_set(). The portable one comes
// first, then better ones by the rule of thumb, then the special ones.
[[nodiscard]] std::span<const FloatVariant *const> float_variants();
[[nodiscard]] const FloatVariant &portable_float_ops();
// For tests: replaces the list by `variants`, whatever they need. Returns the list that was set
// before (empty: the linked variants).
std::span<const FloatVariant *const> set_float_variants(
    std::span<const FloatVariant *const> variants);
// The variant to start with: the rule of thumb, except on a processor that QEMU emulates. There it
// is the best variant without wide vectors, as in kernel_for().
[[nodiscard]] const FloatVariant &float_variant_for(FloatOp op, uint32_t head_size);
// The best variant by CPUID alone.
[[nodiscard]] const FloatVariant &float_rule_of_thumb(FloatOp op, uint32_t head_size);

// The variants that are linked into this program, in the order of float_variants().
[[nodiscard]] std::span<const FloatVariant *const> linked_float_variants();
[[nodiscard]] const FloatVariant &sse2_float_ops();
// Attention of one row of heads of 16 elements.
[[nodiscard]] const FloatVariant &sse2_head16_float_ops();
[[nodiscard]] const FloatVariant &sse2_fused_float_ops();
[[nodiscard]] const FloatVariant &sse2_relaxed_float_ops();
[[nodiscard]] const FloatVariant &avx2_float_ops();
[[nodiscard]] const FloatVariant &avx2_relaxed_float_ops();
[[nodiscard]] const FloatVariant &avx2_fused_float_ops();
// Hosted only: attention for the usual head sizes. Each size comes twice: exact, then relaxed.
[[nodiscard]] std::span<const FloatVariant> avx2_sized_float_ops();

}  // namespace bareflow::compute
