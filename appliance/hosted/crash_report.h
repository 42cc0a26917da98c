// The report of the hosted program when it crashes: the one that bare metal writes, with the names
// of generated kernels ("q4_k_gemv 2048x5632 jit r4 u2 + 0x1c"), on standard error. Then the signal
// ends the process as it would have without the report.
#pragma once

namespace bareflow {

// Installs the handlers for the rest of the program, and gives the calling thread a signal stack.
// Other threads report if they have one. Call it before the first guarded call: guarded calls pass
// a fault that is not a candidate's to the handler that was there before them.
void report_crashes();

}  // namespace bareflow
