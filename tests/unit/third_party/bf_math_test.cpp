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

TEST(BfMath, SinIsWithinOneUlpOfTheHost) {
    expect_near_host(bf_sin, std::sin, -1000.0, 1000.0);
}
TEST(BfMath, CosIsWithinOneUlpOfTheHost) {
    expect_near_host(bf_cos, std::cos, -1000.0, 1000.0);
}
TEST(BfMath, LargeAnglesAreReducedExactly) {
    expect_near_host(bf_sin, std::sin, 1e5, 0x1p20);
    expect_near_host(bf_cos, std::cos, 1e5, 0x1p20);
}
TEST(BfMathDeathTest, AnglesBeyondTheTableEndTheProgram) {
    EXPECT_DEATH((void)bf_sin(0x1p21), "");
}

TEST(BfMath, SpecialValues) {
    EXPECT_EQ(bf_sin(0.0), 0.0);
    EXPECT_EQ(bf_cos(0.0), 1.0);
    EXPECT_TRUE(std::isnan(bf_sin(kInf)));
    EXPECT_TRUE(std::isnan(bf_cos(std::nan(""))));
}

// The same bits everywhere: these were computed on bare metal's flags and must never move.
TEST(BfMath, BitsAreFixed) {
    EXPECT_EQ(std::bit_cast<uint64_t>(bf_sin(1.0)), 0x3FEAED548F090CEEULL);
    EXPECT_EQ(std::bit_cast<uint64_t>(bf_cos(1.0)), 0x3FE14A280FB5068CULL);
}

}  // namespace
