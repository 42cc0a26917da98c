// The bytes of one answer on their way to the client: the head, then a body that is copied, static,
// or made in pieces by an AnswerSource. Frames the body as HTTP/1.1 demands. Part of Connection,
// which says when bytes are made and sent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "http/byte_window.h"
#include "http/exchange.h"
#include "kernel_lib/base/byte_stream.h"

namespace bareflow::http {

// How the client learns where the body ends. kNone: no body is sent (the answer to HEAD).
enum class Framing : uint8_t { kLength, kChunked, kUntilClose, kNone };

class OutgoingAnswer {
  public:
    // What the head says about the connection.
    struct Persistence {
        bool keep_alive = false;
        bool http_1_0 = false;
    };

    // Forgets everything: a new client.
    void clear();

    // Bytes before an answer's head ("100 Continue"). Nothing else may be waiting.
    void put_interim(std::string_view bytes);
    // Starts an answer without a body. len_bytes: of the body, with kLength.
    void begin(const ResponseHead &head, Framing framing, uint64_t len_bytes,
               Persistence persistence, bool head_only);
    // Then at most one of the three. Each does nothing after `head_only`.
    void put_body(std::string_view body);    // copied; at most Exchange::kMaxInlineBytes
    void set_static(std::string_view body);  // must live as long as the program
    void set_cursor(Cursor start);           // fill() will be called

    // No more pieces will be made.
    [[nodiscard]] bool is_made() const { return made_; }
    // Asks the source for pieces until the room is full, the body is complete, or the source has
    // nothing to say now. All of them become one chunk.
    void fill(AnswerSource &source, Exchange &exchange);

    // Bytes are waiting to be sent.
    [[nodiscard]] bool has_bytes() const { return !buffer_.empty() || !static_rest_.empty(); }
    struct Sent {
        size_t bytes = 0;
        bool all = true;  // of the buffer, or of the static body when the buffer was empty
    };
    Sent send(ByteStream &stream);

  private:
    // One chunk's worth of pieces, written from `at`. Returns the bytes written.
    [[nodiscard]] size_t write_pieces(AnswerSource &source, Exchange &exchange, std::span<char> at);

    ByteWindow<4096> buffer_;
    std::string_view static_rest_;
    Cursor cursor_;
    Framing framing_ = Framing::kLength;
    bool made_ = true;
};

}  // namespace bareflow::http
