// One client's connection. It reads requests one after another, hands each to the handler, and
// sends the answer as fast as the client takes it. It never waits. All its memory is here and in
// the body buffer, which the server's budget counts.
//
// Owned and polled by Server. Handlers know it as Exchange.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "http/byte_window.h"
#include "http/exchange.h"
#include "http/outgoing_answer.h"
#include "http/request_parser.h"
#include "http/server_counters.h"
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
    // Drops the client (RST) and tells the source that works on its answer.
    void drop();

    [[nodiscard]] bool is_open() const { return phase_ != Phase::kFree; }
    // Waits for a request, or for more of one: may be dropped when a new client needs the place.
    [[nodiscard]] bool is_reading() const { return phase_ == Phase::kReading; }
    [[nodiscard]] bool is_idle() const {
        return is_reading() && parser_.untouched() && received_.empty();
    }
    // Has been answered at least once. A connection that has not may be about to send a request.
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
        kLingering,  // a refusal was sent; bytes that still arrive are thrown away
    };

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
    size_t receive();
    OutgoingAnswer::Sent send();
    [[nodiscard]] bool drop_or_refuse_late();
    void discard_received();
    bool parse_received();
    void begin(const ResponseHead &head, Framing framing, uint64_t len_bytes);

    ConnectionShared &shared_;
    ByteStream *stream_ = nullptr;
    BodyBuffer body_;
    RequestParser parser_;
    Request request_;
    AnswerSource *source_ = nullptr;  // owes the answer, or the rest of it
    OnHangUp on_hang_up_ = OnHangUp::kFinish;
    OutgoingAnswer answer_;
    ByteWindow<1024> received_;
    uint64_t now_ = 0;
    uint64_t phase_since_ = 0;
    uint64_t deadline_ = kNever;
    Phase phase_ = Phase::kFree;
    bool keep_alive_ = false;
    bool no_body_ = false;  // HEAD: the answer has a head only
    bool continue_sent_ = false;
    bool served_ = false;
    bool more_ = false;  // poll() stopped to let other connections work
};

}  // namespace bareflow::http
