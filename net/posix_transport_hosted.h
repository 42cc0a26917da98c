// ByteStreams over non-blocking POSIX sockets. They carry the HTTP server in the hosted program, in
// place of lwIP.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernel_lib/base/byte_stream.h"
#include "kernel_lib/base/result.h"

namespace bareflow::http {

class PosixTransport final : public StreamSource {
  public:
    // host: a dotted IPv4 address; port 0: any free one.
    [[nodiscard]] static Result<std::unique_ptr<PosixTransport>> listen(const std::string &host,
                                                                        uint16_t port);
    ~PosixTransport();
    PosixTransport(const PosixTransport &) = delete;
    PosixTransport &operator=(const PosixTransport &) = delete;

    [[nodiscard]] uint16_t port() const { return port_; }

    // Waits up to timeout_ms (0: not at all, -1: for ever) until something has changed on any
    // socket since the last call, and remembers it. True if something has changed.
    bool wait(int timeout_ms);
    ByteStream *accept() override;
    // wait() also returns when `fd` (standard input) has something new to read.
    void wake_on(int fd);
    // Bytes of all streams since the start.
    [[nodiscard]] uint64_t bytes_received() const { return bytes_received_; }
    [[nodiscard]] uint64_t bytes_sent() const { return bytes_sent_; }

  private:
    class Stream;
    PosixTransport() = default;
    void forget(Stream *stream);

    int listener_ = -1;
    int epoll_ = -1;
    uint16_t port_ = 0;
    uint64_t bytes_received_ = 0;
    uint64_t bytes_sent_ = 0;
    std::vector<std::unique_ptr<Stream>> streams_;
    std::vector<std::unique_ptr<Stream>> ended_;  // freed in wait(): events may still name them
};

}  // namespace bareflow::http
