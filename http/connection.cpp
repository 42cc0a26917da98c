#include "http/connection.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernel_lib/platform/platform.h"

namespace bareflow::http {

namespace {

// What one connection may move in one poll, each way: others want their turn.
constexpr size_t kMaxPollBytes = 64 * 1024;
constexpr size_t kChunkHeadBytes = 6;  // "0abc\r\n"
constexpr std::string_view kLastChunk = "0\r\n\r\n";

// `code` of the answer to a request that did not get as far as a handler.
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

std::span<const uint8_t> as_bytes(std::string_view text) {
    return {reinterpret_cast<const uint8_t *>(text.data()), text.size()};
}

}  // namespace

void Connection::open(ByteStream &stream, uint64_t now) {
    stream_ = &stream;
    now_ = now;
    rx_begin_ = rx_end_ = tx_begin_ = tx_end_ = 0;
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
    static_rest_ = {};
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
    if (now >= deadline_ && phase_ != Phase::kDeferred) {
        if (phase_ == Phase::kLingering) {
            close();
            return false;
        }
        ++shared_.counters.timeouts;
        if (phase_ == Phase::kReading && !parser_.untouched()) {
            refuse(408, "The request took too long to arrive.");
        } else if (phase_ == Phase::kReading) {
            close();
            return false;
        } else {
            drop();
            return false;
        }
    }
    if (phase_ == Phase::kReading) {
        read_request();
    }
    if (phase_ == Phase::kWriting) {
        write_answer();
    }
    if (phase_ == Phase::kLingering) {
        size_t dropped = 0;
        rx_begin_ = rx_end_ = 0;
        while (dropped < kMaxPollBytes && fill_rx() > 0) {
            dropped += rx_end_;
            rx_end_ = 0;
        }
        if (dropped < kMaxPollBytes && stream_->peer_closed()) {
            close();
        } else {
            more_ = dropped >= kMaxPollBytes;
        }
    }
    return more_;
}

size_t Connection::fill_rx() {
    if (rx_begin_ == rx_end_) {
        rx_begin_ = rx_end_ = 0;
    }
    const size_t got =
        stream_->read({reinterpret_cast<uint8_t *>(rx_.data()) + rx_end_, rx_.size() - rx_end_});
    rx_end_ += got;
    shared_.counters.bytes_received += got;
    return got;
}

void Connection::read_request() {
    size_t taken = 0;
    while (phase_ == Phase::kReading) {
        if (rx_begin_ == rx_end_ && fill_rx() == 0) {
            if (stream_->peer_closed()) {
                close();  // between requests, or in the middle of one that nobody can answer now
                return;
            }
            break;
        }
        const bool was_untouched = parser_.untouched();
        const RequestParser::State before = parser_.state();
        const size_t used = parser_.feed({rx_.data() + rx_begin_, rx_end_ - rx_begin_});
        rx_begin_ += used;
        taken += used;
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
            return;
        }
        if (state == RequestParser::State::kComplete) {
            ++shared_.counters.requests;
            request_ = parser_.request();
            keep_alive_ = parser_.keep_alive();
            no_body_ = parser_.is_head();
            shared_.handler->handle(*this);
            if (phase_ == Phase::kReading) {
                platform::panic("http: a handler returned without an answer");
            }
            return;
        }
        if (parser_.wants_continue() && !continue_sent_) {
            // Sent at most once a request, with nothing else in the buffer.
            continue_sent_ = true;
            constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
            std::memcpy(tx_.data(), kContinue.data(), kContinue.size());
            tx_begin_ = 0;
            tx_end_ = kContinue.size();
        }
        if (taken >= kMaxPollBytes) {
            more_ = true;
            break;
        }
    }
    if (tx_len() > 0) {
        flush_tx();
    }
}

void Connection::refuse(uint16_t status, std::string_view message) {
    ++shared_.counters.requests;
    keep_alive_ = false;
    no_body_ = parser_.is_head();
    const std::string_view again = status == 503 ? "Retry-After: 2\r\n" : std::string_view();
    respond_error(*this, {status, message, refusal_code(status), {}, again});
}

void Connection::put_head(const ResponseHead &head, Framing framing, uint64_t len_bytes) {
    // A "100 Continue" that is still here goes first.
    std::memmove(tx_.data(), tx_.data() + tx_begin_, tx_len());
    tx_end_ = tx_len();
    tx_begin_ = 0;
    TextWriter out(std::span(tx_).subspan(tx_end_));
    out.put("HTTP/1.1 ", head.status, " ", reason_phrase(head.status), "\r\n");
    if (!head.content_type.empty()) {
        out.put("Content-Type: ", head.content_type, "\r\n");
    }
    if (framing == Framing::kChunked) {
        out.put("Transfer-Encoding: chunked\r\n");
    } else if (framing == Framing::kLength && head.status != 204) {
        out.put("Content-Length: ", len_bytes, "\r\n");
    }
    out.put("Cache-Control: ", head.cache, "\r\n", head.extra_headers);
    if (!keep_alive_) {
        out.put("Connection: close\r\n");
    } else if (request_.http_1_0) {
        out.put("Connection: keep-alive\r\n");
    }
    out.put("\r\n");
    tx_end_ += out.size();
}

