// FNV-1a, 64 bits: for tables of our own names. No defence against chosen input.
// Source: Fowler, Noll, Vo, "The FNV Non-Cryptographic Hash Algorithm".
#pragma once

#include <cstdint>
#include <string_view>

namespace bareflow {

[[nodiscard]] constexpr uint64_t fnv1a_64(std::string_view text) {
    uint64_t hash = 0xCBF2'9CE4'8422'2325;
    for (const char c : text) {
        hash = (hash ^ static_cast<uint8_t>(c)) * 0x0000'0100'0000'01B3;
    }
    return hash;
}

}  // namespace bareflow
