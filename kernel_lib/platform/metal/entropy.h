// Where unpredictable bytes come from on bare metal.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace bareflow {

// A device that fills a buffer with random bytes and says how many it gave (virtio-rng); called by
// platform::fill_entropy where the processor has no RDRAND. nullptr takes it away.
using EntropyDevice = size_t (*)(std::span<uint8_t> out);
void set_entropy_device(EntropyDevice device, std::string_view name);

}  // namespace bareflow
