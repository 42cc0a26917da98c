// Sockets and epoll for the hosted program. Events are edge-triggered: each is reported once, so
// the state of a stream (readable, blocked, broken) is kept until a call of recv() or send()
// changes it.
#include "net/posix_transport_hosted.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace bareflow::http {

class PosixTransport::Stream final : public ByteStream {
  public:
    Stream(PosixTransport &transport, int fd) : transport_(transport), fd_(fd) {}
    ~Stream() { release(); }

    size_t read(std::span<uint8_t> into) override {
        if (broken_ || into.empty()) {
            return 0;
        }
        const ssize_t got = ::recv(fd_, into.data(), into.size(), 0);
        if (got == 0) {
            peer_closed_ = true;
        } else if (got < 0 && errno != EAGAIN && errno != EINTR) {
            broken_ = true;
        }
        const size_t bytes = got > 0 ? static_cast<size_t>(got) : 0;
        transport_.bytes_received_ += bytes;
        return bytes;
    }
    size_t write(std::span<const uint8_t> from) override {
        if (broken_ || from.empty()) {
            return 0;
        }
        const ssize_t sent = ::send(fd_, from.data(), from.size(), MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR) {
            broken_ = true;
        }
        blocked_ = sent < static_cast<ssize_t>(from.size());
        const size_t bytes = sent > 0 ? static_cast<size_t>(sent) : 0;
        transport_.bytes_sent_ += bytes;
        return bytes;
    }
    // The kernel does not tell how much room there is; a short write tells that there is none.
    [[nodiscard]] size_t writable() const override { return blocked_ || broken_ ? 0 : 16 * 1024; }
    [[nodiscard]] bool peer_closed() const override { return peer_closed_ || broken_; }
    [[nodiscard]] bool broken() const override { return broken_; }
    void close() override {
        release();
        transport_.forget(this);
    }
    void abort() override {
        if (fd_ >= 0) {
            const linger reset{.l_onoff = 1, .l_linger = 0};
            ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        }
        release();
        transport_.forget(this);
    }
    void on_events(uint32_t events) {
        peer_closed_ = peer_closed_ || (events & (EPOLLRDHUP | EPOLLHUP)) != 0;
        broken_ = broken_ || (events & EPOLLERR) != 0;
        blocked_ = blocked_ && (events & EPOLLOUT) == 0;
    }

  private:
    void release() {
        if (fd_ >= 0) {
            ::close(fd_);
            fd_ = -1;
        }
    }
    PosixTransport &transport_;
    int fd_;
    bool peer_closed_ = false;
    bool broken_ = false;
    bool blocked_ = false;
};

Result<std::unique_ptr<PosixTransport>> PosixTransport::listen(const std::string &host,
                                                               uint16_t port) {
    std::unique_ptr<PosixTransport> transport(new PosixTransport);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    if (inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1) {
        return Error{ErrorCode::kInvalid, "the host is not an IPv4 address"};
    }
    transport->listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    transport->epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
    if (transport->listener_ < 0 || transport->epoll_ < 0) {
        return Error{ErrorCode::kDevice, "no socket could be made"};
    }
    const int yes = 1;
    ::setsockopt(transport->listener_, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    auto *name = reinterpret_cast<sockaddr *>(&address);
    socklen_t len = sizeof address;
    if (::bind(transport->listener_, name, len) != 0 || ::listen(transport->listener_, 128) != 0) {
        return Error{ErrorCode::kExhausted, "the port is in use, or not ours to use"};
    }
    ::getsockname(transport->listener_, name, &len);
    transport->port_ = ntohs(address.sin_port);
    epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.ptr = nullptr}};
    ::epoll_ctl(transport->epoll_, EPOLL_CTL_ADD, transport->listener_, &event);
    return transport;
}

PosixTransport::~PosixTransport() {
    if (listener_ >= 0) {
        ::close(listener_);
    }
    if (epoll_ >= 0) {
        ::close(epoll_);
    }
}

bool PosixTransport::wait(int timeout_ms) {
    std::array<epoll_event, 64> events;
    const int count =
        ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), timeout_ms);
    for (int i = 0; i < count; ++i) {
        const epoll_event &event = events[static_cast<size_t>(i)];
        if (event.data.ptr != nullptr) {
            static_cast<Stream *>(event.data.ptr)->on_events(event.events);
        }
    }
    ended_.clear();
    return count > 0;
}

void PosixTransport::wake_on(int fd) {
    epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.ptr = nullptr}};
    ::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);  // fails for a plain file: always readable
}

ByteStream *PosixTransport::accept() {
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        return nullptr;
    }
    const int yes = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    streams_.push_back(std::make_unique<Stream>(*this, fd));
    // Edges, not levels: bytes that the server does not read now must not wake wait() again and
    // again.
    epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                      .data = {.ptr = streams_.back().get()}};
    ::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
    return streams_.back().get();
}

void PosixTransport::forget(Stream *stream) {
    const auto at = std::find_if(streams_.begin(), streams_.end(),
                                 [stream](const auto &owned) { return owned.get() == stream; });
    if (at != streams_.end()) {
        ended_.push_back(std::move(*at));
        streams_.erase(at);
    }
}

}  // namespace bareflow::http
