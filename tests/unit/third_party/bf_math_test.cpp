// musl's mathematics under our names against the host's C library, and against values that must be
// exact whatever the library.
#include "third_party/musl/port/bf_math.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

// Distance in units of the last place; both finite.
int64_t ulps_between(double a, double b) {
    const auto ordered = [](double v) {
        const auto bits = std::bit_cast<int64_t>(v);
        return bits < 0 ? std::numeric_limits<int64_t>::min() - bits : bits;
    };
    const int64_t d = ordered(a) - ordered(b);
    return d < 0 ? -d : d;
}

// Fixed pseudo-random doubles in [low, high).
class Samples {
  public:
    Samples(double low, double high) : low_(low), width_(high - low) {}
    double next() {
        state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
        return low_ + width_ * (static_cast<double>(state_ >> 11) * 0x1p-53);
    }

  private:
    uint64_t state_ = 0x9E3779B97F4A7C15ULL;
    double low_, width_;
};

void expect_near_host(double (*ours)(double), double (*host)(double), double low, double high) {
    Samples samples(low, high);
    for (int i = 0; i < 20000; ++i) {
        const double x = samples.next();
        ASSERT_LE(ulps_between(ours(x), host(x)), 1) << "x = " << x;
    }
}

TEST(BfMath, ExpIsWithinOneUlpOfTheHost) {
    expect_near_host(bf_exp, std::exp, -740.0, 709.0);
}
TEST(BfMath, LogIsWithinOneUlpOfTheHost) {
    expect_near_host(bf_log, std::log, 1e-300, 1e6);
}
TEST(BfMath, LogNearOneIsWithinOneUlpOfTheHost) {
    expect_near_host(bf_log, std::log, 0.9, 1.1);
}
TEST(BfMath, SinIsWithinOneUlpOfTheHost) {
    expect_near_host(bf_sin, std::sin, -1000.0, 1000.0);
}
TEST(BfMath, CosIsWithinOneUlpOfTheHost) {
    expect_near_host(bf_cos, std::cos, -1000.0, 1000.0);
}
TEST(BfMath, HugeAnglesAreReducedExactly) {
    expect_near_host(bf_sin, std::sin, 1e15, 1e22);
    expect_near_host(bf_cos, std::cos, 1e15, 1e22);
}

TEST(BfMath, PowIsWithinOneUlpOfTheHost) {
    Samples bases(0.01, 100000.0);
    Samples exponents(-20.0, 20.0);
    for (int i = 0; i < 20000; ++i) {
        const double x = bases.next();
        const double y = exponents.next();
        ASSERT_LE(ulps_between(bf_pow(x, y), std::pow(x, y)), 1) << x << " ^ " << y;
    }
}

TEST(BfMath, FloorAndScalbnAreExact) {
    Samples samples(-1e9, 1e9);
    for (int i = 0; i < 20000; ++i) {
        const double x = samples.next();
        ASSERT_EQ(bf_floor(x), std::floor(x));
        ASSERT_EQ(bf_scalbn(x, i % 600 - 300), std::scalbn(x, i % 600 - 300));
    }
}

TEST(BfMath, SpecialValues) {
    EXPECT_EQ(bf_exp(0.0), 1.0);
    EXPECT_EQ(bf_exp(-kInf), 0.0);
    EXPECT_EQ(bf_exp(1000.0), kInf);
    EXPECT_EQ(bf_exp(-1000.0), 0.0);
    EXPECT_EQ(bf_log(1.0), 0.0);
    EXPECT_EQ(bf_log(0.0), -kInf);
    EXPECT_TRUE(std::isnan(bf_log(-1.0)));
    EXPECT_EQ(bf_pow(2.0, 10.0), 1024.0);
    EXPECT_EQ(bf_pow(-2.0, 3.0), -8.0);
    EXPECT_EQ(bf_pow(0.0, -1.0), kInf);
    EXPECT_EQ(bf_pow(10.0, 400.0), kInf);
    EXPECT_TRUE(std::isnan(bf_pow(-2.0, 0.5)));
    EXPECT_EQ(bf_sin(0.0), 0.0);
    EXPECT_EQ(bf_cos(0.0), 1.0);
    EXPECT_TRUE(std::isnan(bf_sin(kInf)));
    EXPECT_TRUE(std::isnan(bf_cos(std::nan(""))));
}

// The same bits everywhere: these were computed on bare metal's flags and must never move.
TEST(BfMath, BitsAreFixed) {
    EXPECT_EQ(std::bit_cast<uint64_t>(bf_exp(1.0)), 0x4005BF0A8B145769ULL);
    EXPECT_EQ(std::bit_cast<uint64_t>(bf_log(10.0)), 0x40026BB1BBB55516ULL);
    EXPECT_EQ(std::bit_cast<uint64_t>(bf_sin(1.0)), 0x3FEAED548F090CEEULL);
    EXPECT_EQ(std::bit_cast<uint64_t>(bf_cos(1.0)), 0x3FE14A280FB5068CULL);
}

}  // namespace
