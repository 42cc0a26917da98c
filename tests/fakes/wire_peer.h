// The other end of the cable: a NetDevice whose frames go to a small host written for tests, which
// answers ARP, serves DHCP, and opens TCP connections. It checks lengths, addresses and checksums
// of every frame that it receives.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "drivers/net/net_device.h"

namespace bareflow::testing {

using Frame = std::vector<uint8_t>;

class WireDevice final : public NetDevice {
  public:
    std::string_view name() const override { return "wire"; }
    MacAddress mac() const override { return {{0x52, 0x54, 0, 0x12, 0x34, 0x56}}; }
    bool link_up() override { return link; }
    Status transmit(std::span<const uint8_t> frame) override {
        if (full) {
            return {ErrorCode::kExhausted, "full"};
        }
        sent.emplace_back(frame.begin(), frame.end());
        return {};
    }
    size_t receive(std::span<uint8_t> frame) override {
        if (incoming.empty()) {
            return 0;
        }
        const Frame next = incoming.front();
        incoming.pop_front();
        std::copy(next.begin(), next.end(), frame.begin());
        return next.size();
    }
    int irq() const override { return -1; }
    bool on_interrupt() override { return false; }
    NetCounters counters() const override { return {}; }

    bool link = true;
    bool full = false;
    std::deque<Frame> sent;      // by the appliance
    std::deque<Frame> incoming;  // to the appliance
};

struct TcpSegment {
    uint16_t source_port = 0;
    uint16_t destination_port = 0;
    uint32_t sequence = 0;
    uint32_t acknowledgement = 0;
    uint8_t flags = 0;
    uint16_t window = 0;
    std::string payload;
};
inline constexpr uint8_t kFin = 1, kSyn = 2, kRst = 4, kPsh = 8, kAck = 16;

class WirePeer {
  public:
    explicit WirePeer(WireDevice &device) : device_(device) {}

    bool serve_dhcp = false;
    uint32_t appliance_ip = 0x0A00020F;  // 10.0.2.15, host order
    int discovers = 0;
    int arp_requests_for_address_check = 0;
    std::vector<std::string> faults;  // what was wrong with the appliance's frames

    // Takes the frames that the appliance sent. Answers ARP and DHCP; keeps TCP and ICMP for the
    // test.
    void pump();
    void send_arp_request();
    void send_ping(std::string_view payload);
    void send_tcp(const TcpSegment &segment);
    void send_raw(const Frame &frame) { device_.incoming.push_back(frame); }

    std::deque<TcpSegment> segments;
    std::deque<std::string> pongs;
    int arp_replies = 0;

  private:
    void take(const Frame &frame);
    void take_udp(std::span<const uint8_t> ip_payload);
    void take_tcp(std::span<const uint8_t> ip, std::span<const uint8_t> ip_payload);
    void send_ip(uint8_t protocol, uint32_t destination, std::span<const uint8_t> payload,
                 bool broadcast = false);
    WireDevice &device_;
};

}  // namespace bareflow::testing
