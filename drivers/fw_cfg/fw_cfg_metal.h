// The settings that QEMU was given for this guest (bare metal only).
#pragma once

#include <span>
#include <string_view>

#include "kernel_lib/base/result.h"

namespace bareflow {

// The text of QEMU's -fw_cfg name=opt/bareflow/options,string="...", in `buffer` (4 KiB are
// enough). kNotFound: no such text.
[[nodiscard]] Result<std::string_view> read_host_options(std::span<char> buffer);

}  // namespace bareflow
