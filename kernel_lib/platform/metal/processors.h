// The processors beside the boot processor (bare metal only). They are found in ACPI's list and
// started by INIT and SIPI. Each has its own stack and tables and the boot processor's control
// registers. They work in worker_pool(). start_workers() of cpu/worker_pool.h does all this.
//
// They compute, and halt with interrupts on in between; no device interrupts them.
#pragma once

#include <cstdint>

namespace bareflow {

// Those that run, the boot processor included.
[[nodiscard]] uint32_t running_processors();

}  // namespace bareflow
