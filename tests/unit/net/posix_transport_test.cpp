// The transport over real sockets of this machine, with a plain blocking client.
#include "net/posix_transport_hosted.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace bareflow::http {
namespace {

constexpr int kPatienceMs = 5000;

class PosixTransportTest : public testing::Test {
  protected:
    PosixTransportTest() {
        auto made = PosixTransport::listen("127.0.0.1", 0);
        EXPECT_TRUE(made.ok());
        transport_ = std::move(made).value();
    }
    ~PosixTransportTest() override {
        if (client_ >= 0) {
            ::close(client_);
        }
    }

    // A connected client; returns the transport's end of it.
    ByteStream *connect() {
        client_ = ::socket(AF_INET, SOCK_STREAM, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(transport_->port());
        inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
        EXPECT_EQ(::connect(client_, reinterpret_cast<sockaddr *>(&address), sizeof address), 0);
        EXPECT_TRUE(transport_->wait(kPatienceMs));
        ByteStream *stream = transport_->accept();
        EXPECT_NE(stream, nullptr);
        return stream;
    }
    static std::span<const uint8_t> bytes_of(std::string_view text) {
        return {reinterpret_cast<const uint8_t *>(text.data()), text.size()};
    }
    // What has arrived, once anything has.
    std::string read(ByteStream &stream) {
        char buffer[64];
        size_t len = 0;
        while (len == 0 && !stream.peer_closed() && transport_->wait(kPatienceMs)) {
            len = stream.read({reinterpret_cast<uint8_t *>(buffer), sizeof buffer});
        }
        return {buffer, len};
    }

    std::unique_ptr<PosixTransport> transport_;
    int client_ = -1;
};

TEST_F(PosixTransportTest, CarriesBytesBothWays) {
    ByteStream *stream = connect();
    ASSERT_NE(stream, nullptr);
    EXPECT_EQ(transport_->accept(), nullptr) << "there is one client";
    EXPECT_EQ(stream->read({}), 0u);
    ASSERT_EQ(::send(client_, "hello", 5, 0), 5);
    EXPECT_EQ(read(*stream), "hello");
    EXPECT_GT(stream->writable(), 0u);
    EXPECT_EQ(stream->write(bytes_of("world!")), 6u);
    char answer[16];
    EXPECT_EQ(::recv(client_, answer, sizeof answer, 0), 6);
    EXPECT_EQ(std::string_view(answer, 6), "world!");
    EXPECT_EQ(transport_->bytes_received(), 5u);
    EXPECT_EQ(transport_->bytes_sent(), 6u);
}

TEST_F(PosixTransportTest, ClosingIsAnEndAndAbortingAnError) {
    ByteStream *stream = connect();
    ASSERT_NE(stream, nullptr);
    EXPECT_EQ(stream->write(bytes_of("last")), 4u);
    stream->close();
    char answer[16];
    EXPECT_EQ(::recv(client_, answer, sizeof answer, 0), 4) << "what was written is delivered";
    EXPECT_EQ(::recv(client_, answer, sizeof answer, 0), 0);
    ::close(client_);
    stream = connect();
    ASSERT_NE(stream, nullptr);
    stream->abort();
    EXPECT_EQ(::recv(client_, answer, sizeof answer, 0), -1);
    EXPECT_EQ(errno, ECONNRESET);
}

TEST_F(PosixTransportTest, ThePeersEndIsSeen) {
    ByteStream *stream = connect();
    ASSERT_NE(stream, nullptr);
    ASSERT_EQ(::send(client_, "bye", 3, 0), 3);
    ::shutdown(client_, SHUT_WR);
    uint8_t buffer[8];
    for (int i = 0; i < 10 && !stream->peer_closed(); ++i) {
        (void)transport_->wait(kPatienceMs);
    }
    const size_t len = stream->read(buffer);
    EXPECT_EQ(std::string_view(reinterpret_cast<char *>(buffer), len), "bye")
        << "bytes before the end can still be read";
    EXPECT_TRUE(stream->peer_closed());
    EXPECT_FALSE(stream->broken());
}

TEST_F(PosixTransportTest, AClientThatDoesNotReadBlocksTheStream) {
    ByteStream *stream = connect();
    ASSERT_NE(stream, nullptr);
    const std::string much(1 << 20, 'x');
    size_t sent = 0;
    while (stream->writable() > 0 && sent < size_t{1} << 28) {
        sent += stream->write(bytes_of(much));
    }
    EXPECT_EQ(stream->writable(), 0u);
    std::string taken(1 << 20, 0);
    for (size_t got = 0; got < sent;) {
        const ssize_t len = ::recv(client_, taken.data(), taken.size(), 0);
        ASSERT_GT(len, 0);
        got += static_cast<size_t>(len);
    }
    for (int i = 0; i < 10 && stream->writable() == 0; ++i) {
        (void)transport_->wait(kPatienceMs);
    }
    EXPECT_GT(stream->writable(), 0u) << "there is room again";
    EXPECT_FALSE(stream->broken());
}

TEST(PosixTransport, RefusesWhatItCannotListenOn) {
    EXPECT_EQ(PosixTransport::listen("localhost", 0).error().code, ErrorCode::kInvalid);
    auto first = PosixTransport::listen("127.0.0.1", 0);
    ASSERT_TRUE(first.ok());
    EXPECT_EQ(PosixTransport::listen("127.0.0.1", (*first)->port()).error().code,
              ErrorCode::kExhausted);
}

TEST_F(PosixTransportTest, OtherInputWakesIt) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    transport_->wake_on(ends[0]);
    EXPECT_FALSE(transport_->wait(0));
    ASSERT_EQ(::write(ends[1], "x", 1), 1);
    EXPECT_TRUE(transport_->wait(kPatienceMs));
    EXPECT_FALSE(transport_->wait(0)) << "each event once";
    ::close(ends[0]);
    ::close(ends[1]);
}

}  // namespace
}  // namespace bareflow::http
