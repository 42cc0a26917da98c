#include "http/server.h"

#include <algorithm>
#include <new>

#include "kernel_lib/memory/buffer.h"
#include "kernel_lib/platform/platform.h"
#include "kernel_lib/platform/ticks.h"

namespace bareflow::http {

namespace {
// A request that is arriving, or about to, is left alone for this long even when slots are short.
constexpr uint64_t kGraceMs = 2000;
}  // namespace

Result<Server *> Server::create(StreamSource &source, Handler &handler,
                                const ServerConfig &config) {
    if (config.connections == 0 || config.connections > 1024) {
        return Error{ErrorCode::kInvalid, "the number of connections is not 1 to 1024"};
    }
    void *memory = heap_allocate(sizeof(Server), alignof(Server));
    void *slots = heap_allocate(config.connections * sizeof(Connection), alignof(Connection));
    if (memory == nullptr || slots == nullptr) {
        heap_release(memory);
        heap_release(slots);
        return Error{ErrorCode::kTooLarge, "no memory for the HTTP server"};
    }
    auto *connections = static_cast<Connection *>(slots);
    auto *server = new (memory) Server(source, {connections, config.connections});
    server->shared_.handler = &handler;
    server->shared_.timeouts = config.timeouts;
    server->shared_.budget.total_bytes = config.body_total_bytes;
    for (uint32_t i = 0; i < config.connections; ++i) {
        new (connections + i) Connection(server->shared_);
    }
    return server;
}

void Server::destroy() {
    for (Connection &connection : connections_) {
        if (connection.is_open()) {
            connection.drop();
        }
        connection.~Connection();
    }
    heap_release(connections_.data());
    this->~Server();
    heap_release(this);
}

Connection *Server::free_slot() {
    for (Connection &connection : connections_) {
        if (!connection.is_open()) {
            return &connection;
        }
    }
    return nullptr;
}

// Drops a connection that can be spared; nullptr when every one is at work.
Connection *Server::make_room(uint64_t now) {
    Connection *spare = nullptr;
    const uint64_t grace = ms_to_ticks(kGraceMs);
    for (Connection &connection : connections_) {
        if (!connection.is_reading() || (!(connection.is_idle() && connection.has_served()) &&
                                         now - connection.since_ticks() < grace)) {
            continue;
        }
        const bool better = spare == nullptr || connection.is_idle() > spare->is_idle() ||
                            (connection.is_idle() == spare->is_idle() &&
                             connection.since_ticks() < spare->since_ticks());
        if (better) {
            spare = &connection;
        }
    }
    return spare;
}

bool Server::poll() {
    return poll_at(platform::ticks());
}

bool Server::poll_at(uint64_t now) {
    bool more = false;
    for (Connection &connection : connections_) {
        if (connection.is_open()) {
            more = connection.poll(now) || more;
        }
    }
    // After the others, so that a slot that has just become free is used before one is taken away.
    for (size_t accepted = 0; accepted < connections_.size(); ++accepted) {
        Connection *slot = free_slot();
        Connection *spare = slot == nullptr ? make_room(now) : nullptr;
        if (slot == nullptr && spare == nullptr) {
            break;
        }
        ByteStream *stream = source_.accept();
        if (stream == nullptr) {
            break;
        }
        if (slot == nullptr) {
            spare->drop();
            ++shared_.counters.evictions;
            slot = spare;
        }
        slot->open(*stream, now);
        more = slot->poll(now) || more;
    }
    return more;
}

uint64_t Server::next_deadline() const {
    uint64_t earliest = Connection::kNever;
    for (const Connection &connection : connections_) {
        earliest = std::min(earliest, connection.deadline());
    }
    return earliest;
}

size_t Server::memory_bytes() const {
    return sizeof(Server) + connections_.size() * sizeof(Connection) + shared_.budget.used_bytes;
}

}  // namespace bareflow::http
