// lwIP with our port, Network and our streams, against a host at the other end of a fake cable.
// lwIP's state is one per process: every test runs in a child of its own.
#include "net/network.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <thread>

#include "tests/fakes/wire_peer.h"

namespace bareflow {
namespace {

using testing::kAck;
using testing::kFin;
using testing::kPsh;
using testing::kRst;
using testing::kSyn;
using testing::TcpSegment;
using testing::WireDevice;
using testing::WirePeer;

void in_child(const std::function<void()> &test) {
    std::fflush(nullptr);
    const pid_t child = fork();
    if (child == 0) {
        test();
        std::fflush(nullptr);
        _exit(::testing::Test::HasFailure() ? 1 : 0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "see the failure above";
}

struct Wire {
    WireDevice device;
    WirePeer peer{device};
    Network *network = nullptr;

    void start(const NetworkConfig &config) {
        auto created = Network::create(device, config);
        ASSERT_TRUE(created) << created.error().message;
        network = *created;
    }
    bool until(const std::function<bool()> &condition, int timeout_ms = 3000) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
        while (std::chrono::steady_clock::now() < end) {
            network->poll();
            peer.pump();
            if (condition()) {
                EXPECT_TRUE(peer.faults.empty()) << peer.faults[0];
                return true;
            }
            std::this_thread::sleep_for(std::chrono::microseconds(200));
        }
        return false;
    }
    void settle() {
        for (int i = 0; i < 20; i++) {
            network->poll();
            peer.pump();
        }
    }
};

NetworkConfig fixed_address() {
    NetworkConfig config;
    config.address = {{10, 0, 2, 15}};
    config.gateway = {{10, 0, 2, 2}};
    return config;
}

// A client on the peer's side, which accepts only what the RFC asks for.
struct Client {
    Wire &wire;
    uint16_t port;
    uint32_t sequence = 1000;
    uint32_t expected = 0;  // next sequence number from the appliance
    std::string received = {};
    bool fin_seen = false;
    bool reset_seen = false;

    void send(uint8_t flags, std::string_view payload = {}, uint16_t window = 20000) {
        wire.peer.send_tcp({port, 80, sequence, expected, flags, window, std::string(payload)});
        sequence += static_cast<uint32_t>(payload.size()) + ((flags & (kSyn | kFin)) != 0);
    }
    void take() {
        while (!wire.peer.segments.empty()) {
            const TcpSegment segment = wire.peer.segments.front();
            wire.peer.segments.pop_front();
            if ((segment.flags & kRst) != 0) {
                reset_seen = true;
                continue;
            }
            if ((segment.flags & kSyn) != 0) {
                expected = segment.sequence + 1;
                continue;
            }
            if (segment.sequence == expected) {
                received += segment.payload;
                expected += static_cast<uint32_t>(segment.payload.size());
                if ((segment.flags & kFin) != 0) {
                    expected++;
                    fin_seen = true;
                }
                if (!segment.payload.empty() || (segment.flags & kFin) != 0) {
                    send(kAck);
                }
            }
        }
    }
    void connect() {
        send(kSyn);
        ASSERT_TRUE(wire.until([&] { return !wire.peer.segments.empty(); }));
        EXPECT_EQ(wire.peer.segments.front().flags, kSyn | kAck);
        take();
        send(kAck);
        wire.settle();
    }
};

TEST(Network, DhcpGivesTheAddressWithoutAddressCheck) {
    in_child([] {
        Wire wire;
        wire.peer.serve_dhcp = true;
        wire.peer.appliance_ip = 0x0A000263;
        wire.start({});
        ASSERT_TRUE(
            wire.until([&] { return wire.network->address_source() == AddressSource::kDhcp; }));
        EXPECT_EQ(wire.network->address(), (Ipv4{{10, 0, 2, 99}}));
        EXPECT_EQ(wire.peer.arp_requests_for_address_check, 0);
    });
}

TEST(Network, SilenceFallsBackToTheStaticAddress) {
    in_child([] {
        Wire wire;
        NetworkConfig config;
        config.dhcp_timeout_ms = 150;
        wire.start(config);
        EXPECT_EQ(wire.network->address_source(), AddressSource::kNone);
        ASSERT_TRUE(
            wire.until([&] { return wire.network->address_source() == AddressSource::kFallback; }));
        EXPECT_EQ(wire.network->address(), (Ipv4{{10, 0, 2, 15}}));
        EXPECT_GE(wire.peer.discovers, 1);
    });
}

TEST(Network, AnswersArpAndPing) {
    in_child([] {
        Wire wire;
        wire.start(fixed_address());
        wire.peer.send_arp_request();
        ASSERT_TRUE(wire.until([&] { return wire.peer.arp_replies > 0; }));
        wire.peer.send_ping("are you there?");
        ASSERT_TRUE(wire.until([&] { return !wire.peer.pongs.empty(); }));
        EXPECT_EQ(wire.peer.pongs.front(), "are you there?");
    });
}

TEST(Network, AStreamCarriesBytesBothWaysAndCloses) {
    in_child([] {
        Wire wire;
        wire.start(fixed_address());
        StreamSource *source = *wire.network->listen(80);
        Client client{wire, 40000};
        client.connect();
        client.send(kAck | kPsh, "hello");
        wire.settle();
        ByteStream *stream = source->accept();
        ASSERT_NE(stream, nullptr);
        EXPECT_EQ(source->accept(), nullptr);
        uint8_t buffer[3];
        EXPECT_EQ(stream->read(buffer), 3U);
        EXPECT_EQ(std::string(buffer, buffer + 3), "hel");
        EXPECT_EQ(stream->read(buffer), 2U);
        EXPECT_EQ(stream->read(buffer), 0U);
        EXPECT_FALSE(stream->peer_closed());

        std::string answer(30000, 'x');
        size_t sent = 0;
        ASSERT_TRUE(wire.until([&] {
            const auto rest = std::span(reinterpret_cast<const uint8_t *>(answer.data()) + sent,
                                        answer.size() - sent);
            sent += stream->write(rest);
            client.take();
            return client.received.size() == answer.size();
        }));
        EXPECT_EQ(client.received, answer);
        EXPECT_EQ(wire.network->stream_counters().open, 1U);
        stream->close();
        ASSERT_TRUE(wire.until([&] {
            client.take();
            return client.fin_seen;
        }));
        EXPECT_FALSE(client.reset_seen);
        EXPECT_EQ(wire.network->stream_counters().open, 0U);
        EXPECT_EQ(wire.network->stream_counters().accepted, 1U);
    });
}

TEST(Network, UnreadBytesDoNotTurnCloseIntoReset) {
    in_child([] {
        Wire wire;
        wire.start(fixed_address());
        StreamSource *source = *wire.network->listen(80);
        Client client{wire, 40001};
        client.connect();
        client.send(kAck | kPsh, std::string(1400, 'q'));
        wire.settle();
        ByteStream *stream = source->accept();
        ASSERT_NE(stream, nullptr);
        const std::string answer = "too much";
        EXPECT_EQ(stream->write({reinterpret_cast<const uint8_t *>(answer.data()), answer.size()}),
                  answer.size());
        stream->close();
        ASSERT_TRUE(wire.until([&] {
            client.take();
            return client.fin_seen;
        }));
        EXPECT_EQ(client.received, answer);
        EXPECT_FALSE(client.reset_seen);
    });
}

TEST(Network, FinAndResetAreNoticed) {
    in_child([] {
        Wire wire;
        wire.start(fixed_address());
        StreamSource *source = *wire.network->listen(80);
        Client polite{wire, 40002};
        polite.connect();
        polite.send(kAck | kPsh, "last words");
        polite.send(kAck | kFin);
        wire.settle();
        ByteStream *stream = source->accept();
        ASSERT_NE(stream, nullptr);
        EXPECT_TRUE(stream->peer_closed());
        EXPECT_FALSE(stream->broken());
        uint8_t buffer[64];
        EXPECT_EQ(stream->read(buffer), 10U) << "what came before the FIN";
        stream->close();

        wire.settle();
        wire.peer.segments.clear();
        Client rude{wire, 40003};
        rude.connect();
        ByteStream *second = source->accept();
        ASSERT_NE(second, nullptr);
        rude.send(kAck | kRst);
        wire.settle();
        EXPECT_TRUE(second->broken());
        EXPECT_EQ(second->writable(), 0U);
        EXPECT_EQ(second->write({buffer, 10}), 0U);
        second->close();
        EXPECT_EQ(wire.network->stream_counters().open, 0U);
    });
}

TEST(Network, AReaderThatDoesNotReadClosesTheWindow) {
    in_child([] {
        Wire wire;
        wire.start(fixed_address());
        StreamSource *source = *wire.network->listen(80);
        Client client{wire, 40004};
        client.connect();
        size_t offered = 0;
        uint16_t window = 0xffff;
        for (int i = 0; i < 40; i++) {
            client.send(kAck | kPsh, std::string(1000, 'w'));
            offered += 1000;
            wire.settle();
            for (const TcpSegment &segment : wire.peer.segments) {
                window = segment.window;
            }
            wire.peer.segments.clear();
            if (window < 1000) {
                break;
            }
        }
        EXPECT_LT(window, 1000) << "after " << offered << " unread bytes";
        ByteStream *stream = source->accept();
        ASSERT_NE(stream, nullptr);
        std::vector<uint8_t> all(100000);
        EXPECT_GE(stream->read(all), 8000U);
        wire.settle();
        ASSERT_FALSE(wire.peer.segments.empty()) << "reading opens the window again";
        EXPECT_GT(wire.peer.segments.back().window, 8000);
        stream->abort();
        wire.settle();
        client.take();
        EXPECT_TRUE(client.reset_seen);
    });
}

TEST(Network, FirstClientsThatComeTogetherAreAllAnswered) {
    in_child([] {
        Wire wire;
        wire.start(fixed_address());
        ASSERT_TRUE(wire.network->listen(80));
        // None of the answers can leave before the router's hardware address is known.
        for (uint16_t i = 0; i < 8; i++) {
            Client{wire, static_cast<uint16_t>(43000 + i)}.send(kSyn);
        }
        wire.settle();
        EXPECT_EQ(wire.peer.segments.size(), 8U);
    });
}

TEST(Network, MoreConnectionsThanStreamsAreRefusedAndTheRestLives) {
    in_child([] {
        Wire wire;
        wire.start(fixed_address());
        StreamSource *source = *wire.network->listen(80);
        size_t refused = 0;
        for (uint16_t i = 0; i < kMaxStreams + 8; i++) {
            Client client{wire, static_cast<uint16_t>(41000 + i)};
            client.connect();
            client.take();
            refused += client.reset_seen;
        }
        EXPECT_EQ(refused, 8U);
        EXPECT_EQ(wire.network->stream_counters().refused, 8U);
        size_t accepted = 0;
        while (ByteStream *stream = source->accept()) {
            accepted++;
            stream->abort();
        }
        EXPECT_EQ(accepted, kMaxStreams);
        wire.settle();
        wire.peer.segments.clear();
        Client later{wire, 42000};
        later.connect();
        EXPECT_NE(source->accept(), nullptr);
    });
}

TEST(Network, AFullRingOnlyDelays) {
    in_child([] {
        Wire wire;
        wire.start(fixed_address());
        StreamSource *source = *wire.network->listen(80);
        Client client{wire, 40005};
        client.connect();
        ByteStream *stream = source->accept();
        ASSERT_NE(stream, nullptr);
        wire.device.full = true;
        const std::string answer = "later";
        EXPECT_EQ(stream->write({reinterpret_cast<const uint8_t *>(answer.data()), answer.size()}),
                  answer.size());
        wire.settle();
        wire.device.full = false;
        ASSERT_TRUE(wire.until(
            [&] {
                client.take();
                return client.received == answer;
            },
            5000));
    });
}

TEST(Network, LinkChangesAreFollowed) {
    in_child([] {
        Wire wire;
        wire.device.link = false;
        wire.peer.serve_dhcp = true;
        wire.start({});
        wire.settle();
        EXPECT_FALSE(wire.network->link_up());
        EXPECT_EQ(wire.peer.discovers, 0);
        wire.device.link = true;
        ASSERT_TRUE(
            wire.until([&] { return wire.network->address_source() == AddressSource::kDhcp; }));
        EXPECT_TRUE(wire.network->link_up());
        wire.device.link = false;
        ASSERT_TRUE(wire.until([&] { return !wire.network->link_up(); }));
    });
}

TEST(Network, GarbageOnTheWireIsSurvived) {
    in_child([] {
        Wire wire;
        wire.start(fixed_address());
        StreamSource *source = *wire.network->listen(80);
        uint64_t random = 7;
        auto next = [&] {
            random = random * 6364136223846793005 + 1442695040888963407;
            return static_cast<uint32_t>(random >> 33);
        };
        Client client{wire, 40006};
        client.connect();
        for (int i = 0; i < 20000; i++) {
            testing::Frame frame(14 + next() % 200);
            for (uint8_t &byte : frame) {
                byte = static_cast<uint8_t>(next());
            }
            const MacAddress mac = wire.device.mac();
            std::copy(mac.bytes.begin(), mac.bytes.end(), frame.begin());
            frame[12] = 8;
            frame[13] = next() % 8 == 0 ? 6 : 0;
            if (frame.size() > 40 && frame[13] == 0) {
                frame[14] = 0x45;
                frame[16] = 0;
                frame[17] = static_cast<uint8_t>(frame.size() - 14);
                frame[23] = std::array<uint8_t, 3>{1, 6, 17}[next() % 3];
            }
            wire.peer.send_raw(frame);
            wire.network->poll();
            wire.device.sent.clear();
        }
        client.send(kAck | kPsh, "still here");
        wire.settle();
        ByteStream *stream = source->accept();
        ASSERT_NE(stream, nullptr);
        uint8_t buffer[32];
        EXPECT_EQ(stream->read(buffer), 10U);
    });
}

}  // namespace
}  // namespace bareflow
