#include "kernel_lib/base/crc32c.h"

#include <gtest/gtest.h>

#include <array>
#include <string_view>

namespace bareflow {
namespace {

std::span<const uint8_t> bytes_of(std::string_view text) {
    return {reinterpret_cast<const uint8_t *>(text.data()), text.size()};
}

// RFC 3720 appendix B.4, and the customary check value.
TEST(Crc32cTest, PublishedVectors) {
    std::array<uint8_t, 32> bytes{};
    EXPECT_EQ(crc32c(bytes), 0x8A9136AAu);
    bytes.fill(0xFF);
    EXPECT_EQ(crc32c(bytes), 0x62A8AB43u);
    for (size_t i = 0; i < bytes.size(); ++i) {
        bytes[i] = static_cast<uint8_t>(i);
    }
    EXPECT_EQ(crc32c(bytes), 0x46DD794Eu);
    EXPECT_EQ(crc32c(bytes_of("123456789")), 0xE3069283u);
    EXPECT_EQ(crc32c({}), 0u);
}

TEST(Crc32cTest, InPiecesIsTheSame) {
    const std::string_view text = "tokens, not bytes";
    for (size_t cut = 0; cut <= text.size(); ++cut) {
        EXPECT_EQ(crc32c(bytes_of(text.substr(cut)), crc32c(bytes_of(text.substr(0, cut)))),
                  crc32c(bytes_of(text)));
    }
}

}  // namespace
}  // namespace bareflow
