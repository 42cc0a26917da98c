// Scalar mathematics of the engine. Doubles come from musl (the same code on bare metal and hosted,
// so that RoPE's tables have the same bits everywhere); square roots are the processor's, correctly
// rounded; exp_f32 is ours (ops.h). This header is the only place that says where they come from.
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
