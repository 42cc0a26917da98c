// A byte stream over one lwIP TCP connection (raw API). Internal to net/: TcpListener owns the
// streams.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernel_lib/base/byte_stream.h"
#include "lwip/tcp.h"

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
        kClosing,  // closed by us; lwIP had no memory to tell the peer yet
    };
    Use use_ = Use::kFree;
    bool peer_closed_ = false;
    tcp_pcb *pcb_ = nullptr;    // nullptr once the connection is gone
    pbuf *received_ = nullptr;  // not yet read; reading it opens the receive window again
    size_t received_offset_ = 0;
    uint64_t order_ = 0;  // when it was opened: accept() gives the oldest first
};

}  // namespace bareflow
