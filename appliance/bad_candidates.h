// Candidates of a small kernel that go wrong in every way that a generated kernel can, to see that
// the optimiser survives each (setting `selftest=candidates`, and the unit tests).
#pragma once

#include "kernel_lib/cpu/worker_pool.h"

namespace bareflow {

// Registers them with an optimiser of its own and lets it work until it is done; then calls each
// once on one other processor of the pool, if there is one. One line in the log for each. Returns
// whether all ended as they should. Takes a few seconds: two never end.
[[nodiscard]] bool try_bad_candidates(WorkerPool &pool);

// Calls a generated kernel that faults, outside of any guard.
void crash_in_generated_code();

}  // namespace bareflow
