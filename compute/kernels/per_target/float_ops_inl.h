// The float operations, eight lanes at a time, in the compiler's vectors. Eight floats are the
// contract's eight lanes: one register with AVX, two with SSE.
//
// Included by one file for each instruction set, as compute/kernels/avx2/gemv_inl.h says. That file
// defines before:
//   kWide  bool: whether the target has registers of eight floats
// and includes <array>, kernels/float_ops.h, kernels/instruction_set.h, numbers/exp_lanes.h,
// numbers/math.h and numbers/vec.h.
//
// An emulator calls a function for every float instruction, whatever its number of lanes, and for
// shuffles of floats and conversions. It translates integer additions, logic, comparisons and
// shifts by constants. So integers do whatever they can do exactly.
//
// The portable functions compute the other cases: tails that no model has, and values for which the
// fast way would be wrong.

#pragma once

using F32x8 = float __attribute__((vector_size(32)));
using I32x8 = int32_t __attribute__((vector_size(32)));
using Bits4 = int32_t __attribute__((vector_size(16)));
using Halves = int16_t __attribute__((vector_size(16)));
using Stored8 = _Float16 __attribute__((vector_size(16)));
using Bytes8 = int8_t __attribute__((vector_size(8)));

[[gnu::always_inline]] inline F32x8 load8(const float *from) {
    F32x8 value;
    __builtin_memcpy(&value, from, sizeof(value));
    return value;
}
[[gnu::always_inline]] inline void store8(float *to, F32x8 value) {
    __builtin_memcpy(to, &value, sizeof(value));
}
[[gnu::always_inline]] inline F32x8 splat8(float v) {
    return F32x8{v, v, v, v, v, v, v, v};
}
[[gnu::always_inline]] inline I32x8 bits_of(F32x8 value) {
    return __builtin_bit_cast(I32x8, value);
}
[[gnu::always_inline]] inline F32x8 float_of(I32x8 bits) {
    return __builtin_bit_cast(F32x8, bits);
}
[[gnu::always_inline]] inline Bits4 low4(I32x8 v) {
    return __builtin_shufflevector(v, v, 0, 1, 2, 3);
}
[[gnu::always_inline]] inline Bits4 high4(I32x8 v) {
    return __builtin_shufflevector(v, v, 4, 5, 6, 7);
}

// Up to seven floats, zeros behind them.
[[gnu::noinline]] F32x8 load_some(const float *from, uint32_t count) {
    float some[kLanes] = {};
    for (uint32_t i = 0; i < count; ++i) {
        some[i] = from[i];
    }
    return load8(some);
}
[[gnu::noinline]] void store_some(float *to, F32x8 value, uint32_t count) {
    float some[kLanes];
    store8(some, value);
    for (uint32_t i = 0; i < count; ++i) {
        to[i] = some[i];
    }
}

// +0 + value: it only turns a -0 into +0.
[[gnu::always_inline]] inline F32x8 plus_zero(F32x8 value) {
    return float_of(bits_of(value) & ~(bits_of(value) == INT32_MIN));
}

[[gnu::always_inline]] inline float fold8(F32x8 lanes) {
    const Bits4 low = low4(bits_of(lanes));
    const Bits4 high = high4(bits_of(lanes));
    const F32x4 t = __builtin_bit_cast(F32x4, low) + __builtin_bit_cast(F32x4, high);
    const F32x4 u = t + __builtin_shufflevector(t, t, 2, 3, 2, 3);
    return u[0] + u[1];
}

// Whether the top bit of any lane is set.
[[gnu::always_inline]] inline bool any_top_bit(I32x8 v) {
    const Bits4 both = low4(v) | high4(v);
    const auto words = __builtin_bit_cast(std::array<uint64_t, 2>, both);
    return ((words[0] | words[1]) & 0x8000000080000000) != 0;
}

// ------------------------------------------------------------------ exp, SiLU, softmax

[[gnu::always_inline]] inline F32x8 exp8(F32x8 x) {
    const bool moderate = !any_top_bit((bits_of(x) & 0x7fffffff) + kModerateToTop);
    F32x8 result;
    exp_lanes<F32x8, I32x8>(x, moderate, result);
    return result;
}

// a * b + c. Relaxed: rounded once if the target has an instruction for it.
template <bool kRelaxed>
[[gnu::always_inline]] inline F32x8 mul_add(F32x8 a, F32x8 b, F32x8 c) {
    if constexpr (kRelaxed && kWide) {
        return __builtin_elementwise_fma(a, b, c);
    }
    return a * b + c;
}

