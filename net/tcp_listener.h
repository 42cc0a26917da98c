// A listening TCP port, and the pool of streams that peers open to it. Internal to net/.
#pragma once

#include <array>
#include <cstdint>

#include "net/network.h"
#include "net/tcp_stream.h"

namespace bareflow {

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
