// The HTTP server: a fixed number of connections over the streams of a StreamSource. poll() moves
// all bytes that can be moved and returns; it never waits. Memory: 8 KiB a connection, taken once,
// and request bodies up to a total.
//
// When all connections are in use, a new client gets the place of the one that has been idle
// longest, or else of the slowest sender. So nobody keeps a connection by doing nothing.
#pragma once

#include <cstdint>
#include <span>

#include "http/connection.h"
#include "kernel_lib/base/byte_stream.h"
#include "kernel_lib/base/result.h"

namespace bareflow::http {

struct ServerConfig {
    uint32_t connections = 32;
    size_t body_total_bytes = 4 * 1024 * 1024;
    ServerTimeouts timeouts = {};
};

class Server {
  public:
    // Both must outlive the server.
    [[nodiscard]] static Result<Server *> create(StreamSource &source, Handler &handler,
                                                 const ServerConfig &config);
    void destroy();  // drops all connections

    // True: more can be done at once; call again before idling.
    bool poll();
    // The same at a time that the caller names (as platform::ticks()), for tests.
    bool poll_at(uint64_t now);
    // platform::ticks() when poll() must be called though nothing arrived (a timeout), or
    // Connection::kNever.
    [[nodiscard]] uint64_t next_deadline() const;
    [[nodiscard]] const ServerCounters &counters() const { return shared_.counters; }
    [[nodiscard]] size_t memory_bytes() const;

  private:
    Server(StreamSource &source, std::span<Connection> connections)
        : source_(source), connections_(connections) {}
    ~Server() = default;
    [[nodiscard]] Connection *free_connection();
    [[nodiscard]] Connection *make_room(uint64_t now);

    StreamSource &source_;
    std::span<Connection> connections_;
    ConnectionShared shared_;
};

}  // namespace bareflow::http