// e^x as 2^n * 2^f, in a third of the operations. The relative error is below 2^-16: that of f and
// that of the polynomial of degree four, which is fitted to 2^f from -1/2 to 1/2 (2.6e-6).
[[gnu::always_inline]] inline F32x8 relaxed_exp8(F32x8 x) {
    constexpr float kLog2E = 1.44269504f;
    constexpr float kRound = 12582912.0f;
    constexpr int32_t kRoundBits = 0x4b400000;
    F32x8 v = x;
    if (any_top_bit((bits_of(x) & 0x7fffffff) + kModerateToTop)) {
        const F32x8 high = x < 88.0f ? x : splat8(88.0f);
        v = high > -87.0f ? high : splat8(-87.0f);
    }
    const F32x8 rounded = mul_add<true>(v, splat8(kLog2E), splat8(kRound));
    const F32x8 f = mul_add<true>(v, splat8(kLog2E), kRound - rounded);
    F32x8 p = splat8(9.5700904266e-3f);
    p = mul_add<true>(p, f, splat8(5.5917859417e-2f));
    p = mul_add<true>(p, f, splat8(2.4024745111e-1f));
    p = mul_add<true>(p, f, splat8(6.9312181490e-1f));
    p = mul_add<true>(p, f, splat8(9.9999926136e-1f));
    return float_of(bits_of(p) + ((bits_of(rounded) - kRoundBits) << 23));
}

template <bool kRelaxed>
[[gnu::always_inline]] inline F32x8 silu8(F32x8 g, F32x8 u) {
    const F32x8 minus = float_of(bits_of(g) ^ INT32_MIN);
    if constexpr (!kRelaxed) {
        return (g / (1.0f + exp8(minus))) * u;
    } else if constexpr (!kWide) {
        return (g / (1.0f + relaxed_exp8(minus))) * u;
    } else {
        // The processor's reciprocal has twelve bits; Newton's step doubles them.
        const F32x8 divisor = 1.0f + relaxed_exp8(minus);
        const F32x8 about = __builtin_ia32_rcpps256(divisor);
        const F32x8 rest = __builtin_elementwise_fma(-divisor, about, splat8(2.0f));
        return (g * u) * (about * rest);
    }
}

template <bool kRelaxed>
void fast_silu(const float *g, const float *u, uint32_t begin, uint32_t end, float *y) {
    for (uint32_t i = begin; i < end; i += kLanes) {
        const uint32_t left = end - i;
        if (left >= kLanes) [[likely]] {
            store8(y + i, silu8<kRelaxed>(load8(g + i), load8(u + i)));
        } else {
            for (uint32_t k = 0; k < left; ++k) {
                silu_mul(g + i, u + i, k, k + 1, y + i);
            }
        }
    }
}

// As softmax_exp; `begin` is a multiple of eight.
template <bool kRelaxed>
void exp_range(float *x, uint32_t begin, uint32_t end, SoftmaxState &state) {
    const auto exp = [](F32x8 some) { return kRelaxed ? relaxed_exp8(some) : exp8(some); };
    F32x8 lanes = begin == 0 ? F32x8{} : load8(state.lanes);
    const F32x8 max = splat8(state.max);
    uint32_t t = begin;
    for (; t + kLanes <= end; t += kLanes) {
        const F32x8 e = exp(load8(x + t) - max);
        store8(x + t, e);
        lanes = lanes + e;
    }
    if (t < end) {
        const uint32_t count = end - t;
        store_some(x + t, exp(load_some(x + t, count) - max), count);
        lanes = lanes + load_some(x + t, count);  // no lane is -0
    }
    store8(state.lanes, lanes);
}

// ------------------------------------------------------------------ quantising

constexpr float kRoundMagic = 12582912.0f;
constexpr int32_t kRoundMagicBits = 0x4b400000;
constexpr float kZeroGroup = 0x1p-100f;
constexpr int32_t kInfinityBits = 0x7f800000;

[[gnu::always_inline]] inline int32_t greatest(I32x8 v) {
    const Bits4 four = __builtin_elementwise_max(low4(v), high4(v));
    const auto words = __builtin_bit_cast(std::array<int32_t, 4>, four);
    const int32_t a = words[0] > words[1] ? words[0] : words[1];
    const int32_t b = words[2] > words[3] ? words[2] : words[3];
    return a > b ? a : b;
}

