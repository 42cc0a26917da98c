// Candidates of a small kernel that go wrong in every way in which a generated kernel can. They
// show that the optimiser survives each of them (setting `selftest=candidates`, and the unit
// tests).
#pragma once

#include "kernel_lib/cpu/worker_pool.h"

namespace bareflow {

// Registers the candidates with an optimiser of their own and lets it work until it is done. Then
// calls each once on another processor of the pool, if there is one. Logs one line for each call.
// Returns whether all ended as they should. Takes a few seconds, because two of them never end.
[[nodiscard]] bool try_bad_candidates(WorkerPool &pool);

// Calls a generated kernel that faults, without a guarded call around it.
void crash_in_generated_code();

}  // namespace bareflow
