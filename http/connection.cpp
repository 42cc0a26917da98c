// A connection is a small machine. Its phases:
//
//   kReading    the parser gets what arrives; a complete request goes to the handler
//   kDeferred   a handler has put off the answer; only a hang-up is looked for
//   kWriting    the answer is sent; then the next request is read, or the connection ends
//   kLingering  after a refusal: input is thrown away until the client has closed
//
// What must hold: a source that was accepted (respond_stream(), defer()) hears ended() once,
// however the connection ends; no phase waits without a deadline but kDeferred, whose time is the
// source's.
#include "http/connection.h"

#include <utility>

#include "kernel_lib/platform/platform.h"

namespace bareflow::http {

namespace {

// Bytes that one connection may move in one poll, each way, so that the others get their time.
constexpr size_t kMaxPollBytes = 64 * 1024;

// `code` of the answer to a request that did not reach a handler.
std::string_view refusal_code(uint16_t status) {
    switch (status) {
        case 408:
            return "request_timeout";
        case 413:
            return "body_too_large";
        case 414:
            return "target_too_long";
        case 431:
            return "headers_too_large";
        case 503:
            return "overloaded";
        case 505:
            return "unsupported_http_version";
        default:
            return "bad_request";
    }
}

}  // namespace

void Connection::open(ByteStream &stream, uint64_t now) {
    stream_ = &stream;
    now_ = now;
    received_.clear();
    answer_.clear();
    source_ = nullptr;
    served_ = false;
    ++shared_.counters.connections;
    ++shared_.counters.open;
    start_request();
}

void Connection::enter(Phase phase) {
    phase_ = phase;
    phase_since_ = now_;
}

void Connection::start_request() {
    parser_.reset();
    request_ = {};
    continue_sent_ = false;
    keep_alive_ = false;
    no_body_ = false;
    enter(Phase::kReading);
    set_deadline_ms(shared_.timeouts.idle_ms);
}

void Connection::end_source(bool complete) {
    if (AnswerSource *source = std::exchange(source_, nullptr)) {
        source->ended(*this, complete);
    }
}

void Connection::close() {
    parser_.reset();
    stream_->close();
    stream_ = nullptr;
    enter(Phase::kFree);
    deadline_ = kNever;
    --shared_.counters.open;
}

void Connection::drop() {
    if (phase_ == Phase::kDeferred || phase_ == Phase::kWriting) {
        ++shared_.counters.hang_ups;
    }
    end_source(false);
    parser_.reset();
    stream_->abort();
    stream_ = nullptr;
    enter(Phase::kFree);
    deadline_ = kNever;
    --shared_.counters.open;
}

void Connection::linger() {
    enter(Phase::kLingering);
    set_deadline_ms(shared_.timeouts.linger_ms);
}

bool Connection::poll(uint64_t now) {
    now_ = now;
    more_ = false;
    if (stream_->broken()) {
        drop();
        return false;
    }
    const bool cancels =
        phase_ == Phase::kDeferred ||
        (phase_ == Phase::kWriting && source_ != nullptr && on_hang_up_ == OnHangUp::kCancel);
    if (cancels && stream_->peer_closed()) {
        drop();
        return false;
    }
    if (now >= deadline_ && phase_ != Phase::kDeferred && drop_or_refuse_late()) {
        return false;
    }
    if (phase_ == Phase::kReading) {
        read_request();
    }
    if (phase_ == Phase::kWriting) {
        write_answer();
    }
    if (phase_ == Phase::kLingering) {
        discard_received();
    }
    return more_;
}

// The deadline has passed. True: the connection is gone. A client in the middle of a request is
// told.
bool Connection::drop_or_refuse_late() {
    if (phase_ == Phase::kLingering) {
        close();
        return true;
    }
    ++shared_.counters.timeouts;
    if (phase_ != Phase::kReading) {
        drop();
        return true;
    }
    if (parser_.untouched()) {
        close();
        return true;
    }
    refuse(408, "The request took too long to arrive.");
    return false;
}

void Connection::discard_received() {
    size_t dropped = 0;
    received_.clear();
    while (dropped < kMaxPollBytes && receive() > 0) {
        dropped += received_.size();
        received_.clear();
    }
    if (dropped < kMaxPollBytes && stream_->peer_closed()) {
        close();
    } else {
        more_ = dropped >= kMaxPollBytes;
    }
}

size_t Connection::receive() {
    if (received_.empty()) {
        received_.clear();
    }
    const std::span<char> room = received_.room();
    const size_t got = stream_->read({reinterpret_cast<uint8_t *>(room.data()), room.size()});
    received_.added(got);
    shared_.counters.bytes_received += got;
    return got;
}

OutgoingAnswer::Sent Connection::send() {
    const OutgoingAnswer::Sent sent = answer_.send(*stream_);
    shared_.counters.bytes_sent += sent.bytes;
    return sent;
}

void Connection::read_request() {
    size_t taken = 0;
    while (phase_ == Phase::kReading) {
        if (received_.empty() && receive() == 0) {
            if (stream_->peer_closed()) {
                close();  // between requests, or in the middle of one that nobody can answer now
                return;
            }
            break;
        }
        const size_t before = received_.size();
        if (parse_received()) {
            return;
        }
        taken += before - received_.size();
        if (parser_.wants_continue() && !continue_sent_) {
            continue_sent_ = true;  // at most once a request
            answer_.put_interim("HTTP/1.1 100 Continue\r\n\r\n");
        }
        if (taken >= kMaxPollBytes) {
            more_ = true;
            break;
        }
    }
    if (answer_.has_bytes()) {
        send();
    }
}

// Hands the received bytes to the parser. True: the request was refused, or a handler has it.
bool Connection::parse_received() {
    const bool was_untouched = parser_.untouched();
    const RequestParser::State before = parser_.state();
    received_.taken(parser_.parse(received_.bytes()));
    const RequestParser::State state = parser_.state();
    if (was_untouched && !parser_.untouched()) {
        set_deadline_ms(shared_.timeouts.head_ms);
        phase_since_ = now_;
    }
    if (before == RequestParser::State::kHead && state == RequestParser::State::kBody) {
        set_deadline_ms(shared_.timeouts.body_ms);
    }
    if (state == RequestParser::State::kFailed) {
        refuse(parser_.status(), parser_.message());
        return true;
    }
    if (state != RequestParser::State::kComplete) {
        return false;
    }
    ++shared_.counters.requests;
    request_ = parser_.request();
    keep_alive_ = parser_.keep_alive();
    no_body_ = parser_.is_head();
    shared_.handler->handle(*this);
    if (phase_ == Phase::kReading) {
        platform::panic("http: a handler returned without an answer");
    }
    return true;
}

void Connection::refuse(uint16_t status, std::string_view message) {
    ++shared_.counters.requests;
    keep_alive_ = false;
    no_body_ = parser_.is_head();
    const std::string_view again = status == 503 ? "Retry-After: 2\r\n" : std::string_view();
    respond_error(*this, {status, message, refusal_code(status), {}, again});
}

void Connection::begin(const ResponseHead &head, Framing framing, uint64_t len_bytes) {
    const uint16_t status_class = head.status / 100;
    shared_.counters.responses_2xx += status_class == 2 ? 1 : 0;
    shared_.counters.responses_4xx += status_class == 4 ? 1 : 0;
    shared_.counters.responses_5xx += status_class == 5 ? 1 : 0;
    if (framing == Framing::kUntilClose) {
        keep_alive_ = false;
    }
    answer_.begin(head, framing, len_bytes, {keep_alive_, request_.http_1_0}, no_body_);
    body_.release();
    request_.body = {};
    enter(Phase::kWriting);
    set_deadline_ms(shared_.timeouts.stall_ms);
}

void Connection::respond(const ResponseHead &head, std::string_view body) {
    begin(head, Framing::kLength, body.size());
    answer_.put_body(body);
    end_source(true);
}

void Connection::respond_static(const ResponseHead &head, std::string_view body) {
    begin(head, Framing::kLength, body.size());
    answer_.set_static(body);
    end_source(true);
}

void Connection::respond_stream(const ResponseHead &head, AnswerSource &source, Cursor start,
                                OnHangUp on_hang_up, uint64_t len_bytes) {
    if (source_ != &source) {
        end_source(true);
    }
    const Framing framing = len_bytes != kUnknownLength ? Framing::kLength
                            : request_.http_1_0         ? Framing::kUntilClose
                                                        : Framing::kChunked;
    begin(head, framing, len_bytes);
    source_ = &source;
    on_hang_up_ = on_hang_up;
    answer_.set_cursor(start);
}

void Connection::defer(AnswerSource &source) {
    source_ = &source;
    enter(Phase::kDeferred);
    deadline_ = kNever;
}

void Connection::write_answer() {
    size_t moved = 0;
    bool stalled = false;
    while (!stalled) {
        if (!answer_.is_made()) {
            answer_.fill(*source_, *this);
        }
        if (!answer_.has_bytes() && answer_.is_made()) {
            finish_answer();
            return;
        }
        if (!answer_.has_bytes()) {
            break;  // the source has nothing to say now
        }
        const OutgoingAnswer::Sent sent = send();
        moved += sent.bytes;
        stalled = !sent.all;
        if (moved >= kMaxPollBytes) {
            more_ = true;
            break;
        }
    }
    if (!stalled || moved > 0) {
        set_deadline_ms(shared_.timeouts.stall_ms);
    }
}

void Connection::finish_answer() {
    end_source(true);
    served_ = true;
    if (!keep_alive_) {
        // After a request that was read to its end, no bytes are left that could turn our FIN into
        // a RST. The sender of a refused request may still be sending.
        if (parser_.state() == RequestParser::State::kComplete) {
            close();
        } else {
            linger();
        }
        return;
    }
    start_request();
    more_ = true;  // the next request may be here already
}

}  // namespace bareflow::http