// The forms of one block from its 32 integers (quant.h has the layouts).
[[gnu::always_inline]] inline void put_pairs(const I32x8 *q, uint64_t *words) {
    for (uint32_t k = 0; k < 4; ++k) {
        const Bits4 low = high4(q[k]);
        const Bits4 high = low4(q[k]) + (low >> 31);
        const I32x8 both = __builtin_shufflevector(low, high, 0, 4, 1, 5, 2, 6, 3, 7);
        __builtin_memcpy(words + 4 * k, &both, sizeof(both));
    }
}
[[gnu::always_inline]] inline void put_quads(const I32x8 *q, uint64_t *words) {
    for (uint32_t k = 0; k < 2; ++k) {
        const I32x8 a = q[k];
        const I32x8 b = q[k + 2];
        const Bits4 low = __builtin_shufflevector(a, b, 6, 14, 7, 15) +
                          (__builtin_shufflevector(a, b, 4, 12, 5, 13) << 16);
        const Bits4 high = __builtin_shufflevector(a, b, 2, 10, 3, 11) +
                           (__builtin_shufflevector(a, b, 0, 8, 1, 9) << 16) + (low >> 31);
        const I32x8 both = __builtin_shufflevector(low, high, 0, 4, 1, 5, 2, 6, 3, 7);
        __builtin_memcpy(words + 4 * k, &both, sizeof(both));
    }
}

// One group of whole blocks of finite numbers, whose greatest magnitude has the bits `amax_bits`.
// No product is beyond +-127, so nothing needs a clamp: the rounded quotient is below
// 127 / amax * (1 + 2^-24), and its products round to 127 or less.
[[gnu::noinline]] void quantize_blocks(const float *x, uint32_t group, uint64_t begin, uint64_t end,
                                       int32_t amax_bits, const QuantizedActivation &out,
                                       ActivationForms forms) {
    const float amax = __builtin_bit_cast(float, amax_bits);
    const F32x8 inverse = splat8(127.0f / amax);
    out.group_scales[group] = (amax / 127.0f) * 0x1p-24f;
    for (uint64_t i = begin; i < end; i += kBlockElements) {
        I32x8 q[4];
        I32x8 sum = {};
#pragma clang loop unroll(full)
        for (uint32_t k = 0; k < 4; ++k) {
            const F32x8 scaled = load8(x + i + kLanes * k) * inverse;
            q[k] = bits_of(scaled + kRoundMagic) - kRoundMagicBits;
            sum = sum + q[k];
            const Bytes8 bytes = __builtin_convertvector(q[k], Bytes8);
            __builtin_memcpy(out.q + i + kLanes * k, &bytes, sizeof(bytes));
        }
        const auto parts = __builtin_bit_cast(std::array<int32_t, 4>, low4(sum) + high4(sum));
        const uint64_t block = i / kBlockElements;
        out.block_sums[block] = (parts[0] + parts[1]) + (parts[2] + parts[3]);
        if ((forms & kFormPairs) != 0) {
            put_pairs(q, out.pairs + block * 16);
        }
        if ((forms & kFormQuads) != 0) {
            put_quads(q, out.quads + block * 8);
        }
    }
}

// False for infinities, NaN, groups that count as zero, and parts of blocks: the reference computes
// these.
[[gnu::always_inline]] inline bool is_plain(int32_t amax_bits, uint64_t count) {
    return amax_bits < kInfinityBits && amax_bits >= __builtin_bit_cast(int32_t, kZeroGroup) &&
           count % kBlockElements == 0;
}

void fast_quantize(const float *x, const QuantizedActivation &out, ActivationForms forms,
                   uint32_t group_begin, uint32_t group_end) {
    for (uint32_t group = group_begin; group < group_end; ++group) {
        const uint64_t begin = uint64_t{group} * kGroupElements;
        const uint64_t end =
            begin + kGroupElements < out.count ? begin + kGroupElements : out.count;
        I32x8 most = {};
        for (uint64_t i = begin; i + kLanes <= end; i += kLanes) {
            most = __builtin_elementwise_max(most, bits_of(load8(x + i)) & 0x7fffffff);
        }
        const int32_t amax_bits = greatest(most);
        if (is_plain(amax_bits, end - begin)) {
            quantize_blocks(x, group, begin, end, amax_bits, out, forms);
        } else {
            quantize_activation(x, out, forms, group, group + 1);
        }
    }
}

