// One request and its answer, as handlers see them. An answer that is long, or not ready yet, is
// made piece by piece when its connection has room (AnswerSource).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "http/http_types.h"
#include "kernel_lib/base/text_writer.h"

namespace bareflow::http {

class Exchange;

// How far a source has come. The connection keeps it, so that most sources need no state. The
// meaning of each number is the source's own.
struct Cursor {
    uint32_t piece = 0;
    uint32_t count = 0;
    uint32_t part = 0;
    uint32_t other = 0;
};

// Owes an answer: makes a body in pieces, or is still working on the whole answer.
class AnswerSource {
  public:
    enum class Piece : uint8_t {
        kMore,  // something was written, call again
        kWait,  // nothing to say now, ask again at the next poll
        kEnd,   // nothing follows
    };
    // Appends the next piece and moves `cursor` on. A piece has at most kMaxPieceBytes. If it did
    // not fit (out.truncated()), the connection drops what was written, puts the cursor back and
    // repeats the call with more room. So a source must not change its own state in that case.
    virtual Piece produce(Exchange &exchange, Cursor &cursor, TextWriter &out) = 0;
    // The last call for this exchange; it is always made. complete: the answer was handed over.
    // Otherwise the client hung up, stopped reading, or was dropped. respond() and respond_static()
    // after defer() make this call before they return.
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
