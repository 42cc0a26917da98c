// Scalar mathematics of the engine. Functions of doubles come from musl: the same code on bare
// metal and hosted, so that RoPE's tables have the same bits everywhere. Square roots are the
// processor's and correctly rounded. exp_f32 is ours (ops.h). No other file knows where they come
// from.
#pragma once

#include "third_party/musl/port/bf_math.h"

namespace bareflow::compute {

// IEEE square roots: one instruction, no errno.
inline float sqrt_f32(float x) {
    return __builtin_elementwise_sqrt(x);
}
inline double sqrt_f64(double x) {
    return __builtin_elementwise_sqrt(x);
}

}  // namespace bareflow::compute
