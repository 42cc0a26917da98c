// The appliance on bare metal.
#include "kernel_lib/cpu/timer.h"
#include "kernel_lib/io/log.h"
#include "kernel_lib/platform/metal/start.h"
#include "kernel_lib/platform/platform.h"

using namespace bareflow;

int appliance_main(const BootInfo &info) {
    log_stage("boot", info.source == BootSource::kPvh ? "PVH" : "disk", ", kernel entered after ",
              (info.tsc_at_kernel - info.tsc_at_entry) * 1000 / platform::ticks_per_second(),
              " ms, TSC ", platform::ticks_per_second() / 1'000'000, " MHz (", timer_source(), ")");
    log_stage("memory", Bytes{platform::total_memory_bytes()}, ", ",
              Bytes{platform::free_memory_bytes()}, " free");
    log_line("options: ", boot_command_line());
    log_line("ready");
    while (true) {
        platform::idle(platform::ticks() + platform::ticks_per_second());
    }
}
