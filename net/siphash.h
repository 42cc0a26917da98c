// SipHash-2-4 (J.-P. Aumasson, D. J. Bernstein, "SipHash: a fast short-input PRF", 2012): a keyed
// hash whose output a stranger without the key cannot predict. Pure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace bareflow {

using SipKey = std::array<uint64_t, 2>;

[[nodiscard]] uint64_t siphash24(const SipKey &key, std::span<const uint8_t> message);

}  // namespace bareflow
