// The reference of f16 conversion and of quantising activations. A group's scale follows from its
// greatest magnitude; every step is an IEEE operation in the order of the numeric contract.
#include "compute/numbers/quant.h"

#include <bit>

#include "compute/numbers/vec.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow::compute {
namespace {

// Adding and taking away 1.5 * 2^23 rounds |x| < 2^22 to an integer, half to even.
constexpr float kRoundMagic = 12582912.0f;
// A group whose greatest magnitude is below this counts as zero (its 127 / amax could overflow).
constexpr float kZeroGroup = 0x1p-100f;
constexpr float kMantissaUnit = 0x1p-24f;

constexpr uint64_t kLineBytes = 64;
constexpr uint64_t whole_lines(uint64_t bytes) {
    return (bytes + kLineBytes - 1) / kLineBytes * kLineBytes;
}
constexpr uint64_t block_count(uint64_t count) {
    return (count + kBlockElements - 1) / kBlockElements;
}

// Comparisons instead of min and max, so that a NaN always becomes -127.
inline I32x4 round4(F32x4 value) {
    const F32x4 rounded = (value + kRoundMagic) - kRoundMagic;
    const F32x4 low = rounded > -127.0f ? rounded : splat4(-127.0f);
    return __builtin_convertvector(low < 127.0f ? low : splat4(127.0f), I32x4);
}

// max |x_i|; a NaN is ignored.
float max_magnitude(const float *x, uint64_t count) {
    F32x4 max = {};
    uint64_t i = 0;
    for (; i + 4 <= count; i += 4) {
        const F32x4 magnitude =
            std::bit_cast<F32x4>(std::bit_cast<I32x4>(load4(x + i)) & 0x7fffffff);
        max = magnitude > max ? magnitude : max;
    }
    for (; i < count; ++i) {
        const float magnitude = __builtin_fabsf(x[i]);
        max[0] = magnitude > max[0] ? magnitude : max[0];
    }
    const float low = max[0] > max[1] ? max[0] : max[1];
    const float high = max[2] > max[3] ? max[2] : max[3];
    return low > high ? low : high;
}

void round_to_int8(const float *x, float factor, uint64_t count, int8_t *q) {
    using I8x4 = int8_t __attribute__((vector_size(4)));
    uint64_t i = 0;
    for (; i + 4 <= count; i += 4) {
        const I8x4 bytes = __builtin_convertvector(round4(load4(x + i) * factor), I8x4);
        __builtin_memcpy(q + i, &bytes, sizeof(bytes));
    }
    for (; i < count; ++i) {
        q[i] = static_cast<int8_t>(round4(splat4(x[i] * factor))[0]);
    }
}

uint64_t widen(int8_t q) {
    return static_cast<uint64_t>(static_cast<int64_t>(q));
}

void pack_pairs(const int8_t *q, uint64_t *words) {
    for (uint32_t k = 0; k < 4; ++k) {
        for (uint32_t i = 0; i < 4; ++i) {
            words[4 * k + i] = widen(q[8 * k + i + 4]) + (widen(q[8 * k + i]) << 32);
        }
    }
}

void pack_quads(const int8_t *q, uint64_t *words) {
    for (uint32_t k = 0; k < 2; ++k) {
        for (uint32_t i = 0; i < 4; ++i) {
            const int8_t *e = q + 8 * k + i / 2 + 16 * (i % 2);
            words[4 * k + i] =
                widen(e[6]) + (widen(e[4]) << 16) + (widen(e[2]) << 32) + (widen(e[0]) << 48);
        }
    }
}

}  // namespace

float f16_to_f32_special(uint16_t half) {
    const uint32_t sign = (half & 0x8000u) << 16;
    const uint32_t fraction = half & 0x3ffu;
    if ((half & 0x7c00u) != 0) {
        return std::bit_cast<float>(sign | 0x7f800000u | (fraction << 13));
    }
    // fraction * 2^-24: at most ten bits, so the product is exact.
    const float magnitude = static_cast<float>(fraction) * kMantissaUnit;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
}

