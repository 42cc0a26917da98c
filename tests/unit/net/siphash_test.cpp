#include "net/siphash.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace bareflow {
namespace {

// Appendix A of the SipHash paper: key 00..0f, message 00..0e.
TEST(SipHash, PaperVector) {
    std::vector<uint8_t> message(15);
    std::iota(message.begin(), message.end(), uint8_t{0});
    const SipKey key{0x0706050403020100, 0x0f0e0d0c0b0a0908};
    EXPECT_EQ(siphash24(key, message), 0xa129ca6149be45e5U);
}

TEST(SipHash, EveryLengthAndKeyMatters) {
    const std::vector<uint8_t> zeros(32, 0);
    std::vector<uint64_t> seen;
    for (size_t len = 0; len <= 32; len++) {
        seen.push_back(siphash24({1, 2}, std::span(zeros).first(len)));
        seen.push_back(siphash24({1, 3}, std::span(zeros).first(len)));
    }
    std::sort(seen.begin(), seen.end());
    EXPECT_EQ(std::adjacent_find(seen.begin(), seen.end()), seen.end());
}

}  // namespace
}  // namespace bareflow
