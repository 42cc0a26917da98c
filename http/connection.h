// One client's connection: reads requests one after another, hands each to the handler, writes the
// answer as fast as the client takes it. Never waits. All its memory is here and in the body buffer
// (counted by the server's budget).
//
// Owned and polled by Server. Handlers know it as Exchange.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "http/exchange.h"
#include "http/request_parser.h"
#include "kernel_lib/base/byte_stream.h"
#include "kernel_lib/platform/ticks.h"

namespace bareflow::http {

struct ServerTimeouts {
    uint32_t idle_ms = 30'000;   // between requests
    uint32_t head_ms = 15'000;   // from a request's first byte to the end of its head
    uint32_t body_ms = 60'000;   // from there to the end of its body
    uint32_t stall_ms = 30'000;  // a client that takes none of what is there for it
    uint32_t linger_ms = 1'000;  // reading on after a refusal, so that it isn't lost to a RST
};

// Monotonic, since start.
struct ServerCounters {
    uint64_t connections = 0;
    uint64_t requests = 0;  // complete or refused
    uint64_t responses_2xx = 0;
    uint64_t responses_4xx = 0;
    uint64_t responses_5xx = 0;
    uint64_t hang_ups = 0;   // clients that left before their answer was complete
    uint64_t timeouts = 0;   // connections closed for taking too long
    uint64_t evictions = 0;  // closed to make room for newcomers
    uint64_t bytes_received = 0;
    uint64_t bytes_sent = 0;
    uint32_t open = 0;  // now
};

// What all connections of a server share.
struct ConnectionShared {
    Handler *handler = nullptr;
    ServerTimeouts timeouts;
    ServerCounters counters;
    BodyBudget budget;
};

class Connection final : public Exchange {
  public:
    static constexpr uint64_t kNever = ~uint64_t{0};

    explicit Connection(ConnectionShared &shared)
        : shared_(shared), body_(shared.budget), parser_(body_) {}
    ~Connection() = default;

    void open(ByteStream &stream, uint64_t now);
    // Moves everything that can be moved now. True: there is more to do at once.
    bool poll(uint64_t now);
    // Drops the client (RST) and tells whoever works for it.
    void drop();

    [[nodiscard]] bool is_open() const { return phase_ != Phase::kFree; }
    // Waits for a request, or for the rest of one: may be dropped when somebody else needs the
    // slot.
    [[nodiscard]] bool is_reading() const { return phase_ == Phase::kReading; }
    [[nodiscard]] bool is_idle() const {
        return is_reading() && parser_.untouched() && rx_begin_ == rx_end_;
    }
    // Has been answered at least once: one that hasn't may be about to speak.
    [[nodiscard]] bool has_served() const { return served_; }
    [[nodiscard]] uint64_t since_ticks() const { return phase_since_; }
    // When poll() must be called even if nothing arrives.
    [[nodiscard]] uint64_t deadline() const { return deadline_; }

    [[nodiscard]] const Request &request() const override { return request_; }
    void respond(const ResponseHead &head, std::string_view body) override;
    void respond_static(const ResponseHead &head, std::string_view body) override;
    void respond_stream(const ResponseHead &head, AnswerSource &source, Cursor start,
                        OnHangUp on_hang_up, uint64_t len_bytes) override;
    void defer(AnswerSource &source) override;

  private:
    enum class Phase : uint8_t {
        kFree,
        kReading,    // a request, or the wait for one
        kDeferred,   // a source works on the answer
        kWriting,    // the answer
        kLingering,  // a refusal was sent; what still comes is thrown away
    };
    enum class Framing : uint8_t { kLength, kChunked, kUntilClose, kNone };

    void enter(Phase phase);
    void set_deadline_ms(uint32_t ms) { deadline_ = now_ + ms_to_ticks(ms); }
    void start_request();
    void refuse(uint16_t status, std::string_view message);
    void read_request();
    void write_answer();
    void finish_answer();
    void linger();
    void close();
    void end_source(bool complete);
    void fill_from_source();
    size_t fill_rx();
    bool flush_tx();
    void put_head(const ResponseHead &head, Framing framing, uint64_t len_bytes);
    void begin(const ResponseHead &head, Framing framing, uint64_t len_bytes);
    [[nodiscard]] size_t tx_len() const { return tx_end_ - tx_begin_; }

    ConnectionShared &shared_;
    ByteStream *stream_ = nullptr;
    BodyBuffer body_;
    RequestParser parser_;
    Request request_;
    AnswerSource *source_ = nullptr;
    Cursor cursor_;
    std::string_view static_rest_;
    uint64_t now_ = 0;
    uint64_t phase_since_ = 0;
    uint64_t deadline_ = kNever;
    Phase phase_ = Phase::kFree;
    Framing framing_ = Framing::kLength;
    OnHangUp on_hang_up_ = OnHangUp::kFinish;
    bool source_done_ = true;
    bool keep_alive_ = false;
    bool no_body_ = false;  // HEAD: the head only
    bool continue_sent_ = false;
    bool served_ = false;
    bool more_ = false;  // poll() stopped for fairness
    size_t rx_begin_ = 0;
    size_t rx_end_ = 0;
    size_t tx_begin_ = 0;
    size_t tx_end_ = 0;
    std::array<char, 1024> rx_;
    std::array<char, 4096> tx_;
};

}  // namespace bareflow::http
