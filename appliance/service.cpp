#include "appliance/service.h"

#include <algorithm>

namespace bareflow {
namespace {

constexpr uint64_t kKeepAliveMs = 5;
// Connections beside those that wait for a text: /health, /profile, newcomers. net/ has
// kMaxConnections streams.
constexpr uint32_t kOtherConnections = 20;
constexpr uint32_t kMinConnections = 32;
constexpr uint32_t kMaxConnections = 48;

}  // namespace

Status Service::start_without_network() {
    BF_ASSIGN(api_, api::CompletionApi::create({.slots = parts_.settings.slots,
                                                .queue = parts_.settings.queue,
                                                .max_tokens = parts_.settings.max_tokens}));
    api_->set_observer(&observer_);
    return {};
}

Status Service::start_http(StreamSource &streams) {
    BF_TRY(start_without_network());
    BF_TRY(routes_.open(*api_));
    const uint32_t wanted = parts_.settings.slots + parts_.settings.queue + kOtherConnections;
    const uint32_t connections = std::clamp(wanted, kMinConnections, kMaxConnections);
    BF_ASSIGN(server_,
              http::Server::create(streams, routes_.router(), {.connections = connections}));
    return {};
}

bool Service::poll() {
    bool more = parts_.surroundings.poll_network();
    if (server_ != nullptr) {
        more |= server_->poll();
    }
    if (api_ != nullptr) {
        more |= api_->poll();
    }
    return more;
}

void Service::keep_alive() {
    const uint64_t now = platform::ticks();
    if (now - kept_alive_ticks_ >= ms_to_ticks(kKeepAliveMs)) {
        (void)poll();
        kept_alive_ticks_ = platform::ticks();
    }
}

uint64_t Service::deadline() const {
    const uint64_t network = parts_.surroundings.network_deadline();
    return server_ != nullptr ? std::min(network, server_->next_deadline()) : network;
}

}  // namespace bareflow