// ------------------------------------------------------------------ RMS norm

[[gnu::noinline]] float norm_scale(const float *x, float eps, uint32_t n) {
    const uint32_t whole = n - n % kLanes;
    const F32x8 first = whole == 0 ? load_some(x, n) : load8(x);
    F32x8 lanes = plus_zero(first * first);
    for (uint32_t i = kLanes; i < whole; i += kLanes) {
        const F32x8 v = load8(x + i);
        lanes = lanes + v * v;
    }
    if (whole != n && whole != 0) {
        const F32x8 v = load_some(x + whole, n - whole);
        lanes = lanes + v * v;
    }
    const float mean = fold8(lanes) / static_cast<float>(n);
    return 1.0f / sqrt_f32(mean + eps);
}

void fast_norm(const float *x, const float *w, float eps, uint32_t n, float *y,
               const QuantizedActivation *out, ActivationForms forms) {
    const F32x8 scale = splat8(norm_scale(x, eps, n));
    uint32_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
        store8(y + i, (load8(x + i) * scale) * load8(w + i));
    }
    if (i < n) {
        store_some(y + i, (load_some(x + i, n - i) * scale) * load_some(w + i, n - i), n - i);
    }
    if (out != nullptr) {
        fast_quantize(y, *out, forms, 0, group_count(n));
    }
}

// The same, but each group's greatest magnitude is found while the group is computed.
void fused_norm(const float *x, const float *w, float eps, uint32_t n, float *y,
                const QuantizedActivation *out, ActivationForms forms) {
    if (out == nullptr || n % kBlockElements != 0) {
        fast_norm(x, w, eps, n, y, out, forms);
        return;
    }
    const F32x8 scale = splat8(norm_scale(x, eps, n));
    for (uint32_t begin = 0, group = 0; begin < n; begin += kGroupElements, ++group) {
        const uint32_t end = n - begin < kGroupElements ? n : begin + kGroupElements;
        I32x8 most = {};
        for (uint32_t i = begin; i < end; i += kLanes) {
            const F32x8 v = (load8(x + i) * scale) * load8(w + i);
            store8(y + i, v);
            most = __builtin_elementwise_max(most, bits_of(v) & 0x7fffffff);
        }
        const int32_t amax_bits = greatest(most);
        if (is_plain(amax_bits, end - begin)) {
            quantize_blocks(y, group, begin, end, amax_bits, *out, forms);
        } else {
            quantize_activation(y, *out, forms, group, group + 1);
        }
    }
}

// ------------------------------------------------------------------ RoPE and the cache

void fast_rope(RopePairing pairing, const float *cos_sin, uint32_t pairs, float *x) {
    // a * c - b * s is a * c + (-(b * s)), and an integer operation changes the sign.
    const I32x8 signs = {INT32_MIN, 0, INT32_MIN, 0, INT32_MIN, 0, INT32_MIN, 0};
    uint32_t i = 0;
    if (pairing == RopePairing::kAdjacent) {
        for (; i + 4 <= pairs; i += 4) {
            const F32x8 angles = load8(cos_sin + 2 * i);
            const F32x8 v = load8(x + 2 * i);
            const F32x8 c = __builtin_shufflevector(angles, angles, 0, 0, 2, 2, 4, 4, 6, 6);
            const F32x8 s = __builtin_shufflevector(angles, angles, 1, 1, 3, 3, 5, 5, 7, 7);
            const F32x8 swapped = __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6);
            store8(x + 2 * i, v * c + float_of(bits_of(swapped * s) ^ signs));
        }
    } else {
        for (; i + 8 <= pairs; i += 8) {
            const F32x8 low = load8(cos_sin + 2 * i);
            const F32x8 high = load8(cos_sin + 2 * i + 8);
            const F32x8 c = __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14);
            const F32x8 s = __builtin_shufflevector(low, high, 1, 3, 5, 7, 9, 11, 13, 15);
            const F32x8 a = load8(x + i);
            const F32x8 b = load8(x + pairs + i);
            store8(x + i, a * c - b * s);
            store8(x + pairs + i, a * s + b * c);
        }
    }
    const bool adjacent = pairing == RopePairing::kAdjacent;
    for (; i < pairs; ++i) {
        float *const first = x + (adjacent ? 2 * i : i);
        float *const second = first + (adjacent ? 1 : pairs);
        const float c = cos_sin[2 * i];
        const float s = cos_sin[2 * i + 1];
        const float a = *first;
        const float b = *second;
        *first = a * c - b * s;
        *second = a * s + b * c;
    }
}

