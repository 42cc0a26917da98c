// Joins one network card to lwIP. lwIP has one global state, and so has this file. What must hold:
// everything runs on the boot processor, inside poll() or a call of the HTTP server; lwIP is never
// entered from an interrupt.
#include "net/network.h"

#include <algorithm>
#include <array>

#include "lwip/dhcp.h"
#include "lwip/etharp.h"
#include "lwip/init.h"
#include "lwip/netif.h"
#include "lwip/sys.h"
#include "lwip/timeouts.h"
#include "net/tcp_listener.h"
#include "netif/ethernet.h"

namespace bareflow {
namespace {

constexpr int kMaxFramesPerPoll = 64;  // then timers and the rest of the loop run
constexpr uint32_t kLinkCheckMs = 200;
constexpr size_t kMaxListeners = 2;

// One for the program, as lwIP.
struct NetworkState {
    NetDevice *device = nullptr;
    NetworkConfig config;
    netif interface{};
    AddressSource source = AddressSource::kNone;
    bool dhcp_running = false;
    uint32_t dhcp_started_ms = 0;
    uint32_t link_checked_ms = 0;
    uint64_t frames_lost = 0;
    std::array<uint8_t, kMaxFrameBytes> frame{};
    std::array<TcpListener, kMaxListeners> listeners;
    size_t listener_count = 0;
};
constinit NetworkState state;

ip4_addr_t to_lwip(const Ipv4 &address) {
    ip4_addr_t result;
    IP4_ADDR(&result, address.octets[0], address.octets[1], address.octets[2], address.octets[3]);
    return result;
}

// netif_linkoutput_fn. A full ring is reported as ERR_MEM: TCP sends the frame again.
err_t send_frame(netif *interface, pbuf *chain) {
    if (chain->tot_len > kMaxFrameBytes) {
        return ERR_BUF;
    }
    std::array<uint8_t, kMaxFrameBytes> frame;
    pbuf_copy_partial(chain, frame.data(), chain->tot_len, 0);
    return state.device->transmit({frame.data(), chain->tot_len}) ? ERR_OK : ERR_MEM;
}

err_t init_interface(netif *interface) {
    interface->name[0] = 'e';
    interface->name[1] = 'n';
    interface->hostname = "bareflow";
    interface->mtu = 1500;
    interface->hwaddr_len = 6;
    const MacAddress mac = state.device->mac();
    std::copy(mac.bytes.begin(), mac.bytes.end(), interface->hwaddr);
    interface->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET;
    interface->output = etharp_output;
    interface->linkoutput = send_frame;
    return ERR_OK;
}

void set_static(const Ipv4 &address, uint8_t prefix_len, const Ipv4 &gateway,
                AddressSource source) {
    const ip4_addr_t ip = to_lwip(address);
    const ip4_addr_t router = to_lwip(gateway);
    ip4_addr_t mask;
    mask.addr = lwip_htonl(prefix_len == 0 ? 0 : ~uint32_t{0} << (32 - prefix_len));
    netif_set_addr(&state.interface, &ip, &mask, &router);
    state.source = source;
}

bool receive_frames() {
    int frames = 0;
    for (; frames < kMaxFramesPerPoll; frames++) {
        const size_t len = state.device->receive(state.frame);
        if (len == 0) {
            break;
        }
        pbuf *const packet = pbuf_alloc(PBUF_RAW, static_cast<u16_t>(len), PBUF_POOL);
        if (packet == nullptr) {
            state.frames_lost++;
            continue;  // the sender will try again
        }
        pbuf_take(packet, state.frame.data(), static_cast<u16_t>(len));
        if (state.interface.input(packet, &state.interface) != ERR_OK) {
            pbuf_free(packet);
        }
    }
    return frames > 0;
}

void follow_link(uint32_t now_ms) {
    if (now_ms - state.link_checked_ms < kLinkCheckMs) {
        return;
    }
    state.link_checked_ms = now_ms;
    const bool up = state.device->link_up();
    if (up && !netif_is_link_up(&state.interface)) {
        netif_set_link_up(&state.interface);  // lwIP then restarts DHCP
    } else if (!up && netif_is_link_up(&state.interface)) {
        netif_set_link_down(&state.interface);
    }
}

void follow_dhcp(uint32_t now_ms) {
    if (!state.dhcp_running) {
        return;
    }
    if (dhcp_supplied_address(&state.interface)) {
        state.source = AddressSource::kDhcp;
    } else if (state.source == AddressSource::kNone &&
               now_ms - state.dhcp_started_ms >= state.config.dhcp_timeout_ms) {
        dhcp_stop(&state.interface);
        state.dhcp_running = false;
        set_static(state.config.fallback_address, 24, state.config.fallback_gateway,
                   AddressSource::kFallback);
    }
}

}  // namespace

Result<Network *> Network::create(NetDevice &device, const NetworkConfig &config) {
    static constinit Network network;
    if (state.device != nullptr) {
        return Error{ErrorCode::kExhausted, "there is a network already"};
    }
    state.device = &device;
    state.config = config;
    lwip_init();
    if (netif_add_noaddr(&state.interface, nullptr, init_interface, ethernet_input) == nullptr) {
        return Error{ErrorCode::kDevice, "lwIP refused the interface"};
    }
    netif_set_default(&state.interface);
    netif_set_up(&state.interface);
    state.link_checked_ms = sys_now();
    if (device.link_up()) {
        netif_set_link_up(&state.interface);
    }
    if (!config.address.empty()) {
        set_static(config.address, config.prefix_len, config.gateway, AddressSource::kStatic);
    } else if (dhcp_start(&state.interface) == ERR_OK) {
        state.dhcp_running = true;
        state.dhcp_started_ms = sys_now();
    } else {
        return Error{ErrorCode::kExhausted, "no memory for DHCP"};
    }
    return &network;
}

bool Network::poll() {
    const bool worked = receive_frames();
    const uint32_t now_ms = sys_now();
    follow_link(now_ms);
    sys_check_timeouts();
    follow_dhcp(now_ms);
    return worked;
}

uint32_t Network::ms_until_timer() const {
    return std::min<uint32_t>(sys_timeouts_sleeptime(), kLinkCheckMs);
}

AddressSource Network::address_source() const {
    return state.source;
}

Ipv4 Network::address() const {
    const ip4_addr_t *const ip = netif_ip4_addr(&state.interface);
    return {{ip4_addr1(ip), ip4_addr2(ip), ip4_addr3(ip), ip4_addr4(ip)}};
}

bool Network::link_up() const {
    return netif_is_link_up(&state.interface) != 0;
}

Result<StreamSource *> Network::listen(uint16_t port) {
    if (state.listener_count == kMaxListeners) {
        return Error{ErrorCode::kExhausted, "too many listening ports"};
    }
    TcpListener &listener = state.listeners[state.listener_count];
    BF_TRY(listener.open(port));
    state.listener_count++;
    return static_cast<StreamSource *>(&listener);
}

StreamCounters Network::stream_counters() const {
    StreamCounters sum;
    sum.frames_lost = state.frames_lost;
    for (size_t i = 0; i < state.listener_count; i++) {
        const StreamCounters one = state.listeners[i].counters();
        sum.accepted += one.accepted;
        sum.refused += one.refused;
        sum.open += one.open;
    }
    return sum;
}

}  // namespace bareflow
