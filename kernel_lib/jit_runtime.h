/* BareFlow runtime library: profiling and run-time optimisation, the public C interface.
 *
 * A *function* here is anything with a name that is worth measuring: an operation of the model with
 * its shape ("q8_0_gemv 352x128"), a request handler, a loop of the user's. Bracket it:
 *
 *     jit_profile_begin("my_loop");
 *     ...
 *     jit_profile_end("my_loop");
 *
 * Names are compared by content and keyed once; the text must stay valid for the life of the
 * program (a literal, or memory never freed). Pairs may nest and recurse: every pair counts as a
 * call, but of a name that is open several times only the outermost pair adds cycles, so that a
 * total is time that really passed. An end without its begin changes no counter and is counted in
 * jit_get_unbalanced_count(). One thread of control (the boot processor), no interrupt handlers.
 *
 * Optimisation levels: 0 portable reference, 1 rule of thumb for this processor, 2 fastest measured
 * candidate, 3 fused and retuned. A function without candidates stays at 0. A candidate is
 * installed only after its results equalled the reference bit for bit and it was measured to be
 * faster.
 */
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

void jit_profile_begin(const char *name);
void jit_profile_end(const char *name);

/* 0 for a name never seen. Calls are counted at their end. */
uint64_t jit_get_call_count(const char *name);
/* Total cycles (TSC ticks, callees included) divided by calls; 0 for a name never seen. */
uint64_t jit_get_avg_cycles(const char *name);
/* Ends that had no matching begin, begins that the end of a call around them found still open, and
 * begins beyond the nesting limit of 64. */
uint64_t jit_get_unbalanced_count(void);

/* Call counts at which a function is considered for level 1, 2 and 3. Returns 0, or -1 and changes
 * nothing unless 0 < warm <= hot <= very_hot. */
int jit_set_threshold(uint64_t warm, uint64_t hot, uint64_t very_hot);
/* The level in force now, 0 to 3; -1 for a name never seen. */
int jit_get_optimization_level(const char *name);
/* Considers every function that has passed a threshold since it was last considered; generates,
 * checks and times candidates, installs winners. Returns how many functions changed their level.
 * Takes up to a few tens of milliseconds; call it between units of work. */
int jit_optimize_hot_functions(void);

#ifdef __cplusplus
}
#endif
