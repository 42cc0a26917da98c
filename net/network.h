// The network as the rest of the program sees it: an address, and listening ports that give byte
// streams. Joins one NetDevice to lwIP. Only this folder knows lwIP.
//
// Boot processor only; poll() does all the work. There can be one Network (lwIP's state is global).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "drivers/net/net_device.h"
#include "kernel_lib/base/byte_stream.h"
#include "kernel_lib/base/result.h"

namespace bareflow {

struct Ipv4 {
    uint8_t octets[4] = {0, 0, 0, 0};
    bool operator==(const Ipv4 &) const = default;
    [[nodiscard]] bool empty() const { return *this == Ipv4{}; }
};

struct NetworkConfig {
    // If set, the address is static from the start. If not set, DHCP is asked; after
    // `dhcp_timeout_ms` the fallback below is used.
    Ipv4 address;
    uint8_t prefix_len = 24;
    Ipv4 gateway;
    uint32_t dhcp_timeout_ms = 4000;
    // The addresses that QEMU's user network gives.
    Ipv4 fallback_address{{10, 0, 2, 15}};
    Ipv4 fallback_gateway{{10, 0, 2, 2}};
};

// The most streams of one port at a time, including those not yet accepted. More than the HTTP
// server has connections: a new client must reach the server, which then drops an idle one for it.
inline constexpr size_t kMaxStreams = 48;

enum class AddressSource : uint8_t { kNone, kDhcp, kStatic, kFallback };

struct StreamCounters {
    uint64_t accepted = 0;
    uint64_t refused = 0;      // all streams were in use
    uint64_t open = 0;         // now
    uint64_t frames_lost = 0;  // received, but lwIP had no buffer
};

class Network {
  public:
    [[nodiscard]] static Result<Network *> create(NetDevice &device, const NetworkConfig &config);

    // Takes frames from the device and runs lwIP's timers. To be called whenever the processor
    // wakes up, and between slices of work. True if there were frames.
    bool poll();
    // The longest time until poll() must be called for its timers, if no interrupt comes.
    [[nodiscard]] uint32_t ms_until_timer() const;

    [[nodiscard]] AddressSource address_source() const;
    [[nodiscard]] Ipv4 address() const;
    [[nodiscard]] bool link_up() const;

    // The source of the streams that peers open to `port`. kExhausted: too many ports.
    [[nodiscard]] Result<StreamSource *> listen(uint16_t port);
    [[nodiscard]] StreamCounters stream_counters() const;

  private:
    constexpr Network() = default;
};

}  // namespace bareflow
