// Compiled variants of the float operations, such as norms and attention, against the reference,
// bit for bit and for values of every kind. Relaxed variants are held to their tolerance.
#include "compute/kernels/float_ops.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "compute/kernels/registry.h"
#include "compute/numbers/quant.h"
#include "compute/numbers/rope_pairing.h"
#include "tests/unit/compute/fenced.h"
#include "tests/unit/compute/random_numbers.h"

namespace bareflow::compute {
namespace {

using testing::Fenced;
using testing::Random;

// Every NaN counts as equal to every other NaN.
bool same(const float *a, const float *b, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        if (std::bit_cast<uint32_t>(a[i]) != std::bit_cast<uint32_t>(b[i]) &&
            !(std::isnan(a[i]) && std::isnan(b[i]))) {
            return false;
        }
    }
    return true;
}

// Kinds of values: those that models compute, and those that they should not.
enum class Values { kOrdinary, kSmall, kHuge, kBits, kZeros, kHalves, kSpecial };
constexpr Values kValues[] = {Values::kOrdinary, Values::kSmall,  Values::kHuge,   Values::kBits,
                              Values::kZeros,    Values::kHalves, Values::kSpecial};

float value(Values values, Random &random) {
    switch (values) {
        case Values::kOrdinary:
            return random.unit() * 4.0f;
        case Values::kSmall:  // denormals of f16, and of f32
            return random.unit() * (random.below(2) == 0 ? 1e-4f : 1e-39f);
        case Values::kHuge:
            return random.unit() * 3e38f;
        case Values::kBits:
            return std::bit_cast<float>(static_cast<uint32_t>(random.next() >> 32));
        case Values::kZeros:
            return random.below(3) == 0 ? random.unit() : random.below(2) == 0 ? 0.0f : -0.0f;
        case Values::kHalves:  // exactly between two results of rounding
            return static_cast<float>(static_cast<int>(random.below(508)) - 254) * 0.5f;
        case Values::kSpecial: {
            constexpr float kInf = std::numeric_limits<float>::infinity();
            constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
            const float some[] = {kInf,  -kInf,    kNan,     88.0f,    -88.0f,   -87.0f,
                                  64.0f, -64.0f,   65504.0f, 65519.9f, -65536.f, 6.1e-5f,
                                  0.0f,  6.09e-5f, -0.0f,    1e-38f,   3.4e38f,  -87.1f};
            return random.below(8) == 0 ? some[random.below(std::size(some))] : random.unit();
        }
    }
    return 0.0f;
}

// An array beside an inaccessible page.
class Array {
  public:
    Array(size_t count, bool at_start)
        : pages_(std::max<size_t>(count, 1) * sizeof(float), at_start), count_(count) {}
    Array(size_t count, bool at_start, Values values, Random &random) : Array(count, at_start) {
        for (size_t i = 0; i < count; ++i) {
            data()[i] = value(values, random);
        }
    }
    [[nodiscard]] float *data() const { return pages_.as<float>(); }
    void copy_from(const Array &other) const { std::copy_n(other.data(), count_, data()); }

