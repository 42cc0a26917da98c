#include "llama/engine/log_f32.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/unit/compute/random_numbers.h"

namespace bareflow::llama {
namespace {

using compute::testing::Random;

TEST(LogF32Test, IsCloseAndNeverOdd) {
    Random random(9);
    for (int i = 0; i < 200000; ++i) {
        const float x = std::exp((random.unit() - 0.5f) * 50);
        const double exact = std::log(static_cast<double>(x));
        ASSERT_LE(std::abs(log_f32(x) - exact), std::max(std::abs(exact) * 0x1p-22, 0x1p-24)) << x;
    }
    EXPECT_EQ(log_f32(1.0f), 0.0f);
    const float smallest = log_f32(std::numeric_limits<float>::min());
    EXPECT_NEAR(smallest, -87.3365, 1e-3);
    for (const float x : {0.0f, -0.0f, -5.0f, 1e-45f, std::numeric_limits<float>::quiet_NaN(),
                          -std::numeric_limits<float>::infinity()}) {
        EXPECT_EQ(log_f32(x), smallest);
    }
    EXPECT_NEAR(log_f32(std::numeric_limits<float>::infinity()), 88.7228, 1e-3);
}

}  // namespace
}  // namespace bareflow::llama
