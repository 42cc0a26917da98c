// What the drivers of all network cards have in common: address, line, counters.
#pragma once

#include <algorithm>

#include "drivers/net/net_device.h"

namespace bareflow {

class NetCard : public NetDevice {
  public:
    [[nodiscard]] MacAddress mac() const final { return mac_; }
    [[nodiscard]] int irq() const final { return irq_; }
    [[nodiscard]] NetCounters counters() const final {
        NetCounters now = counters_;
        now.interrupts = interrupts_;
        return now;
    }
    [[nodiscard]] bool link_up() final {
        const bool up = read_link();
        if (up != link_was_up_) {
            link_was_up_ = up;
            ++counters_.link_changes;
        }
        return up;
    }

  protected:
    explicit NetCard(int irq) : irq_(irq) {}
    ~NetCard() = default;

    [[nodiscard]] virtual bool read_link() = 0;

    // The address of one station: not all zeroes, and not a group's. All ones is a group's, too.
    [[nodiscard]] static bool usable(const MacAddress &mac) {
        return (mac.bytes[0] & 1) == 0 &&
               std::any_of(mac.bytes.begin(), mac.bytes.end(), [](uint8_t b) { return b != 0; });
    }
    [[nodiscard]] static Status check_length(std::span<const uint8_t> frame) {
        if (frame.empty() || frame.size() > kMaxFrameBytes) {
            return Error{ErrorCode::kInvalid, "network frame of a wrong length"};
        }
        return {};
    }
    [[nodiscard]] Status ring_is_full() {
        ++counters_.tx_dropped;
        return Error{ErrorCode::kExhausted, "transmit ring is full"};
    }
    void count_sent(size_t len_bytes) {
        ++counters_.tx_frames;
        counters_.tx_bytes += len_bytes;
    }
    void count_received(size_t len_bytes) {
        ++counters_.rx_frames;
        counters_.rx_bytes += len_bytes;
    }

    int irq_;
    MacAddress mac_;
    NetCounters counters_;
    volatile uint64_t interrupts_ = 0;  // written in interrupt context only
    bool link_was_up_ = false;
};

}  // namespace bareflow
