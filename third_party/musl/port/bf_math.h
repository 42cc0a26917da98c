/* Mathematics from musl under names of our own, the same on bare metal and hosted.
 *
 * Purpose: double functions whose result depends on nothing but the argument: not on the C library
 * of the host, the processor or the optimisation level (plain IEEE double, no contraction). Used
 * for RoPE's table; the engine's other functions are its own (docs/decisions/0001). Callers:
 * anyone; C and C++. Accuracy: below 1 ulp. Errors: IEEE (NaN, infinities); errno and the
 * floating-point exception flags are not part of the contract. */
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

// |x| < 2^20 * pi / 2, infinite or NaN; others end the program.
double bf_sin(double x);
double bf_cos(double x);

#ifdef __cplusplus
}
#endif
