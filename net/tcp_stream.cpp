// The callbacks of lwIP's raw API. lwIP frees a control block after an error, an abort or a
// finished close. What must hold: from then on pcb_ is null, or the block's callbacks no longer
// name the stream. Bytes are acknowledged only when they are read, so that the receive window
// bounds what is stored.
#include "net/tcp_stream.h"

#include <algorithm>

namespace bareflow {
namespace {

// lwIP's slow timer runs every 500 ms; tcp_poll counts in its periods.
constexpr u8_t kPollHalfSeconds = 2;
// A peer that vanished is noticed after idle + count * interval.
constexpr u32_t kKeepIdleMs = 30000;
constexpr u32_t kKeepIntervalMs = 5000;
constexpr u32_t kKeepCount = 4;

}  // namespace

void TcpStream::attach(tcp_pcb *pcb) {
    pcb_ = pcb;
    peer_closed_ = false;
    received_ = nullptr;
    received_offset_ = 0;
    pcb->so_options |= SOF_KEEPALIVE;
    pcb->keep_idle = kKeepIdleMs;
    pcb->keep_intvl = kKeepIntervalMs;
    pcb->keep_cnt = kKeepCount;
    tcp_nagle_disable(pcb);  // each token is sent at once
    tcp_arg(pcb, this);
    tcp_recv(pcb, on_received);
    tcp_err(pcb, on_error);
    tcp_poll(pcb, on_poll, kPollHalfSeconds);
}

void TcpStream::drop_received() {
    if (received_ != nullptr) {
        pbuf_free(received_);
        received_ = nullptr;
    }
    received_offset_ = 0;
}

void TcpStream::release() {
    drop_received();
    pcb_ = nullptr;
    use_ = Use::kFree;
}

size_t TcpStream::read(std::span<uint8_t> into) {
    size_t copied = 0;
    while (received_ != nullptr && copied < into.size()) {
        const size_t n = std::min<size_t>(received_->len - received_offset_, into.size() - copied);
        __builtin_memcpy(into.data() + copied,
                         static_cast<const uint8_t *>(received_->payload) + received_offset_, n);
        copied += n;
        received_offset_ += n;
        if (received_offset_ == received_->len) {
            pbuf *const rest = received_->next;
            if (rest != nullptr) {
                pbuf_ref(rest);
            }
            pbuf_free(received_);
            received_ = rest;
            received_offset_ = 0;
        }
    }
    // tcp_recved takes 16 bits, and a window is never larger.
    if (copied > 0 && pcb_ != nullptr) {
        for (size_t left = copied; left > 0;) {
            const auto step = static_cast<u16_t>(std::min<size_t>(left, TCP_WND));
            tcp_recved(pcb_, step);
            left -= step;
        }
    }
    return copied;
}

size_t TcpStream::writable() const {
    if (pcb_ == nullptr || tcp_sndqueuelen(pcb_) + 4 >= TCP_SND_QUEUELEN) {
        return 0;
    }
    return tcp_sndbuf(pcb_);
}

size_t TcpStream::write(std::span<const uint8_t> from) {
    size_t n = std::min(writable(), from.size());
    // ERR_MEM: lwIP's heap has too little memory now. Half as many bytes may fit; writing none is a
    // valid answer, too.
    while (n > 0) {
        const err_t error =
            tcp_write(pcb_, from.data(), static_cast<u16_t>(n), TCP_WRITE_FLAG_COPY);
        if (error == ERR_OK) {
            break;
        }
        n = error == ERR_MEM ? n / 2 : 0;
    }
    if (n > 0) {
        (void)tcp_output(pcb_);  // what cannot be sent now is sent with the next timer or ACK
    }
    return n;
}

bool TcpStream::try_close() {
    tcp_recv(pcb_, nullptr);
    tcp_err(pcb_, nullptr);
    tcp_arg(pcb_, nullptr);
    if (tcp_close(pcb_) == ERR_OK) {
        tcp_poll(pcb_, nullptr, 0);
        return true;
    }
    tcp_arg(pcb_, this);
    tcp_err(pcb_, on_error);
    return false;
}

void TcpStream::close() {
    // tcp_close() answers unread bytes with RST, which would also discard what we have just
    // written. So bytes that nobody has read are acknowledged and dropped first.
    if (pcb_ != nullptr && received_ != nullptr) {
        tcp_recved(pcb_, static_cast<u16_t>(received_->tot_len - received_offset_));
    }
    drop_received();
    if (pcb_ == nullptr) {
        release();
        return;
    }
    if (try_close()) {
        release();
    } else {
        use_ = Use::kClosing;  // on_poll tries again
    }
}

void TcpStream::abort() {
    if (pcb_ != nullptr) {
        tcp_arg(pcb_, nullptr);
        tcp_recv(pcb_, nullptr);
        tcp_err(pcb_, nullptr);
        tcp_poll(pcb_, nullptr, 0);
        tcp_abort(pcb_);
    }
    release();
}

err_t TcpStream::on_received(void *self, tcp_pcb *pcb, pbuf *data, err_t error) {
    auto &stream = *static_cast<TcpStream *>(self);
    if (data == nullptr || error != ERR_OK) {
        if (data != nullptr) {
            pbuf_free(data);
        }
        stream.peer_closed_ = true;
        return ERR_OK;
    }
    if (stream.received_ == nullptr) {
        stream.received_ = data;
    } else {
        pbuf_cat(stream.received_, data);  // bounded by the receive window, which only read() opens
    }
    return ERR_OK;
}

// lwIP has freed the PCB already.
void TcpStream::on_error(void *self, err_t error) {
    auto &stream = *static_cast<TcpStream *>(self);
    stream.pcb_ = nullptr;
    stream.peer_closed_ = true;
    if (stream.use_ == Use::kClosing) {
        stream.release();
    }
}

err_t TcpStream::on_poll(void *self, tcp_pcb *pcb) {
    if (self == nullptr) {
        return ERR_OK;
    }
    auto &stream = *static_cast<TcpStream *>(self);
    if (stream.use_ == Use::kClosing && stream.try_close()) {
        stream.release();
    }
    return ERR_OK;
}

}  // namespace bareflow
