// Ethernet, ARP, IPv4, ICMP, UDP, DHCP and TCP by hand, as far as the tests need them. It must not
// use lwIP, which it judges.
#include "tests/fakes/wire_peer.h"

#include <algorithm>

namespace bareflow::testing {
namespace {

constexpr uint32_t kPeerIp = 0x0A000202;  // 10.0.2.2
const Frame kPeerMac{0x52, 0x55, 0x0a, 0, 2, 2};
constexpr size_t kEthernet = 14, kIp = 20;

uint16_t get16(std::span<const uint8_t> b, size_t at) {
    return static_cast<uint16_t>(b[at] << 8 | b[at + 1]);
}
uint32_t get32(std::span<const uint8_t> b, size_t at) {
    return uint32_t{get16(b, at)} << 16 | get16(b, at + 2);
}
void put16(Frame &b, size_t value) {
    b.push_back(static_cast<uint8_t>(value >> 8));
    b.push_back(static_cast<uint8_t>(value));
}
void put32(Frame &b, uint32_t value) {
    put16(b, value >> 16);
    put16(b, value & 0xffff);
}
void set16(Frame &b, size_t at, uint16_t value) {
    b[at] = static_cast<uint8_t>(value >> 8);
    b[at + 1] = static_cast<uint8_t>(value);
}
void append(Frame &b, std::span<const uint8_t> more) {
    b.insert(b.end(), more.begin(), more.end());
}

uint16_t checksum(std::span<const uint8_t> bytes, uint32_t sum = 0) {
    for (size_t i = 0; i < bytes.size(); i += 2) {
        sum += uint32_t{bytes[i]} << 8 | (i + 1 < bytes.size() ? bytes[i + 1] : 0);
    }
    while (sum >> 16 != 0) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return static_cast<uint16_t>(~sum);
}
uint32_t pseudo_header(uint32_t a, uint32_t b, uint8_t protocol, size_t len) {
    return (a >> 16) + (a & 0xffff) + (b >> 16) + (b & 0xffff) + protocol +
           static_cast<uint32_t>(len);
}

}  // namespace

void WirePeer::pump() {
    while (!device_.sent.empty()) {
        const Frame frame = device_.sent.front();
        device_.sent.pop_front();
        take(frame);
    }
}

void WirePeer::take(const Frame &frame) {
    if (frame.size() < kEthernet || frame.size() > kMaxFrameBytes) {
        faults.push_back("frame of " + std::to_string(frame.size()) + " bytes");
        return;
    }
    const auto payload = std::span(frame).subspan(kEthernet);
    const uint16_t type = get16(frame, 12);
    if (type == 0x0806 && payload.size() >= 28) {
        const uint32_t sender = get32(payload, 14);
        const uint32_t target = get32(payload, 24);
        if (get16(payload, 6) == 2) {
            arp_replies++;
        } else if (sender == 0) {
            arp_requests_for_address_check++;
        } else if (target == kPeerIp) {
            Frame reply(frame.begin() + 6, frame.begin() + 12);
            append(reply, kPeerMac);
            put16(reply, 0x0806);
            append(reply, Frame{0, 1, 8, 0, 6, 4, 0, 2});
            append(reply, kPeerMac);
            put32(reply, kPeerIp);
            append(reply, payload.subspan(8, 10));
            device_.incoming.push_back(reply);
        }
        return;
    }
    if (type != 0x0800 || payload.size() < kIp) {
        faults.push_back("neither ARP nor IPv4");
        return;
    }
    const size_t total = get16(payload, 2);
    if (payload[0] != 0x45 || total > payload.size() || checksum(payload.first(kIp)) != 0) {
        faults.push_back("bad IPv4 header");
        return;
    }
    const auto ip = payload.first(total);
    const auto body = ip.subspan(kIp);
    switch (ip[9]) {
        case 1:
            if (checksum(body) != 0) {
                faults.push_back("bad ICMP checksum");
            } else if (body[0] == 0) {
                pongs.emplace_back(body.begin() + 8, body.end());
            }
            return;
        case 6:
            take_tcp(ip, body);
            return;
        case 17:
            take_udp(body);
            return;
        default:
            faults.push_back("protocol " + std::to_string(ip[9]));
    }
}

void WirePeer::take_tcp(std::span<const uint8_t> ip, std::span<const uint8_t> body) {
    if (checksum(body, pseudo_header(get32(ip, 12), get32(ip, 16), 6, body.size())) != 0) {
        faults.push_back("bad TCP checksum");
        return;
    }
    const size_t header = size_t{body[12]} / 16 * 4;
    TcpSegment segment{get16(body, 0),
                       get16(body, 2),
                       get32(body, 4),
                       get32(body, 8),
                       body[13],
                       get16(body, 14),
                       {}};
    segment.payload.assign(body.begin() + static_cast<long>(header), body.end());
    segments.push_back(segment);
}

void WirePeer::take_udp(std::span<const uint8_t> body) {
    if (get16(body, 2) != 67 || body.size() < 8 + 240) {
        return;
    }
    const auto dhcp = body.subspan(8);
    uint8_t message = 0;
    for (size_t at = 240; at + 2 < dhcp.size() && dhcp[at] != 255;) {
        if (dhcp[at] == 53) {
            message = dhcp[at + 2];
        }
        at += dhcp[at] == 0 ? 1 : 2 + dhcp[at + 1];
    }
    discovers += message == 1;
    if (!serve_dhcp || (message != 1 && message != 3)) {
        return;
    }
    Frame reply{2, 1, 6, 0};
    append(reply, dhcp.subspan(4, 8));  // xid, secs, flags
    put32(reply, 0);
    put32(reply, appliance_ip);
    put32(reply, kPeerIp);
    put32(reply, 0);
    append(reply, dhcp.subspan(28, 16));
    reply.resize(236, 0);
    put32(reply, 0x63825363);
    append(reply, Frame{53, 1, static_cast<uint8_t>(message == 1 ? 2 : 5)});
    append(reply, Frame{54, 4, 10, 0, 2, 2, 1, 4, 255, 255, 255, 0, 3, 4, 10, 0, 2, 2});
    append(reply, Frame{51, 4, 0, 1, 0x51, 0x80, 255});
    Frame udp;
    put16(udp, 67);
    put16(udp, 68);
    put16(udp, 8 + reply.size());
    put16(udp, 0);
    append(udp, reply);
    send_ip(17, 0xffffffff, udp, true);
}

void WirePeer::send_ip(uint8_t protocol, uint32_t destination, std::span<const uint8_t> payload,
                       bool broadcast) {
    Frame frame;
    const MacAddress mac = device_.mac();
    append(frame, broadcast ? Frame(6, 0xff) : Frame(mac.bytes.begin(), mac.bytes.end()));
    append(frame, kPeerMac);
    put16(frame, 0x0800);
    Frame ip{0x45, 0};
    put16(ip, kIp + payload.size());
    append(ip, Frame{0, 1, 0, 0, 64, protocol, 0, 0});
    put32(ip, kPeerIp);
    put32(ip, destination);
    set16(ip, 10, checksum(ip));
    append(frame, ip);
    append(frame, payload);
    device_.incoming.push_back(frame);
}

void WirePeer::send_arp_request() {
    Frame frame(6, 0xff);
    append(frame, kPeerMac);
    put16(frame, 0x0806);
    append(frame, Frame{0, 1, 8, 0, 6, 4, 0, 1});
    append(frame, kPeerMac);
    put32(frame, kPeerIp);
    append(frame, Frame(6, 0));
    put32(frame, appliance_ip);
    device_.incoming.push_back(frame);
}

void WirePeer::send_ping(std::string_view payload) {
    Frame icmp{8, 0, 0, 0, 0, 7, 0, 1};
    icmp.insert(icmp.end(), payload.begin(), payload.end());
    set16(icmp, 2, checksum(icmp));
    send_ip(1, appliance_ip, icmp);
}

void WirePeer::send_tcp(const TcpSegment &segment) {
    Frame tcp;
    put16(tcp, segment.source_port);
    put16(tcp, segment.destination_port);
    put32(tcp, segment.sequence);
    put32(tcp, segment.acknowledgement);
    append(tcp, Frame{0x50, segment.flags});
    put16(tcp, segment.window);
    put32(tcp, 0);
    tcp.insert(tcp.end(), segment.payload.begin(), segment.payload.end());
    set16(tcp, 16, checksum(tcp, pseudo_header(kPeerIp, appliance_ip, 6, tcp.size())));
    send_ip(6, appliance_ip, tcp);
}

}  // namespace bareflow::testing
