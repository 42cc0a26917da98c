// Number formats: f16, bf16, and activations quantised to int8. Implements "Quantising activations"
// of docs/decisions/0001-numeric-contract.md bit for bit. weight_formats.h has the blocks of
// weights.
//
// No allocation, no errors: sizes are the caller's (the model's shapes were checked at load).
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "compute/numbers/weight_formats.h"
#include "kernel_lib/base/result.h"
#include "kernel_lib/memory/buffer.h"

namespace bareflow::compute {

// Elements that share an f32 scale in a quantised activation.
inline constexpr uint32_t kGroupElements = 256;

// Unaligned little-endian loads.
inline uint16_t load_u16(const uint8_t *from) {
    uint16_t value;
    __builtin_memcpy(&value, from, sizeof(value));
    return value;
}
inline uint64_t load_u64(const uint8_t *from) {
    uint64_t value;
    __builtin_memcpy(&value, from, sizeof(value));
    return value;
}
inline float load_f32(const uint8_t *from) {
    float value;
    __builtin_memcpy(&value, from, sizeof(value));
    return value;
}

// Widens exactly: denormals, infinities and NaN payloads included.
[[nodiscard]] float f16_to_f32_special(uint16_t half);  // zero, denormal, infinity or NaN
[[nodiscard]] inline float f16_to_f32(uint16_t half) {
    const uint32_t exponent = (half >> 10) & 31u;
    if (exponent == 0 || exponent == 31) {
        return f16_to_f32_special(half);
    }
    return std::bit_cast<float>(((half & 0x8000u) << 16) + ((half & 0x7fffu) << 13) + (112u << 23));
}

// Rounds half to even. The result is always finite: values beyond +-65504 become +-65504, a NaN
// becomes +0.
[[nodiscard]] uint16_t f32_to_f16(float value);

// Whether all four f16 in a word are normal numbers. Within five bits, exponent + 1 has a bit above
// the lowest one for exponents 1 to 30, and none for 0 and 31. Fields do not carry into one
// another.
inline bool all_normal_f16(uint64_t halves) {
    const uint64_t next = (halves & 0x7c007c007c007c00) + 0x0400040004000400;
    const uint64_t high = next & 0x7800780078007800;
    // A field is 0 or from 0x0800 to 0x7800: adding 0x7800 sets its top bit unless it is 0.
    return ((high + 0x7800780078007800) & 0x8000800080008000) == 0x8000800080008000;
}

// bf16 is the upper half of an f32.
[[nodiscard]] inline float bf16_to_f32(uint16_t bits) {
    return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

// A finite f16 is M * 2^-24; returns M, without a branch. |M| < 2^31 for |value| < 128: the loader
// refuses greater scales (contract, "Quantised dot product").
inline int32_t f16_mantissa(uint16_t half) {
    const uint32_t exponent = (half >> 10) & 31u;
    const uint32_t normal = exponent != 0;
    const uint32_t magnitude = ((half & 0x3ffu) | (normal << 10)) << ((exponent - normal) & 31u);
    const uint32_t sign = 0u - (half >> 15u);
    return static_cast<int32_t>((magnitude ^ sign) - sign);
}

// Which forms of an activation a kernel reads: bits. 0: q, sums and scales only.
using ActivationForms = uint32_t;
// `pairs`: for weights that are bytes, two in a 64-bit word.
inline constexpr ActivationForms kFormPairs = 1;
// `quads`: for weights that are nibbles, four in a 64-bit word.
inline constexpr ActivationForms kFormQuads = 2;

// A vector of `count` floats as int8 with a scale for each 256. Standard layout and plain pointers,
// because generated code reads it. An ActivationBuffer owns the memory.
//
// Both forms consist of blocks of 32; an incomplete last block is filled up with zeros:
//   pairs  16 words a block. Word 4k + i (k, i = 0..3) holds, of the eight elements from 8k:
//          q[8k + i + 4] + q[8k + i] * 2^32                                     (mod 2^64)
//          It meets the weights as (u64 of eight bytes >> 8i) & 0x000000ff000000ff.
//   quads  8 words a block. Word 4k + i (k = 0..1, i = 0..3), with e = 8k + i / 2 + 16 * (i % 2):
//          q[e + 6] + q[e + 4] * 2^16 + q[e + 2] * 2^32 + q[e] * 2^48           (mod 2^64)
//          It meets the weights as (u64 of sixteen nibbles >> 4i) & 0x000f000f000f000f.
//   In both forms the top field of the 64-bit product is the dot product of the pair or quad.
struct QuantizedActivation {
    uint64_t count = 0;
    int8_t *q = nullptr;            // [count], padded with zeros to whole blocks
    int32_t *block_sums = nullptr;  // [blocks]  sum of q over 32
    float *group_scales = nullptr;  // [groups]  d_g * 2^-24, what an integer total is multiplied by
    uint64_t *pairs = nullptr;      // [blocks * 16]
    uint64_t *quads = nullptr;      // [blocks * 8]
};

// Memory for one activation of up to `max_count` elements, with every form.
class ActivationBuffer {
  public:
    ActivationBuffer() = default;
    [[nodiscard]] static Result<ActivationBuffer> create(uint32_t max_count);

    [[nodiscard]] uint64_t size_bytes() const { return memory_.size(); }
    // Pointers into this buffer, for a vector of `count` <= max_count elements.
    [[nodiscard]] QuantizedActivation view(uint32_t count) const;

    // The same in memory that the caller owns, aligned to 64 bytes.
    [[nodiscard]] static uint64_t bytes_for(uint32_t max_count);
    [[nodiscard]] static QuantizedActivation view_in(uint8_t *memory, uint32_t max_count);

  private:
    Buffer<uint8_t> memory_;
    uint32_t max_count_ = 0;
};

inline uint32_t group_count(uint32_t count) {
    return (count + kGroupElements - 1) / kGroupElements;
}

// The contract's q8_activation, for the groups [group_begin, group_end) of x[out.count]: writes q,
// block_sums, group_scales and the packed forms asked for. Groups are independent of one another.
// A NaN becomes -127, because comparisons with it are false. No input traps.
void quantize_activation(const float *x, const QuantizedActivation &out, ActivationForms forms,
                         uint32_t group_begin, uint32_t group_end);

}  // namespace bareflow::compute