// Stores eight numbers as the cache has them (compute/numbers/attention.cpp); integers round them.
// Returns false and writes nothing if a number is too great for f16 or a denormal there.
[[gnu::always_inline]] inline bool store_halves(F32x8 x, uint8_t *to) {
    const I32x8 bits = bits_of(x);
    const I32x8 magnitude = bits & 0x7fffffff;
    const I32x8 fits = (magnitude > 0x387fffff) & (magnitude < 0x477fe000);
    const I32x8 zero = magnitude == 0;
    if (any_top_bit(~(fits | zero))) {
        return false;
    }
    const I32x8 odd = (magnitude >> 13) & 1;
    const I32x8 rounded = (magnitude + (odd + (0xfff - (112 << 23)))) >> 13;
    const I32x8 halves = (rounded & fits) | ((bits >> 16) & 0x8000);
    const Bits4 words = low4(halves) | (high4(halves) << 16);
    __builtin_memcpy(to, &words, sizeof(words));
    return true;
}

void fast_store(KvType type, const float *x, uint32_t head_size, uint8_t *to) {
    if (type != KvType::kF16 || head_size % kLanes != 0) {
        kv_store(type, x, head_size, to);
        return;
    }
    for (uint32_t i = 0; i < head_size; i += kLanes) {
        if (!store_halves(load8(x + i), to + 2 * i)) {
            kv_store(type, x + i, kLanes, to + 2 * i);
        }
    }
}

// ------------------------------------------------------------------ attention

// Positions that are computed together.
constexpr uint32_t kTogether = 8;
constexpr uint32_t kMaxFastHead = 256;

// Whether eight magnitudes, or eight least magnitudes of several, are of normal numbers.
[[gnu::always_inline]] inline bool halves_are_normal(Halves magnitudes) {
    constexpr uint64_t kToTop = 0x7c007c007c007c00;  // 2^15 less the smallest normal's bits
    const auto words = __builtin_bit_cast(std::array<uint64_t, 2>, magnitudes);
    return (((words[0] + kToTop) & (words[1] + kToTop)) | 0x7fff7fff7fff7fff) == ~uint64_t{0};
}

// Whether StoredHalves can widen all of them. Integers can widen normal numbers only.
[[gnu::noinline]] bool can_widen(const uint8_t *from, uint32_t bytes) {
    if constexpr (kWide) {
        return true;
    }
    constexpr Halves kMagnitude = {0x7fff, 0x7fff, 0x7fff, 0x7fff, 0x7fff, 0x7fff, 0x7fff, 0x7fff};
    Halves least = kMagnitude;
    for (uint32_t i = 0; i < bytes; i += sizeof(Halves)) {
        Halves some;
        __builtin_memcpy(&some, from + i, sizeof(some));
        least = __builtin_elementwise_min(least, static_cast<Halves>(some & kMagnitude));
    }
    return halves_are_normal(least);
}

[[gnu::always_inline]] inline F32x8 to_stored_order(F32x8 x) {
    return __builtin_shufflevector(x, x, 0, 4, 1, 5, 2, 6, 3, 7);
}
[[gnu::always_inline]] inline F32x8 to_plain_order(F32x8 x) {
    return __builtin_shufflevector(x, x, 0, 2, 4, 6, 1, 3, 5, 7);
}

// The two ways to load eight numbers of a position: widened before, or as the cache has them.
struct Widened {
    static constexpr uint32_t kBytes = 4;
    [[gnu::always_inline]] static inline F32x8 load(const uint8_t *from) {
        return load8(reinterpret_cast<const float *>(from));
    }
};
struct StoredHalves {
    static constexpr uint32_t kBytes = 2;
    // In stored order: 0, 4, 1, 5, 2, 6, 3, 7.
    [[gnu::always_inline]] static inline F32x8 load_unordered(const uint8_t *from) {
        Stored8 halves;
        __builtin_memcpy(&halves, from, sizeof(halves));
        return __builtin_convertvector(halves, F32x8);
    }
    [[gnu::always_inline]] static inline F32x8 load(const uint8_t *from) {
        if constexpr (kWide) {
            return to_plain_order(load_unordered(from));
        }
        constexpr auto kSignAndMagnitude = static_cast<int32_t>(0x8fffe000);
        Bits4 words;
        __builtin_memcpy(&words, from, sizeof(words));
        const I32x8 both = __builtin_shufflevector(words << 16, words, 0, 1, 2, 3, 4, 5, 6, 7);
        return float_of(((both >> 3) & kSignAndMagnitude) + (112 << 23));
    }
};

