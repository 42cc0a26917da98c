// A byte stream that somebody opened to us, and where such streams come from. This is the seam
// between the HTTP server and what carries it (lwIP on bare metal, POSIX sockets hosted). Nothing
// here waits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace bareflow {

class ByteStream {
  public:
    // Copies received bytes out, oldest first; 0 when none are here. Taking bytes opens the window.
    virtual size_t read(std::span<uint8_t> into) = 0;
    // Takes as many bytes as fit into the send buffer now and returns how many; copied.
    virtual size_t write(std::span<const uint8_t> from) = 0;
    // Bytes write() would take now.
    [[nodiscard]] virtual size_t writable() const = 0;
    // The peer sent FIN or RST, or vanished. Bytes that came before it can still be read.
    [[nodiscard]] virtual bool peer_closed() const = 0;
    // The connection is gone (reset, timed out): nothing will be delivered any more.
    [[nodiscard]] virtual bool broken() const = 0;
    // Sends what was written, then FIN; the object must not be used afterwards.
    virtual void close() = 0;
    // RST; the object must not be used afterwards.
    virtual void abort() = 0;

  protected:
    ~ByteStream() = default;  // owned by the transport
};

class StreamSource {
  public:
    // The next stream that was opened to us, or nullptr. Owned by the source until closed/aborted.
    virtual ByteStream *accept() = 0;

  protected:
    ~StreamSource() = default;
};

}  // namespace bareflow
