#include "drivers/fw_cfg/fw_cfg_metal.h"

#include <algorithm>

#include "drivers/fw_cfg/fw_cfg.h"
#include "kernel_lib/io/port.h"

namespace bareflow {

Result<std::string_view> read_host_options(std::span<char> buffer) {
    FwCfg<PortIo> host{PortIo{}};
    const std::span bytes(reinterpret_cast<uint8_t *>(buffer.data()),
                          std::min(buffer.size(), fw_cfg::kMaxOptionsBytes));
    BF_ASSIGN(const size_t len, host.read_file(fw_cfg::kOptionsFile, bytes));
    return std::string_view(buffer.data(), len);
}

}  // namespace bareflow
