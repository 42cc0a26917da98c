// What the hosted program says when it crashes: the report that bare metal writes, with the names
// of generated kernels ("q4_k_gemv 2048x5632 jit r4 u2 + 0x1c"), on standard error. Then it dies of
// the signal as it would have.
#pragma once

namespace bareflow {

// For the rest of the program, on every thread that has a signal stack, and on the caller's, which
// gets one. Before the first guarded call: that hands on what is nobody's candidate's.
void report_crashes();

}  // namespace bareflow
