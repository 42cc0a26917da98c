#include "net/tcp_listener.h"

#include <algorithm>

namespace bareflow {

Status TcpListener::open(uint16_t port) {
    tcp_pcb *pcb = tcp_new();
    if (pcb == nullptr) {
        return {ErrorCode::kExhausted, "no TCP control block left"};
    }
    if (tcp_bind(pcb, IP_ADDR_ANY, port) != ERR_OK) {
        tcp_abort(pcb);
        return {ErrorCode::kInvalid, "the port is in use"};
    }
    listen_pcb_ = tcp_listen_with_backlog(pcb, TCP_DEFAULT_LISTEN_BACKLOG);
    if (listen_pcb_ == nullptr) {
        tcp_abort(pcb);
        return {ErrorCode::kExhausted, "no TCP listener left"};
    }
    tcp_arg(listen_pcb_, this);
    tcp_accept(listen_pcb_, on_accepted);
    return {};
}

err_t TcpListener::on_accepted(void *self, tcp_pcb *pcb, err_t error) {
    auto &listener = *static_cast<TcpListener *>(self);
    if (pcb == nullptr || error != ERR_OK) {
        return ERR_VAL;
    }
    for (TcpStream &stream : listener.streams_) {
        if (stream.use_ == TcpStream::Use::kFree) {
            stream.attach(pcb);
            stream.use_ = TcpStream::Use::kWaiting;
            stream.order_ = listener.accepted_++;
            return ERR_OK;
        }
    }
    listener.refused_++;
    tcp_abort(pcb);
    return ERR_ABRT;
}

ByteStream *TcpListener::accept() {
    TcpStream *oldest = nullptr;
    for (TcpStream &stream : streams_) {
        if (stream.use_ == TcpStream::Use::kWaiting &&
            (oldest == nullptr || stream.order_ < oldest->order_)) {
            oldest = &stream;
        }
    }
    if (oldest != nullptr) {
        oldest->use_ = TcpStream::Use::kOpen;
    }
    return oldest;
}

StreamCounters TcpListener::counters() const {
    const auto open = std::count_if(streams_.begin(), streams_.end(), [](const TcpStream &stream) {
        return stream.use_ != TcpStream::Use::kFree;
    });
    return {.accepted = accepted_, .refused = refused_, .open = static_cast<uint64_t>(open)};
}

}  // namespace bareflow
