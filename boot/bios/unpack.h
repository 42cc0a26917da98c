// Unpacks the kernel of a disk image: LZMA, then the branch filter of tools/make_image.py undone.
// Called once, by stage 2, in long mode with no stack guard, no SSE and nothing else there; hosted
// by its tests. Why LZMA, and its figures: docs/decisions/0002.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bareflow {

// The literal coder looks at the top three bits of the byte before (lc = 3); positions play no part
// (lp = pb = 0). The encoder is told the same.
inline constexpr unsigned kLzmaContextBits = 3;

// What unpack_kernel needs besides packed and unpacked bytes: every probability of the model.
inline constexpr size_t kLzmaScratchBytes = 14302;

// One raw LZMA1 stream (LZMA specification, 7-Zip SDK; no header, end marker optional) that must
// give exactly `unpacked_len` bytes. False when it is damaged: it ends early or reaches back before
// its first byte. Reads and writes nothing outside of the three places, whatever the bytes are, and
// ends after at most unpacked_len symbols. `scratch`: kLzmaScratchBytes, aligned to two.
extern "C" bool unpack_kernel(const uint8_t *packed, size_t packed_len, uint8_t *unpacked,
                              size_t unpacked_len, uint16_t *scratch);

}  // namespace bareflow
