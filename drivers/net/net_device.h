// A network card as the rest of the program sees it: whole Ethernet frames (no FCS) in and out.
// Called from the boot processor's loop only, except on_interrupt().
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernel_lib/base/result.h"

namespace bareflow {

inline constexpr size_t kMaxFrameBytes = 1514;  // IEEE 802.3: 14 header + 1500 payload

struct MacAddress {
    std::array<uint8_t, 6> bytes{};
    bool operator==(const MacAddress &) const = default;
};

struct NetCounters {
    uint64_t rx_frames = 0;
    uint64_t rx_bytes = 0;
    uint64_t rx_dropped = 0;  // bad length, error bits, longer than kMaxFrameBytes
    uint64_t tx_frames = 0;
    uint64_t tx_bytes = 0;
    uint64_t tx_dropped = 0;  // ring full
    uint64_t interrupts = 0;
    uint64_t link_changes = 0;
};

class NetDevice {
  public:
    [[nodiscard]] virtual std::string_view name() const = 0;  // "e1000", "virtio-net"
    [[nodiscard]] virtual MacAddress mac() const = 0;
    [[nodiscard]] virtual bool link_up() = 0;

    // Queues one frame, copied out of `frame` before the call returns.
    // kExhausted: the ring is full now; kInvalid: empty or longer than kMaxFrameBytes.
    [[nodiscard]] virtual Status transmit(std::span<const uint8_t> frame) = 0;
    // Copies the next received frame into `frame` (at least kMaxFrameBytes long) and returns its
    // length; 0 when there is none. Looks at the ring, so it works with interrupts lost or masked.
    [[nodiscard]] virtual size_t receive(std::span<uint8_t> frame) = 0;

    // The legacy interrupt line (0-15), or -1: poll only.
    [[nodiscard]] virtual int irq() const = 0;
    // Acknowledges the interrupt and returns at once. Called in interrupt context. True if the
    // interrupt was this device's (lines are shared).
    virtual bool on_interrupt() = 0;

    [[nodiscard]] virtual NetCounters counters() const = 0;

  protected:
    ~NetDevice() = default;  // owned by the code that created the driver
};

}  // namespace bareflow
