// The natural logarithm of the numeric contract: the same bits on every machine.
#pragma once

namespace bareflow::llama {

// Error below 2^-22 relative or 2^-24 absolute. If x is NaN, or below the smallest normal number
// (zero and negative numbers are), the result is that of the smallest normal number. If x is
// infinite, the result is that of the greatest finite number.
[[nodiscard]] float log_f32(float x);

}  // namespace bareflow::llama
