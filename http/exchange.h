// One request and its answer, as handlers see it; and how an answer that is long, or not there yet,
// reaches the client piece by piece as its connection has room.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "http/http_types.h"
#include "kernel_lib/base/text_writer.h"

namespace bareflow::http {

class Exchange;

// How far a source has come; the connection keeps it, so that most sources need no state.
struct Cursor {
    uint32_t piece = 0;
    uint32_t count = 0;
    uint32_t form = 0;
    uint32_t other = 0;
};

// Whoever owes an answer: a body made in pieces, or an answer that is still being worked on.
class AnswerSource {
  public:
    enum class Piece : uint8_t {
        kMore,  // something was written, call again
        kWait,  // nothing to say now, ask again at the next poll
        kEnd,   // after this comes nothing
    };
    // Appends the next piece and moves `cursor` on. A piece may be up to kMaxPieceBytes. When it
    // did not fit (out.truncated()), the connection drops what was written, puts its cursor back
    // and repeats the call with more room: a source with state of its own must not have moved on.
    virtual Piece produce(Exchange &exchange, Cursor &cursor, TextWriter &out) = 0;
    // The last call for this exchange, and always made: the answer was handed over, or (not
    // `complete`) the client hung up, stopped reading, or was dropped. respond() and
    // respond_static() after defer() make it before they return.
    virtual void ended(Exchange &exchange, bool complete) {}

  protected:
    ~AnswerSource() = default;
};

struct ResponseHead {
    uint16_t status = 200;
    std::string_view content_type;        // empty: no such header
    std::string_view extra_headers = {};  // whole lines, each with its CR LF; copied
    std::string_view cache = "no-store";
};

// Whether an answer makes sense to a client that has sent its FIN.
enum class OnHangUp : uint8_t { kFinish, kCancel };

class Exchange {
  public:
    static constexpr size_t kMaxPieceBytes = 3072;
    static constexpr size_t kMaxInlineBytes = 3072;

    [[nodiscard]] virtual const Request &request() const = 0;

    // Exactly one of the next four is called in Handler::handle(); after defer(), one of the first
    // three later.
    // The body, at most kMaxInlineBytes, is copied.
    virtual void respond(const ResponseHead &head, std::string_view body) = 0;
    // The body must live as long as the program.
    virtual void respond_static(const ResponseHead &head, std::string_view body) = 0;
    // len_bytes: of the whole body when it is known, else kUnknownLength (chunked).
    virtual void respond_stream(const ResponseHead &head, AnswerSource &source, Cursor start,
                                OnHangUp on_hang_up, uint64_t len_bytes = kUnknownLength) = 0;
    // The answer comes later. The request stays valid until then. A FIN ends the exchange.
    virtual void defer(AnswerSource &source) = 0;

    static constexpr uint64_t kUnknownLength = ~uint64_t{0};

  protected:
    ~Exchange() = default;
};

class Handler {
  public:
    virtual void handle(Exchange &exchange) = 0;

  protected:
    ~Handler() = default;
};

// What an answer that refuses a request says. Its body is the JSON object
// {"error":{"message","type","param","code"}}, with null for an empty `param`.
struct ErrorAnswer {
    uint16_t status;
    std::string_view message;
    std::string_view code;
    std::string_view param = {};
    std::string_view extra_headers = {};
};
void respond_error(Exchange &exchange, const ErrorAnswer &error);
// The same body into a buffer.
void write_error(TextWriter &out, const ErrorAnswer &error);

}  // namespace bareflow::http
