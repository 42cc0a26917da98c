// The processors beside the boot processor (bare metal only): found in ACPI's list, started by INIT
// and SIPI with their own stacks and tables and the boot processor's control registers, and put
// to work in worker_pool(). start_workers() of cpu/worker_pool.h does it.
//
// They compute, and halt with interrupts on in between; no device interrupts them.
#pragma once

#include <cstdint>

namespace bareflow {

// Those that run, the boot processor included.
[[nodiscard]] uint32_t running_processors();

}  // namespace bareflow
