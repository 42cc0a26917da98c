// Polls the connections and decides which client gets one. A client that sends nothing must not
// keep others out. A client that is just about to send must not be dropped for a newer one. Hence
// the order in make_room().
#include "http/server.h"

#include <algorithm>
#include <new>

#include "kernel_lib/memory/buffer.h"
#include "kernel_lib/platform/platform.h"
#include "kernel_lib/platform/ticks.h"

namespace bareflow::http {

namespace {
// A request that is arriving, or about to, is left alone for this long even when no connection is
// free.
constexpr uint64_t kGraceMs = 2000;
}  // namespace

Result<Server *> Server::create(StreamSource &source, Handler &handler,
                                const ServerConfig &config) {
    if (config.connections == 0 || config.connections > 1024) {
        return Error{ErrorCode::kInvalid, "the number of connections is not 1 to 1024"};
    }
    void *memory = heap_allocate(sizeof(Server), alignof(Server));
    void *places = heap_allocate(config.connections * sizeof(Connection), alignof(Connection));
    if (memory == nullptr || places == nullptr) {
        heap_release(memory);
        heap_release(places);
        return Error{ErrorCode::kTooLarge, "no memory for the HTTP server"};
    }
    auto *connections = static_cast<Connection *>(places);
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

Connection *Server::free_connection() {
    for (Connection &connection : connections_) {
        if (!connection.is_open()) {
            return &connection;
        }
    }
    return nullptr;
}

// The connection to drop for a new client; nullptr when all of them are working.
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
    // After the others, so that a connection that has just become free is used before one is
    // dropped.
    for (size_t accepted = 0; accepted < connections_.size(); ++accepted) {
        Connection *place = free_connection();
        Connection *spare = place == nullptr ? make_room(now) : nullptr;
        if (place == nullptr && spare == nullptr) {
            break;
        }
        ByteStream *stream = source_.accept();
        if (stream == nullptr) {
            break;
        }
        if (place == nullptr) {
            spare->drop();
            ++shared_.counters.evictions;
            place = spare;
        }
        place->open(*stream, now);
        more = place->poll(now) || more;
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
