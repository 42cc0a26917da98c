// The functions that lwIP asks its platform for (third_party/lwip/port).
#include <array>
#include <cstring>

#include "kernel_lib/platform/platform.h"
#include "kernel_lib/platform/ticks.h"
#include "lwip/init.h"
#include "lwip/sys.h"
#include "lwip_hooks.h"
#include "net/siphash.h"

namespace {

using bareflow::SipKey;

// One secret for each boot, so that sequence numbers and ports cannot be guessed from outside.
const SipKey &boot_secret() {
    static constinit SipKey secret{};
    static constinit bool drawn = false;
    if (!drawn) {
        bareflow::platform::fill_entropy(
            {reinterpret_cast<uint8_t *>(secret.data()), sizeof(secret)});
        drawn = true;
    }
    return secret;
}

uint64_t microseconds() {
    return bareflow::ticks_to_us(bareflow::platform::ticks());
}

}  // namespace

extern "C" {

u32_t sys_now(void) {
    return static_cast<u32_t>(microseconds() / 1000);
}

void bareflow_lwip_assert(void) {
    bareflow::platform::panic("a check inside lwIP failed (see the backtrace)");
}

unsigned int bareflow_lwip_random(void) {
    static constinit uint64_t counter = 0;
    counter++;
    std::array<uint8_t, 8> message{};
    std::memcpy(message.data(), &counter, sizeof(counter));
    return static_cast<unsigned int>(bareflow::siphash24(boot_secret(), message));
}

// RFC 6528 section 3: ISN = M + F(local address, local port, remote address, remote port, secret),
// where M ticks every 4 microseconds.
u32_t bareflow_tcp_isn(const ip_addr_t *local_ip, u16_t local_port, const ip_addr_t *remote_ip,
                       u16_t remote_port) {
    std::array<uint8_t, 12> tuple{};
    const uint32_t local = ip4_addr_get_u32(ip_2_ip4(local_ip));
    const uint32_t remote = ip4_addr_get_u32(ip_2_ip4(remote_ip));
    std::memcpy(tuple.data(), &local, 4);
    std::memcpy(tuple.data() + 4, &remote, 4);
    std::memcpy(tuple.data() + 8, &local_port, 2);
    std::memcpy(tuple.data() + 10, &remote_port, 2);
    return static_cast<u32_t>(microseconds() / 4 + bareflow::siphash24(boot_secret(), tuple));
}
}
