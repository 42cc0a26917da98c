// How an answer becomes bytes. The buffer is the only memory: a source is asked for its next piece
// only when there is room, so an answer of any length is sent from 4 KiB. A piece that does not fit
// is asked for again when more room is there; the cursor is put back before.
//
// What must hold: a piece of at most Exchange::kMaxPieceBytes fits into an empty buffer with its
// chunk's head, its end and the last chunk around it.
#include "http/outgoing_answer.h"

#include <cstring>

#include "kernel_lib/platform/platform.h"

namespace bareflow::http {

namespace {

constexpr size_t kChunkHeadBytes = 6;  // "0abc\r\n"
constexpr std::string_view kChunkEnd = "\r\n";
constexpr std::string_view kLastChunk = "0\r\n\r\n";

std::span<const uint8_t> as_bytes(std::span<const char> text) {
    return {reinterpret_cast<const uint8_t *>(text.data()), text.size()};
}

void copy(std::string_view from, std::span<char> to) {
    std::memcpy(to.data(), from.data(), from.size());
}

}  // namespace

void OutgoingAnswer::clear() {
    buffer_.clear();
    static_rest_ = {};
}

void OutgoingAnswer::put_interim(std::string_view bytes) {
    buffer_.clear();
    copy(bytes, buffer_.room());
    buffer_.added(bytes.size());
}

void OutgoingAnswer::begin(const ResponseHead &head, Framing framing, uint64_t len_bytes,
                           Persistence persistence, bool head_only) {
    buffer_.compact();  // a "100 Continue" that is still here goes first
    TextWriter out(buffer_.room());
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
    if (!persistence.keep_alive) {
        out.put("Connection: close\r\n");
    } else if (persistence.http_1_0) {
        out.put("Connection: keep-alive\r\n");
    }
    out.put("\r\n");
    buffer_.added(out.size());
    framing_ = head_only ? Framing::kNone : framing;
    static_rest_ = {};
    made_ = true;
}

void OutgoingAnswer::put_body(std::string_view body) {
    if (framing_ == Framing::kNone || body.empty()) {
        return;
    }
    if (body.size() > buffer_.room().size()) {
        platform::panic("http: an inline body is too long");
    }
    copy(body, buffer_.room());
    buffer_.added(body.size());
}

void OutgoingAnswer::set_static(std::string_view body) {
    static_rest_ = framing_ == Framing::kNone ? std::string_view() : body;
}

void OutgoingAnswer::set_cursor(Cursor start) {
    cursor_ = start;
    made_ = framing_ == Framing::kNone;
}

void OutgoingAnswer::fill(AnswerSource &source, Exchange &exchange) {
    buffer_.compact();
    const std::span<char> room = buffer_.room();
    if (framing_ != Framing::kChunked) {
        buffer_.added(write_pieces(source, exchange, room));
        return;
    }
    const size_t around = kChunkHeadBytes + kChunkEnd.size() + kLastChunk.size();
    if (room.size() <= around) {
        return;
    }
    const size_t len =
        write_pieces(source, exchange, room.subspan(kChunkHeadBytes, room.size() - around));
    if (len > 0) {
        TextWriter head(room.first(kChunkHeadBytes));
        head.put(Hex{len, 4}, "\r\n");
        copy(kChunkEnd, room.subspan(kChunkHeadBytes + len));
        buffer_.added(kChunkHeadBytes + len + kChunkEnd.size());
    }
    if (made_) {
        copy(kLastChunk, buffer_.room());
        buffer_.added(kLastChunk.size());
    }
}

size_t OutgoingAnswer::write_pieces(AnswerSource &source, Exchange &exchange, std::span<char> at) {
    size_t len = 0;
    while (!made_ && !at.empty()) {
        TextWriter piece(at.subspan(len));
        const Cursor before = cursor_;
        const AnswerSource::Piece result = source.produce(exchange, cursor_, piece);
        if (piece.truncated()) {
            if (len == 0 && buffer_.empty()) {
                platform::panic("http: a piece of an answer is too long");
            }
            cursor_ = before;
            break;
        }
        len += piece.size();
        if (result == AnswerSource::Piece::kEnd) {
            made_ = true;
        } else if (result == AnswerSource::Piece::kWait) {
            break;
        }
    }
    return len;
}

OutgoingAnswer::Sent OutgoingAnswer::send(ByteStream &stream) {
    if (!buffer_.empty()) {
        const size_t sent = stream.write(as_bytes(buffer_.bytes()));
        buffer_.taken(sent);
        return {sent, buffer_.empty()};
    }
    const size_t sent = stream.write(as_bytes(static_rest_));
    static_rest_.remove_prefix(sent);
    return {sent, static_rest_.empty()};
}

}  // namespace bareflow::http
