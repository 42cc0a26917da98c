/* Mathematics from musl under names of our own, the same on bare metal and hosted.
 *
 * Purpose: double functions whose result depends on nothing but the argument: not on the C library
 * of the host, the processor or the optimisation level (plain IEEE double, no contraction). Used
 * for tables made once (RoPE frequencies) and for text <-> number; the engine's hot float functions
 * are its own (docs/decisions/0001). Callers: anyone; C and C++. Accuracy: below 1 ulp. Errors:
 * IEEE (NaN, infinities); errno and the floating-point exception flags are not part of the
 * contract. */
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

double bf_exp(double x);
double bf_log(double x);
double bf_pow(double x, double y);
double bf_sin(double x);
double bf_cos(double x);
double bf_floor(double x);
double bf_scalbn(double x, int exponent);

#ifdef __cplusplus
}
#endif
