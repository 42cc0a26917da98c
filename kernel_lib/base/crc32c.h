// CRC-32C (Castagnoli, reflected, polynomial 0x1EDC6F41): RFC 3720 section 12.1 and its test
// vectors in appendix B.4. Bit by bit: for records of a few KiB.
#pragma once

#include <cstdint>
#include <span>

namespace bareflow {

// Of `bytes` after what `crc` is the checksum of; 0: of nothing.
[[nodiscard]] constexpr uint32_t crc32c(std::span<const uint8_t> bytes, uint32_t crc = 0) {
    constexpr uint32_t kReflectedPolynomial = 0x82F63B78;
    crc = ~crc;
    for (const uint8_t byte : bytes) {
        crc ^= byte;
        for (int bit = 0; bit < 8; ++bit) {
            crc = crc >> 1 ^ ((crc & 1) != 0 ? kReflectedPolynomial : 0);
        }
    }
    return ~crc;
}

}  // namespace bareflow
