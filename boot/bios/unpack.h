// Unpacks the kernel of a disk image: decodes LZMA, then undoes the branch filter of
// tools/make_image.py. Stage 2 calls it once, in long mode: there is no stack guard, no SSE and no
// other code of the program yet. Its tests run it hosted. Why LZMA, and its figures:
// docs/decisions/0002.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bareflow {

// The literal coder uses the top three bits of the byte before (lc = 3). Positions play no part (lp
// = pb = 0). tools/make_image.py sets the encoder so.
inline constexpr unsigned kLzmaContextBits = 3;

// The scratch memory of unpack_kernel: every probability of the model.
inline constexpr size_t kLzmaScratchBytes = 14302;

// One raw LZMA1 stream (LZMA specification, 7-Zip SDK; no header, end marker optional) that must
// give exactly `unpacked_len` bytes. False when it is damaged: it ends early or reaches back before
// its first byte. Whatever the bytes are, it reads and writes nothing outside of `packed`,
// `unpacked` and `scratch`, and ends after at most unpacked_len symbols. `scratch`:
// kLzmaScratchBytes, aligned to two.
extern "C" bool unpack_kernel(const uint8_t *packed, size_t packed_len, uint8_t *unpacked,
                              size_t unpacked_len, uint16_t *scratch);

}  // namespace bareflow
