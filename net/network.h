// The network as the rest of the program sees it: an address, and listening ports that yield byte
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
    // Set: static from the start. Not set: DHCP, and the fallback below after `dhcp_timeout_ms`.
    Ipv4 address;
    uint8_t prefix_len = 24;
    Ipv4 gateway;
    uint32_t dhcp_timeout_ms = 4000;
    // What QEMU's user network would have given.
    Ipv4 fallback_address{{10, 0, 2, 15}};
    Ipv4 fallback_gateway{{10, 0, 2, 2}};
};

// Streams there can be at once on one port, those not yet accepted included. More than the HTTP
// server has connections: a newcomer must get as far as the server, which then drops an idle client
// for it.
inline constexpr size_t kMaxStreams = 48;

enum class AddressSource : uint8_t { kNone, kDhcp, kStatic, kFallback };

struct StreamCounters {
    uint64_t accepted = 0;
    uint64_t refused = 0;      // all streams in use
    uint64_t open = 0;         // now
    uint64_t frames_lost = 0;  // received, but lwIP had no buffer
};

class Network {
  public:
    [[nodiscard]] static Result<Network *> create(NetDevice &device, const NetworkConfig &config);

    // Takes frames from the device, runs lwIP's timers. Call whenever the processor wakes up, and
    // between slices of work. True when it did anything.
    bool poll();
    // How long poll() may wait for its timers, if no interrupt comes.
    [[nodiscard]] uint32_t ms_until_timer() const;

    [[nodiscard]] AddressSource address_source() const;
    [[nodiscard]] Ipv4 address() const;
    [[nodiscard]] bool link_up() const;

    // Streams that peers open to `port`. kExhausted: too many ports.
    [[nodiscard]] Result<StreamSource *> listen(uint16_t port);
    [[nodiscard]] StreamCounters stream_counters() const;

  private:
    constexpr Network() = default;
};

}  // namespace bareflow