uint16_t f32_to_f16(float value) {
    const auto bits = std::bit_cast<uint32_t>(value);
    const uint32_t sign = bits >> 16 & 0x8000u;
    uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude >= 0x477fe000u) {  // 65504
        return magnitude > 0x7f800000u ? 0 : static_cast<uint16_t>(sign | 0x7bffu);
    }
    if (magnitude < 0x38800000u) {  // 2^-14: the sum has the result as its last bits
        const float sum = std::bit_cast<float>(magnitude) + 0.5f;
        return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(sum) - 0x3f000000u));
    }
    magnitude += 0xfffu + (magnitude >> 13 & 1);
    return static_cast<uint16_t>(sign | (magnitude - (112u << 23)) >> 13);
}

uint64_t ActivationBuffer::bytes_for(uint32_t max_count) {
    const uint64_t blocks = block_count(max_count);
    return whole_lines(blocks * kBlockElements) + whole_lines(blocks * sizeof(int32_t)) +
           whole_lines(group_count(max_count) * sizeof(float)) +
           whole_lines(blocks * 16 * sizeof(uint64_t)) + whole_lines(blocks * 8 * sizeof(uint64_t));
}

QuantizedActivation ActivationBuffer::view_in(uint8_t *memory, uint32_t max_count) {
    const uint64_t blocks = block_count(max_count);
    QuantizedActivation view;
    view.count = max_count;
    uint8_t *at = memory;
    view.q = reinterpret_cast<int8_t *>(at);
    at += whole_lines(blocks * kBlockElements);
    view.block_sums = reinterpret_cast<int32_t *>(at);
    at += whole_lines(blocks * sizeof(int32_t));
    view.group_scales = reinterpret_cast<float *>(at);
    at += whole_lines(group_count(max_count) * sizeof(float));
    view.pairs = reinterpret_cast<uint64_t *>(at);
    at += whole_lines(blocks * 16 * sizeof(uint64_t));
    view.quads = reinterpret_cast<uint64_t *>(at);
    return view;
}

Result<ActivationBuffer> ActivationBuffer::create(uint32_t max_count) {
    ActivationBuffer buffer;
    BF_ASSIGN(buffer.memory_, Buffer<uint8_t>::create(bytes_for(max_count)));
    buffer.max_count_ = max_count;
    return buffer;
}

QuantizedActivation ActivationBuffer::view(uint32_t count) const {
    if (count > max_count_) {
        platform::panic("activation longer than its buffer");
    }
    QuantizedActivation view = view_in(memory_.data(), max_count_);
    view.count = count;
    return view;
}

void quantize_activation(const float *x, const QuantizedActivation &out, ActivationForms forms,
                         uint32_t group_begin, uint32_t group_end) {
    for (uint32_t group = group_begin; group < group_end; ++group) {
        const uint64_t begin = static_cast<uint64_t>(group) * kGroupElements;
        const uint64_t end =
            begin + kGroupElements < out.count ? begin + kGroupElements : out.count;
        const float amax = max_magnitude(x + begin, end - begin);
        const bool zero = amax < kZeroGroup;
        const float scale = zero ? 0.0f : amax / 127.0f;
        const float inverse = zero ? 0.0f : 127.0f / amax;
        out.group_scales[group] = scale * kMantissaUnit;
        if (zero) {
            __builtin_memset(out.q + begin, 0, end - begin);
        } else {
            round_to_int8(x + begin, inverse, end - begin, out.q + begin);
        }
        const uint64_t block_end = block_count(end);
        for (uint64_t i = end; i < block_end * kBlockElements; ++i) {
            out.q[i] = 0;
        }
        for (uint64_t block = begin / kBlockElements; block < block_end; ++block) {
            const int8_t *q = out.q + block * kBlockElements;
            int32_t sum = 0;
            for (uint32_t i = 0; i < kBlockElements; ++i) {
                sum += q[i];
            }
            out.block_sums[block] = sum;
            if ((forms & kFormPairs) != 0) {
                pack_pairs(q, out.pairs + block * 16);
            }
            if ((forms & kFormQuads) != 0) {
                pack_quads(q, out.quads + block * 8);
            }
        }
    }
}

}  // namespace bareflow::compute