  private:
    Fenced pages_;
    size_t count_;
};

class FloatOpsTest : public ::testing::TestWithParam<const FloatVariant *> {
  protected:
    const FloatVariant &variant() { return *GetParam(); }
    const FloatVariant &reference() { return portable_float_ops(); }
};

struct Quantized {
    explicit Quantized(uint32_t n, bool at_start)
        : blocks((n + 31) / 32),
          q(blocks * 32, at_start),
          sums(blocks * 4, at_start),
          scales(group_count(n) * 4, at_start),
          pairs(blocks * 128, at_start),
          quads(blocks * 64, at_start) {
        view.count = n;
        view.q = q.as<int8_t>();
        view.block_sums = sums.as<int32_t>();
        view.group_scales = scales.as<float>();
        view.pairs = pairs.as<uint64_t>();
        view.quads = quads.as<uint64_t>();
    }
    bool operator==(const Quantized &other) const {
        return memcmp(view.q, other.view.q, blocks * 32) == 0 &&
               memcmp(view.block_sums, other.view.block_sums, blocks * 4) == 0 &&
               same(view.group_scales, other.view.group_scales, group_count(view.count)) &&
               memcmp(view.pairs, other.view.pairs, blocks * 128) == 0 &&
               memcmp(view.quads, other.view.quads, blocks * 64) == 0;
    }
    size_t blocks;
    Fenced q, sums, scales, pairs, quads;
    QuantizedActivation view;
};

constexpr uint32_t kLengths[] = {1,   5,   7,   8,   9,   31,  32,  33,  64,  96,  100, 128,
                                 200, 224, 256, 257, 260, 288, 320, 511, 512, 544, 768, 1000};

TEST_P(FloatOpsTest, Quantize) {
    if (variant().quantize == nullptr) {
        return;
    }
    Random random(1);
    for (const Values values : kValues) {
        for (const uint32_t n : kLengths) {
            for (const ActivationForms forms :
                 {0u, kFormPairs, kFormQuads, kFormPairs | kFormQuads}) {
                const bool at_start = forms == 0;
                const Array x(n, at_start, values, random);
                Quantized expected(n, at_start);
                Quantized got(n, at_start);
                const uint32_t groups = group_count(n);
                const uint32_t cut = random.below(groups + 1);
                reference().quantize(x.data(), expected.view, forms, 0, groups);
                variant().quantize(x.data(), got.view, forms, cut, groups);
                variant().quantize(x.data(), got.view, forms, 0, cut);
                ASSERT_TRUE(got == expected) << n << " " << static_cast<int>(values);
            }
        }
    }
}

// Groups with the greatest and the smallest scales, and products close to 127.
TEST_P(FloatOpsTest, QuantizeAtTheLimits) {
    if (variant().quantize == nullptr) {
        return;
    }
    Random random(2);
    for (int exponent = -149; exponent < 128; ++exponent) {
        for (int i = 0; i < 40; ++i) {
            const float scale = std::ldexp(1.0f + std::fabs(random.unit()) * 0.999f, exponent);
            const Array x(256, false);
            for (uint32_t k = 0; k < 256; ++k) {
                x.data()[k] = k % 3 == 0   ? std::nextafter(scale, 0.0f)
                              : k % 3 == 1 ? -scale
                                           : random.unit() * scale;
            }
            Quantized expected(256, false);
            Quantized got(256, false);
            reference().quantize(x.data(), expected.view, kFormPairs, 0, 1);
            variant().quantize(x.data(), got.view, kFormPairs, 0, 1);
            ASSERT_TRUE(got == expected) << exponent;
        }
    }
}

TEST_P(FloatOpsTest, Norm) {
    if (variant().norm == nullptr) {
        return;
    }
    Random random(3);
    for (const Values values : kValues) {
        for (const uint32_t n : kLengths) {
            for (const bool quantized : {false, true}) {
                const bool at_start = (n + static_cast<uint32_t>(values)) % 2 == 0;
                const Array x(n, at_start, values, random);
                const Array w(n, at_start, Values::kOrdinary, random);
                const Array expected(n, at_start);
                const Array got(n, at_start);
                Quantized expected_q(n, at_start);
                Quantized got_q(n, at_start);
                reference().norm(x.data(), w.data(), 1e-5f, n, expected.data(),
                                 quantized ? &expected_q.view : nullptr, kFormPairs);
                variant().norm(x.data(), w.data(), 1e-5f, n, got.data(),
                               quantized ? &got_q.view : nullptr, kFormPairs);
                ASSERT_TRUE(same(got.data(), expected.data(), n)) << n;
                ASSERT_TRUE(got_q == expected_q) << n << " " << static_cast<int>(values);
            }
        }
    }
}

TEST_P(FloatOpsTest, Silu) {
    if (variant().silu == nullptr) {
        return;
    }
    Random random(4);
    for (const Values values : kValues) {
        for (uint32_t n = 1; n < 80; ++n) {
            const Array g(n, n % 2 == 0, values, random);
            const Array u(n, n % 2 == 0, Values::kOrdinary, random);
            const Array expected(n, n % 2 == 0);
            const uint32_t begin = random.below(n);
            std::fill_n(expected.data(), n, 77.0f);
            const Array got(n, n % 2 == 0);
            got.copy_from(expected);
            reference().silu(g.data(), u.data(), begin, n, expected.data());
            variant().silu(g.data(), u.data(), begin, n, got.data());
            ASSERT_TRUE(same(got.data(), expected.data(), n)) << n;
            variant().silu(g.data(), u.data(), begin, n, g.data());  // in place
            ASSERT_TRUE(same(g.data() + begin, expected.data() + begin, n - begin)) << n;
        }
    }
}

// Every exponent and sign, through SiLU.
TEST_P(FloatOpsTest, ExpOfEverySizeOfNumber) {
    if (variant().silu == nullptr) {
        return;
    }
    constexpr uint32_t kCount = 1 << 16;
    std::vector<float> g(kCount);
    const std::vector<float> u(kCount, 1.0f);
    std::vector<float> expected(kCount);
    std::vector<float> got(kCount);
    for (uint32_t low = 0; low < 4; ++low) {
        for (uint32_t i = 0; i < kCount; ++i) {
            g[i] = std::bit_cast<float>(i << 16 | low * 0x4321);
        }
        reference().silu(g.data(), u.data(), 0, kCount, expected.data());
        variant().silu(g.data(), u.data(), 0, kCount, got.data());
        ASSERT_TRUE(same(got.data(), expected.data(), kCount));
    }
}

TEST_P(FloatOpsTest, Rope) {
    if (variant().rope == nullptr) {
        return;
    }
    Random random(5);
    for (const RopePairing pairing : {RopePairing::kAdjacent, RopePairing::kHalves}) {
        for (const Values values : kValues) {
            for (uint32_t pairs = 1; pairs < 70; ++pairs) {
                const bool at_start = pairs % 2 == 0;
                const Array angles(2 * pairs, at_start, Values::kOrdinary, random);
                const Array expected(2 * pairs, at_start, values, random);
                const Array got(2 * pairs, at_start);
                got.copy_from(expected);
                reference().rope(pairing, angles.data(), pairs, expected.data());
                variant().rope(pairing, angles.data(), pairs, got.data());
                ASSERT_TRUE(same(got.data(), expected.data(), 2 * pairs)) << pairs;
            }
        }
    }
}

constexpr uint32_t kHeadSizes[] = {2, 8, 10, 16, 24, 32, 40, 48, 64, 80, 100, 128, 250, 256, 512};

TEST_P(FloatOpsTest, Store) {
    if (variant().store == nullptr) {
        return;
    }
    Random random(6);
    for (const KvType type : {KvType::kF16, KvType::kQ8_0}) {
        for (const Values values : kValues) {
            for (const uint32_t head_size : kHeadSizes) {
                for (int i = 0; i < 20; ++i) {
                    const bool at_start = i % 2 == 0;
                    const Array x(head_size, at_start, values, random);
                    const uint32_t bytes = kv_head_bytes(type, head_size);
                    const Fenced expected(bytes, at_start);
                    const Fenced got(bytes, at_start);
                    reference().store(type, x.data(), head_size, expected.as<uint8_t>());
                    variant().store(type, x.data(), head_size, got.as<uint8_t>());
                    ASSERT_EQ(memcmp(got.as<uint8_t>(), expected.as<uint8_t>(), bytes), 0)
                        << head_size << " " << static_cast<int>(values);
                }
            }
        }
    }
}

// Every f32 next to a border between two f16 is stored as the reference stores it.
TEST_P(FloatOpsTest, StoreRoundsEveryHalf) {
    if (variant().store == nullptr) {
        return;
    }
    for (uint32_t half = 0; half < 0x7c00; ++half) {
        const float low = f16_to_f32(static_cast<uint16_t>(half));
        const float high = half == 0x7bff ? 70000.0f : f16_to_f32(static_cast<uint16_t>(half + 1));
        const float middle = (low + high) / 2;
        const float x[8] = {low,
                            -low,
                            middle,
                            -middle,
                            std::nextafter(middle, 0.0f),
                            std::nextafter(middle, 1e9f),
                            -std::nextafter(middle, 0.0f),
                            std::nextafter(low, 1e9f)};
        uint8_t expected[16];
        uint8_t got[16];
        reference().store(KvType::kF16, x, 8, expected);
        variant().store(KvType::kF16, x, 8, got);
        ASSERT_EQ(memcmp(expected, got, sizeof(got)), 0) << half;
    }
}

struct Tiles {
    Tiles(KvType type, uint32_t head_size, uint32_t rows, uint32_t heads, uint32_t positions,
          Values values, Random &random)
        : vectors(rows * heads),
          padded(padded_head(head_size)),
          stride(kScoreHeader + (positions + 15) / 16 * 16),
          bytes(kv_head_bytes(type, head_size)),
          keys(positions * bytes),
          kept_values(positions * bytes),
          q(vectors * padded * 4),
          out(vectors * head_size * 4) {
        for (uint32_t t = 0; t < positions; ++t) {
            for (Fenced *const to : {&keys, &kept_values}) {
                std::vector<float> x(head_size);
                for (float &v : x) {
                    // Some numbers are zero or denormal.
                    v = random.below(200) == 0 ? 1e-6f : value(values, random);
                }
                kv_store(type, x.data(), head_size, to->as<uint8_t>() + t * bytes);
            }
        }
        for (uint32_t i = 0; i < vectors * padded; ++i) {
            q.as<float>()[i] = i % padded < head_size ? value(values, random) : 0.0f;
        }
        tile = {.type = type,
                .head_size = head_size,
                .rows = rows,
                .heads = heads,
                .positions = positions,
                .scale = 0.17f,
                .q = q.as<float>(),
                .q_stride = heads * padded,
                .keys = keys.as<uint8_t>(),
                .values = kept_values.as<uint8_t>(),
                .scores = nullptr,
                .scores_stride = stride,
                .out = nullptr,
                .out_stride = uint64_t{heads} * head_size};
    }
    // The passes of each variant, in one call or in several.
    std::vector<float> results(const FloatVariant &first, const FloatVariant &second, Random *cut) {
        Fenced scores(vectors * stride * 4);
        tile.scores = scores.as<float>();
        tile.out = out.as<float>();
        const auto pass = [&](AttentionKernel FloatVariant::*kernel) {
            for (uint32_t begin = 0; begin < tile.positions;) {
                const uint32_t step = cut == nullptr ? tile.positions : 8 * (1 + cut->below(5));
                const uint32_t end = std::min(begin + step, tile.positions);
                const FloatVariant &one = cut == nullptr || cut->below(2) == 0 ? first : second;
                (one.*kernel)(tile, begin, end);
                begin = end;
            }
        };
        pass(&FloatVariant::scores);
        pass(&FloatVariant::exp);
        pass(&FloatVariant::mix);
        return {tile.out, tile.out + vectors * tile.head_size};
    }
    uint32_t vectors;
    uint32_t padded;
    uint64_t stride;
    uint32_t bytes;
    Fenced keys;
    Fenced kept_values;
    Fenced q;
    Fenced out;
    AttentionTile tile;
};

TEST_P(FloatOpsTest, Attention) {
    if (variant().scores == nullptr) {
        return;
    }
    Random random(7);
    for (const KvType type : {KvType::kF16, KvType::kQ8_0}) {
        for (const Values values : kValues) {
            for (const uint32_t head_size : kHeadSizes) {
                if (!variant().does(FloatOp::kAttention, head_size)) {
                    continue;
                }
                for (int i = 0; i < 6; ++i) {
                    const uint32_t rows = i < 3 ? 1 : 1 + random.below(8);
                    const uint32_t heads = i < 2 ? 1 : 1 + random.below(4);
                    const uint32_t positions = rows + random.below(i == 2 ? 700 : 70);
                    Tiles tiles(type, head_size, rows, heads, positions, values, random);
                    const auto expected = tiles.results(reference(), reference(), nullptr);
                    const auto whole = tiles.results(variant(), variant(), nullptr);
                    ASSERT_TRUE(same(whole.data(), expected.data(), expected.size()))
                        << head_size << " " << rows << " " << heads << " " << positions << " "
                        << static_cast<int>(values);
                    // A variant may be exchanged for another between any two calls.
                    const auto mixed = tiles.results(variant(), reference(), &random);
                    ASSERT_TRUE(same(mixed.data(), expected.data(), expected.size()))
                        << head_size << " " << rows << " " << heads << " " << positions;
                }
            }
        }
    }
}

// ------------------------------------------------------------------ numerics=fast

class RelaxedOpsTest : public ::testing::TestWithParam<const FloatVariant *> {
  protected:
    const FloatVariant &variant() { return *GetParam(); }
    const FloatVariant &reference() { return portable_float_ops(); }
};

bool near(const float *got, const float *expected, size_t count) {
    float greatest = 0.0f;
    for (size_t i = 0; i < count; ++i) {
        greatest = std::max(greatest, std::fabs(expected[i]));
    }
    for (size_t i = 0; i < count; ++i) {
        if (!(std::fabs(got[i] - expected[i]) <= greatest * kRelaxedTolerance)) {
            return false;
        }
    }
    return true;
}

TEST_P(RelaxedOpsTest, AreListedOnlyWhereTheyAreAllowed) {
    const auto listed = [&] {
        const auto list = float_variants();
        return std::find(list.begin(), list.end(), GetParam()) != list.end();
    };
    EXPECT_FALSE(relaxed_numerics());
    EXPECT_FALSE(listed());
    allow_relaxed_numerics(true);
    EXPECT_TRUE(listed());
    for (const FloatOp op : {FloatOp::kAttention, FloatOp::kSilu}) {
        EXPECT_FALSE(float_rule_of_thumb(op, 64).relaxed);
        EXPECT_FALSE(float_variant_for(op, 64).relaxed);
    }
    allow_relaxed_numerics(false);
    EXPECT_TRUE(variant().special) << "never where a rule begins";
}

TEST_P(RelaxedOpsTest, Silu) {
    if (variant().silu == nullptr) {
        return;
    }
    Random random(8);
    for (uint32_t n = 1; n < 80; ++n) {
        const Array g(n, n % 2 == 0, Values::kOrdinary, random);
        const Array u(n, n % 2 == 0, Values::kOrdinary, random);
        const Array expected(n, n % 2 == 0);
        const Array got(n, n % 2 == 0);
        reference().silu(g.data(), u.data(), 0, n, expected.data());
        variant().silu(g.data(), u.data(), 0, n, got.data());
        ASSERT_TRUE(near(got.data(), expected.data(), n)) << n;
    }
}

// The error of each number relative to itself, from the smallest to the greatest exponential.
TEST_P(RelaxedOpsTest, ExpOfEverySizeOfNumber) {
    if (variant().silu == nullptr) {
        return;
    }
    Random random(9);
    std::vector<float> g(1 << 16);
    for (float &x : g) {
        x = random.unit() * (random.below(2) == 0 ? 87.0f : 4.0f);
    }
    const std::vector<float> u(g.size(), 1.0f);
    std::vector<float> expected(g.size());
    std::vector<float> got(g.size());
    reference().silu(g.data(), u.data(), 0, static_cast<uint32_t>(g.size()), expected.data());
    variant().silu(g.data(), u.data(), 0, static_cast<uint32_t>(g.size()), got.data());
    bool different = false;
    for (size_t i = 0; i < g.size(); ++i) {
        // The reciprocal of a number near the greatest float may be 0.
        const float most = std::max(std::fabs(expected[i]) * 0x1p-15f, 1e-34f);
        ASSERT_NEAR(got[i], expected[i], most) << g[i];
        different |= got[i] != expected[i];
    }
    EXPECT_TRUE(different) << "else it would not have to be relaxed";
}

TEST_P(RelaxedOpsTest, Attention) {
    if (variant().scores == nullptr) {
        return;
    }
    Random random(10);
    for (const KvType type : {KvType::kF16, KvType::kQ8_0}) {
        for (const uint32_t head_size : {8u, 16u, 32u, 48u, 64u, 80u, 96u, 100u, 128u}) {
            if (!variant().does(FloatOp::kAttention, head_size)) {
                continue;
            }
            for (int i = 0; i < 40; ++i) {
                const uint32_t rows = i < 3 ? 1 : 1 + random.below(8);
                const uint32_t heads = i < 2 ? 1 : 1 + random.below(4);
                const uint32_t positions = rows + random.below(200);
                Tiles tiles(type, head_size, rows, heads, positions, Values::kZeros, random);
                const auto expected = tiles.results(reference(), reference(), nullptr);
                const auto whole = tiles.results(variant(), variant(), nullptr);
                ASSERT_TRUE(near(whole.data(), expected.data(), expected.size()))
                    << head_size << " " << rows << " " << heads << " " << positions;
                const auto mixed = tiles.results(variant(), reference(), &random);
                ASSERT_TRUE(near(mixed.data(), expected.data(), expected.size()));
            }
        }
    }
}

std::vector<const FloatVariant *> relaxed_variants() {
    allow_relaxed_numerics(true);
    std::vector<const FloatVariant *> list;
    for (const FloatVariant *const variant : float_variants()) {
        if (variant->relaxed) {
            list.push_back(variant);
        }
    }
    allow_relaxed_numerics(false);
    return list;
}

INSTANTIATE_TEST_SUITE_P(Variants, RelaxedOpsTest, ::testing::ValuesIn(relaxed_variants()),
                         [](const auto &info) {
                             std::string name(info.param->name);
                             std::replace(name.begin(), name.end(), ' ', '_');
                             return name;
                         });

std::vector<const FloatVariant *> all_variants() {
    const auto variants = float_variants();
    return {variants.begin(), variants.end()};
}

INSTANTIATE_TEST_SUITE_P(Variants, FloatOpsTest, ::testing::ValuesIn(all_variants()),
                         [](const auto &info) {
                             std::string name(info.param->name);
                             std::replace(name.begin(), name.end(), ' ', '_');
                             return name;
                         });

}  // namespace
}  // namespace bareflow::compute
