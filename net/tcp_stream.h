// A byte stream over one lwIP TCP connection (raw API), and the pool they live in.
// Internal to net/.
#pragma once

#include <array>

#include "kernel_lib/base/byte_stream.h"
#include "lwip/tcp.h"
#include "net/network.h"

namespace bareflow {

class TcpStream final : public ByteStream {
  public:
    size_t read(std::span<uint8_t> into) override;
    size_t write(std::span<const uint8_t> from) override;
    [[nodiscard]] size_t writable() const override;
    [[nodiscard]] bool peer_closed() const override { return peer_closed_ || pcb_ == nullptr; }
    [[nodiscard]] bool broken() const override { return pcb_ == nullptr; }
    void close() override;
    void abort() override;

  private:
    friend class TcpListener;

    void attach(tcp_pcb *pcb);
    void drop_received();
    void release();
    [[nodiscard]] bool try_close();

    static err_t on_received(void *self, tcp_pcb *pcb, pbuf *data, err_t error);
    static void on_error(void *self, err_t error);
    static err_t on_poll(void *self, tcp_pcb *pcb);

    enum class Use : uint8_t {
        kFree,
        kWaiting,  // opened by the peer, not yet taken by accept()
        kOpen,
        kClosing,  // closed by us, lwIP had no memory to say so yet
    };
    Use use_ = Use::kFree;
    bool peer_closed_ = false;
    tcp_pcb *pcb_ = nullptr;    // nullptr once the connection is gone
    pbuf *received_ = nullptr;  // not yet read; acknowledged to the window as it is read
    size_t received_offset_ = 0;
    uint64_t order_ = 0;  // accept() hands out the oldest first
};

class TcpListener final : public StreamSource {
  public:
    [[nodiscard]] Status open(uint16_t port);
    ByteStream *accept() override;
    [[nodiscard]] StreamCounters counters() const;

  private:
    static err_t on_accepted(void *self, tcp_pcb *pcb, err_t error);

    tcp_pcb *listen_pcb_ = nullptr;
    uint64_t accepted_ = 0;
    uint64_t refused_ = 0;
    std::array<TcpStream, kMaxStreams> streams_;
};

}  // namespace bareflow