void Connection::begin(const ResponseHead &head, Framing framing, uint64_t len_bytes) {
    const uint16_t status_class = head.status / 100;
    shared_.counters.responses_2xx += status_class == 2 ? 1 : 0;
    shared_.counters.responses_4xx += status_class == 4 ? 1 : 0;
    shared_.counters.responses_5xx += status_class == 5 ? 1 : 0;
    if (framing == Framing::kUntilClose) {
        keep_alive_ = false;
    }
    put_head(head, framing, len_bytes);
    framing_ = no_body_ ? Framing::kNone : framing;
    body_.release();
    request_.body = {};
    source_done_ = true;
    enter(Phase::kWriting);
    set_deadline_ms(shared_.timeouts.stall_ms);
}

void Connection::respond(const ResponseHead &head, std::string_view body) {
    begin(head, Framing::kLength, body.size());
    if (framing_ != Framing::kNone && !body.empty()) {
        if (body.size() > tx_.size() - tx_end_) {
            platform::panic("http: an inline body is too long");
        }
        std::memcpy(tx_.data() + tx_end_, body.data(), body.size());
        tx_end_ += body.size();
    }
    end_source(true);
}

void Connection::respond_static(const ResponseHead &head, std::string_view body) {
    begin(head, Framing::kLength, body.size());
    static_rest_ = framing_ == Framing::kNone ? std::string_view() : body;
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
    cursor_ = start;
    on_hang_up_ = on_hang_up;
    source_done_ = false;
    if (framing_ == Framing::kNone) {
        source_done_ = true;
    }
}

void Connection::defer(AnswerSource &source) {
    source_ = &source;
    enter(Phase::kDeferred);
    deadline_ = kNever;
}

// As many pieces as fit, as one chunk.
void Connection::fill_from_source() {
    if (tx_begin_ > 0) {
        std::memmove(tx_.data(), tx_.data() + tx_begin_, tx_len());
        tx_end_ = tx_len();
        tx_begin_ = 0;
    }
    const bool chunked = framing_ == Framing::kChunked;
    const size_t around = chunked ? kChunkHeadBytes + 2 + kLastChunk.size() : 0;
    if (tx_.size() - tx_end_ <= around) {
        return;
    }
    const size_t head_bytes = chunked ? kChunkHeadBytes : 0;
    const size_t body_begin = tx_end_ + head_bytes;
    const size_t capacity = tx_.size() - tx_end_ - around;
    size_t len = 0;
    while (!source_done_) {
        TextWriter piece(std::span(tx_).subspan(body_begin + len, capacity - len));
        const Cursor before = cursor_;
        const AnswerSource::Piece result = source_->produce(*this, cursor_, piece);
        if (piece.truncated()) {
            if (len == 0 && tx_end_ == 0) {
                platform::panic("http: a piece of an answer is too long");
            }
            cursor_ = before;
            break;
        }
        len += piece.size();
        if (result == AnswerSource::Piece::kEnd) {
            source_done_ = true;
        } else if (result == AnswerSource::Piece::kWait) {
            break;
        }
    }
    if (len > 0) {
        if (chunked) {
            TextWriter head(std::span(tx_).subspan(tx_end_, kChunkHeadBytes));
            head.put(Hex{len, 4}, "\r\n");
            tx_[body_begin + len] = '\r';
            tx_[body_begin + len + 1] = '\n';
            len += 2;
        }
        tx_end_ = body_begin + len;
    }
    if (source_done_ && chunked) {
        std::memcpy(tx_.data() + tx_end_, kLastChunk.data(), kLastChunk.size());
        tx_end_ += kLastChunk.size();
    }
}

// True when something went out.
bool Connection::flush_tx() {
    const size_t sent = stream_->write(as_bytes({tx_.data() + tx_begin_, tx_len()}));
    tx_begin_ += sent;
    shared_.counters.bytes_sent += sent;
    return sent > 0;
}

void Connection::write_answer() {
    size_t moved = 0;
    bool stalled = false;
    while (!stalled) {
        if (!source_done_) {
            fill_from_source();
        }
        if (tx_len() > 0) {
            const size_t before = tx_len();
            stalled = !flush_tx();
            moved += before - tx_len();
            stalled = stalled || tx_len() > 0;
        } else if (!static_rest_.empty()) {
            const size_t sent = stream_->write(as_bytes(static_rest_));
            static_rest_.remove_prefix(sent);
            shared_.counters.bytes_sent += sent;
            moved += sent;
            stalled = !static_rest_.empty();
        } else if (source_done_) {
            finish_answer();
            return;
        } else {
            break;  // the source has nothing to say now
        }
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
        // A request that was read to its end leaves nothing that could turn our FIN into a RST. A
        // refused one does: its sender may still be at it.
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