// The eight sums of eight positions' lanes, in order.
[[gnu::always_inline]] inline F32x8 fold_positions(const F32x8 *lanes) {
    F32x8 t[4];  // the contract's t_j of positions i and i + 4
#pragma clang loop unroll(full)
    for (uint32_t i = 0; i < 4; ++i) {
        t[i] = __builtin_shufflevector(lanes[i], lanes[i + 4], 0, 1, 2, 3, 8, 9, 10, 11) +
               __builtin_shufflevector(lanes[i], lanes[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
    F32x8 u[2];
#pragma clang loop unroll(full)
    for (uint32_t i = 0; i < 2; ++i) {
        u[i] = __builtin_shufflevector(t[2 * i], t[2 * i + 1], 0, 1, 8, 9, 4, 5, 12, 13) +
               __builtin_shufflevector(t[2 * i], t[2 * i + 1], 2, 3, 10, 11, 6, 7, 14, 15);
    }
    return __builtin_shufflevector(u[0], u[1], 0, 2, 8, 10, 4, 6, 12, 14) +
           __builtin_shufflevector(u[0], u[1], 1, 3, 9, 11, 5, 7, 13, 15);
}

// The four sums of four positions' lanes, in order.
[[gnu::always_inline]] inline F32x4 fold_four(const F32x8 *lanes) {
    F32x4 t[4];
#pragma clang loop unroll(full)
    for (uint32_t i = 0; i < 4; ++i) {
        t[i] = __builtin_shufflevector(lanes[i], lanes[i], 0, 1, 2, 3) +
               __builtin_shufflevector(lanes[i], lanes[i], 4, 5, 6, 7);
    }
    const F32x4 u01 = __builtin_shufflevector(t[0], t[1], 0, 1, 4, 5) +
                      __builtin_shufflevector(t[0], t[1], 2, 3, 6, 7);
    const F32x4 u23 = __builtin_shufflevector(t[2], t[3], 0, 1, 4, 5) +
                      __builtin_shufflevector(t[2], t[3], 2, 3, 6, 7);
    return __builtin_shufflevector(u01, u23, 0, 2, 4, 6) +
           __builtin_shufflevector(u01, u23, 1, 3, 5, 7);
}

// The lanes of the dot8 of q with kPositions positions.
template <typename From, uint32_t kPositions>
[[gnu::always_inline]] inline void dot_lanes(const float *q, const uint8_t *keys, uint32_t padded,
                                             F32x8 *lanes) {
    const uint64_t stride = uint64_t{padded} * From::kBytes;
    const F32x8 first = load8(q);
#pragma clang loop unroll(full)
    for (uint32_t t = 0; t < kPositions; ++t) {
        lanes[t] = plus_zero(first * From::load(keys + t * stride));
    }
#pragma clang loop unroll(disable)
    for (uint32_t i = kLanes; i < padded; i += kLanes) {
        const F32x8 more = load8(q + i);
        const uint8_t *const from = keys + i * From::kBytes;
#pragma clang loop unroll(full)
        for (uint32_t t = 0; t < kPositions; ++t) {
            lanes[t] = lanes[t] + more * From::load(from + t * stride);
        }
    }
}

// The dot8 of q with eight positions: eight at once, or four if registers have four floats.
template <typename From>
[[gnu::noinline]] F32x8 eight_dots(const float *q, const uint8_t *keys, uint32_t padded) {
    if constexpr (kWide) {
        F32x8 lanes[kTogether];
        dot_lanes<From, kTogether>(q, keys, padded, lanes);
        return fold_positions(lanes);
    }
    F32x4 sums[2];
#pragma clang loop unroll(disable)
    for (F32x4 &four : sums) {
        F32x8 lanes[4];
        dot_lanes<From, 4>(q, keys, padded, lanes);
        four = fold_four(lanes);
        keys += uint64_t{4} * padded * From::kBytes;
    }
    return __builtin_shufflevector(sums[0], sums[1], 0, 1, 2, 3, 4, 5, 6, 7);
}

// out[0 .. 8 * kEights) += p_t * values_t for `count` positions.
template <typename From, uint32_t kEights>
[[gnu::always_inline]] inline void mix_eights(const float *p, uint32_t count, const uint8_t *values,
                                              uint64_t stride, bool first, float *out) {
    F32x8 sum[kEights];
#pragma clang loop unroll(full)
    for (uint32_t k = 0; k < kEights; ++k) {
        sum[k] = first ? F32x8{} : load8(out + kLanes * k);
    }
#pragma clang loop unroll(disable)
    for (uint32_t t = 0; t < count; ++t, values += stride) {
        const F32x8 weight = splat8(p[t]);
#pragma clang loop unroll(full)
        for (uint32_t k = 0; k < kEights; ++k) {
            sum[k] = sum[k] + From::load(values + kLanes * k * From::kBytes) * weight;
        }
    }
#pragma clang loop unroll(full)
    for (uint32_t k = 0; k < kEights; ++k) {
        store8(out + kLanes * k, sum[k]);
    }
}

template <typename From>
[[gnu::noinline]] void mix_head(const float *p, uint32_t count, const uint8_t *values,
                                uint32_t padded, uint32_t head_size, bool first, float *out) {
    const uint64_t stride = uint64_t{padded} * From::kBytes;
    uint32_t j = 0;
    for (; j + 4 * kLanes <= head_size; j += 4 * kLanes) {
        mix_eights<From, 4>(p, count, values + j * From::kBytes, stride, first, out + j);
    }
    if (j + 2 * kLanes <= head_size) {
        mix_eights<From, 2>(p, count, values + j * From::kBytes, stride, first, out + j);
        j += 2 * kLanes;
    }
    if (j + kLanes <= head_size) {
        mix_eights<From, 1>(p, count, values + j * From::kBytes, stride, first, out + j);
        j += kLanes;
    }
    if (j < head_size) {
        // The stored head has zeros behind its last element.
        float last[kLanes];
        store8(last, load_some(out + j, first ? 0 : head_size - j));
        mix_eights<From, 1>(p, count, values + j * From::kBytes, stride, first, last);
        store_some(out + j, load8(last), head_size - j);
    }
}

// Widens the numbers of `now` positions and fills up to kTogether positions with zeros.
[[gnu::noinline]] const uint8_t *widen_positions(const AttentionTile &tile, const uint8_t *stored,
                                                 uint32_t now, uint32_t padded, float *x) {
    const uint64_t bytes = kv_head_bytes(tile.type, tile.head_size);
    const bool normal =
        tile.type == KvType::kF16 && can_widen(stored, static_cast<uint32_t>(now * bytes));
    for (uint32_t t = 0; t < kTogether; ++t, stored += bytes) {
        float *const to = x + t * padded;
        if (t >= now) {
            __builtin_memset(to, 0, padded * sizeof(float));
        } else if (normal) {
            for (uint32_t i = 0; i < padded; i += kLanes) {
                store8(to + i, StoredHalves::load(stored + 2 * i));
            }
        } else {
            kv_load(tile.type, stored, tile.head_size, to);
        }
    }
    return reinterpret_cast<const uint8_t *>(x);
}

// Stores the scores of eight positions, of which the row sees `now`, and updates its maximum.
[[gnu::noinline]] void put_scores(F32x8 scores, uint32_t t, uint32_t now, float *row_scores) {
    AttentionState &state = state_of(row_scores);
    if (now == kTogether) {
        store8(row_scores + kScoreHeader + t, scores);
    } else {
        store_some(row_scores + kScoreHeader + t, scores, now);
    }
    const F32x4 low = __builtin_shufflevector(scores, scores, 0, 1, 2, 3);
    const F32x4 high = __builtin_shufflevector(scores, scores, 4, 5, 6, 7);
    F32x4 max = {low[0], low[0], low[0], low[0]};
    if (t != 0) {
        __builtin_memcpy(&max, state.max, sizeof(max));
    }
    if (now == kTogether) {
        max = low > max ? low : max;
        max = high > max ? high : max;
    } else {
        for (uint32_t i = 0; i < now; ++i) {
            max[i % 4] = scores[i] > max[i % 4] ? scores[i] : max[i % 4];
        }
    }
    __builtin_memcpy(state.max, &max, sizeof(max));
}

// A single query vector reads the stored f16 itself, if they can be widened. For several query
// vectors, or another type of cache, positions are widened once before.
void fast_scores(const AttentionTile &tile, uint32_t begin, uint32_t end) {
    if (tile.head_size > kMaxFastHead) {
        attention_scores(tile, begin, end);
        return;
    }
    alignas(32) float widened[kTogether * kMaxFastHead];
    const uint32_t padded = padded_head(tile.head_size);
    const uint64_t bytes = kv_head_bytes(tile.type, tile.head_size);
    const bool single = tile.rows * tile.heads == 1 && tile.type == KvType::kF16;
    for (uint32_t t = begin; t < end; t += kTogether) {
        const uint32_t there = end - t < kTogether ? end - t : kTogether;
        const uint8_t *const stored = tile.keys + t * bytes;
        if (single && there == kTogether &&
            can_widen(stored, static_cast<uint32_t>(kTogether * bytes))) {
            const F32x8 scores = eight_dots<StoredHalves>(tile.q, stored, padded) * tile.scale;
            put_scores(scores, t, kTogether, tile.scores);
            continue;
        }
        const uint8_t *const keys = widen_positions(tile, stored, there, padded, widened);
        float *row_scores = tile.scores;
        for (uint32_t row = 0; row < tile.rows; ++row) {
            const uint32_t seen = visible(tile, row);
            const uint32_t now = seen <= t ? 0 : seen - t < there ? seen - t : there;
            const float *q = tile.q + row * tile.q_stride;
            for (uint32_t head = 0; head < tile.heads; ++head) {
                if (now != 0) {
                    put_scores(eight_dots<Widened>(q, keys, padded) * tile.scale, t, now,
                               row_scores);
                }
                q += padded;
                row_scores += tile.scores_stride;
            }
        }
    }
}

template <bool kRelaxed>
void fast_exp(const AttentionTile &tile, uint32_t begin, uint32_t end) {
    attention_exp_with(exp_range<kRelaxed>, tile, begin, end);
}

void fast_mix(const AttentionTile &tile, uint32_t begin, uint32_t end) {
    if (tile.head_size > kMaxFastHead) {
        attention_mix(tile, begin, end);
        return;
    }
    alignas(32) float widened[kTogether * kMaxFastHead];
    alignas(32) float p[kTogether];
    const uint32_t padded = padded_head(tile.head_size);
    const uint64_t bytes = kv_head_bytes(tile.type, tile.head_size);
    const bool single = tile.rows * tile.heads == 1 && tile.type == KvType::kF16;
    for (uint32_t t = begin; t < end; t += kTogether) {
        const uint32_t there = end - t < kTogether ? end - t : kTogether;
        const uint8_t *const stored = tile.values + t * bytes;
        const bool direct = single && can_widen(stored, static_cast<uint32_t>(there * bytes));
        const uint8_t *const values =
            direct ? stored : widen_positions(tile, stored, there, padded, widened);
        float *row_scores = tile.scores;
        for (uint32_t row = 0; row < tile.rows; ++row) {
            const uint32_t seen = visible(tile, row);
            const uint32_t now = seen <= t ? 0 : seen - t < there ? seen - t : there;
            float *out = tile.out + row * tile.out_stride;
            for (uint32_t head = 0; head < tile.heads; ++head) {
                if (now != 0) {
                    const float *const e = row_scores + kScoreHeader + t;
                    const F32x8 some = now == kTogether ? load8(e) : load_some(e, now);
                    store8(p, some * state_of(row_scores).inverse);
                    if (direct) {
                        mix_head<StoredHalves>(p, now, values, padded, tile.head_size, t == 0, out);
                    } else {
                        mix_head<Widened>(p, now, values, padded, tile.head_size, t == 0, out);
                    }
                }
                out += tile.head_size;
                row_scores += tile.scores_stride;
            }
        }
    }
}

// ------------------------------------------------------------------ the variants

constexpr FloatVariant general_variant(std::string_view name, InstructionSet needs) {
    return {.name = name,
            .needs = needs,
            .norm = fast_norm,
            .quantize = fast_quantize,
            .rope = fast_rope,
            .store = fast_store,
            .scores = fast_scores,
            .exp = fast_exp<false>,
            .mix = fast_mix,
            .silu = fast_silu<false>};
}

constexpr FloatVariant relaxed_variant(std::string_view name, InstructionSet needs) {
    return {.name = name,
            .needs = needs,
            .special = true,
            .relaxed = true,
            .scores = fast_scores,
            .exp = fast_exp<true>,
            .mix = fast_mix,
            .silu = fast_silu<true>};
}

constexpr FloatVariant fused_variant(std::string_view name, InstructionSet needs) {
    return {.name = name, .needs = needs, .special = true, .norm = fused_norm};
}
